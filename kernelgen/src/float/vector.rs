//! The vocabulary of the float operations: sixteen `f32`, and what can be done with them.
//!
//! The algorithms are written once over [`Vector`]; a tier says only these few words. A value of an implementing type is the
//! permission to use that tier's instructions, so the words themselves are safe.

use craftsman_golden::float::fold16;
use half::{bf16, f16};

/// One tier's sixteen lanes.
///
/// Every method is `#[inline(always)]`, so that it becomes instructions of the function with the tier's target features that it is
/// finally inlined into.
pub(super) trait Vector: Copy {
    /// Sixteen `f32` in registers.
    type F: Copy;

    /// How many tokens times panels a matrix product keeps in registers for prefill: panels for 4 tokens.
    const PREFILL_PANELS: usize = 1;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// Sixteen values.
    fn load(self, x: &[f32; 16]) -> Self::F;
    /// Sixteen half precision values, widened exactly.
    fn load_f16(self, x: &[f16; 16]) -> Self::F;
    /// Sixteen bfloat16 values, widened exactly.
    fn load_bf16(self, x: &[bf16; 16]) -> Self::F;
    /// The lanes in memory order.
    fn array(self, x: Self::F) -> [f32; 16];
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
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

/// The architecture's baseline, by what the compiler makes of plain arrays. Where that has no fused multiply-add the compiler calls
/// the correctly rounded software version.
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
    fn max(self, mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            a[i] = if b[i] > a[i] { b[i] } else { a[i] };
        }
        a
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 16], b: [f32; 16], mut c: [f32; 16]) -> [f32; 16] {
        for i in 0..16 {
            c[i] = a[i].mul_add(b[i], c[i]);
        }
        c
    }
}
