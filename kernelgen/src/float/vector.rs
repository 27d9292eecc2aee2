//! The vocabulary of the float operations: sixteen `f32`, and what can be done with them.
//!
//! The algorithms are written once over [`Vector`]; a tier says only these few words. A value of an
//! implementing type is the permission to use that tier's instructions, so the words themselves are safe.

use craftsman_golden::float::fold16;
use half::{bf16, f16};

/// One tier's sixteen lanes.
///
/// Every method is `#[inline(always)]`, so that it becomes instructions of the function with the tier's
/// target features that it is finally inlined into.
pub(super) trait Vector: Copy {
    /// Sixteen `f32` in registers.
    type F: Copy;

    /// How many sums a product of several tokens keeps in registers, 4 or 8: beside what they are made of.
    const SUMS: usize = 4;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// Sixteen values.
    fn load(self, x: &[f32; 16]) -> Self::F;
    /// Sixteen half precision values, widened exactly.
    fn load_f16(self, x: &[f16; 16]) -> Self::F;
    /// Sixteen bfloat16 values, widened exactly.
    fn load_bf16(self, x: &[bf16; 16]) -> Self::F;
    /// Sixteen bytes with a sign, widened exactly.
    fn load_i8(self, x: &[i8; 16]) -> Self::F;
    /// The lanes in memory order.
    fn array(self, x: Self::F) -> [f32; 16];
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger one; either for zeros of different sign; anything where one is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;

    /// The sum of the lanes: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
    #[inline(always)]
    fn fold(self, x: Self::F) -> f32 {
        fold16(self.array(x))
    }

    /// Four times [`fold`](Self::fold).
    #[inline(always)]
    fn fold4(self, [a, b, c, d]: [Self::F; 4]) -> [f32; 4] {
        [self.fold(a), self.fold(b), self.fold(c), self.fold(d)]
    }

    /// Asks for the cache line `ahead` bytes after `at`, where that is possible; the place need not exist.
    #[inline(always)]
    fn prefetch<T>(self, _at: &T, _ahead: usize) {}
}

/// Whether the baseline has a fused multiply-add.
const BASELINE_FUSES: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

/// `a.mul_add(b, c)`, in a form that becomes vectors where the baseline has no such instruction: there
/// `mul_add` itself is a call of the software version, some ten times slower.
///
/// In `f64` the product is exact and the sum has one rounding. That sum is then rounded to odd instead of to
/// nearest (towards zero, and the last bit set if anything was lost), which makes the second rounding, to
/// `f32`, the right one (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008). What
/// was lost is Knuth's two-sum.
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    if BASELINE_FUSES {
        return a.mul_add(b, c);
    }
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let of_c = sum - product;
    let lost = (product - (sum - of_c)) + (c - of_c);
    // False for NaN, which comes of infinities.
    let inexact = u64::from(lost.abs() > 0.0);
    let rounded_up = (lost.to_bits() ^ sum.to_bits()) >> 63 & inexact;
    f64::from_bits((sum.to_bits() - rounded_up) | inexact) as f32
}

/// The architecture's baseline, by what the compiler makes of plain arrays.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Vector for Portable {
    type F = [f32; 16];

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 16] {
        [x; 16]
    }

    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> [f32; 16] {
        *x
    }

    #[inline(always)]
    fn load_f16(self, x: &[f16; 16]) -> [f32; 16] {
        x.map(f16::to_f32)
    }

    #[inline(always)]
    fn load_bf16(self, x: &[bf16; 16]) -> [f32; 16] {
        x.map(bf16::to_f32)
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; 16]) -> [f32; 16] {
        x.map(f32::from)
    }

    #[inline(always)]
    fn array(self, x: [f32; 16]) -> [f32; 16] {
        x
    }

    #[inline(always)]
    fn add(self, mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            a[i] += b[i];
        }
        a
    }

    #[inline(always)]
    fn mul(self, mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            a[i] *= b[i];
        }
        a
    }

    #[inline(always)]
    fn max(self, mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            a[i] = if b[i] > a[i] { b[i] } else { a[i] };
        }
        a
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 16], b: [f32; 16], mut c: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            c[i] = fused(a[i], b[i], c[i]);
        }
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(a: f32, b: f32, c: f32) -> bool {
        let (fast, exact) = (fused(a, b, c), a.mul_add(b, c));
        fast.to_bits() == exact.to_bits() || fast.is_nan() && exact.is_nan()
    }

    #[test]
    fn the_software_fma_is_right_for_all_kinds_of_numbers() {
        let e = f32::EPSILON;
        let kinds = [0.0, 1.0, 1.0 + e, 1.0 - e / 2.0, 1.5, 3.0, 1e-30, 1e30, f32::MAX, f32::MIN_POSITIVE];
        let more =
            [f32::from_bits(1), f32::from_bits(0x7f_ffff), e, e / 2.0, 16_777_215.0, f32::INFINITY, f32::NAN];
        let all: Vec<f32> = kinds.iter().chain(&more).flat_map(|&x| [x, -x]).collect();
        for &a in &all {
            for &b in &all {
                for &c in &all {
                    assert!(same(a, b, c), "{a:e} * {b:e} + {c:e}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_software_fma_is_right_for_any_bits(a: u32, b: u32, c: u32) {
            let [a, b, c] = [a, b, c].map(f32::from_bits);
            prop_assert!(same(a, b, c), "{:e} * {:e} + {:e}", a, b, c);
        }

        #[test]
        fn the_software_fma_is_right_near_cancellation(a in 1.0_f32..2.0, b in 1.0_f32..2.0, ulps in -3_i32..3, shift in 0_i32..60) {
            let c = f32::from_bits((-(a * b)).to_bits().wrapping_add_signed(ulps));
            prop_assert!(same(a, b, c));
            // A product far below the sum, where only the sticky bit decides.
            prop_assert!(same(a, b * 2.0_f32.powi(-shift), c));
            prop_assert!(same(a * 2.0_f32.powi(-70), b * 2.0_f32.powi(-60), c * 2.0_f32.powi(-130 - shift / 4)));
        }
    }
}
