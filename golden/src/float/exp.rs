//! The exponential function, written once, and the activation functions that follow from it.
//!
//! Everything is branch-free and `#[inline(always)]`: inlined into a loop that is compiled for AVX2 or
//! AVX-512 the compiler turns these very definitions into vectors, and where there is no fused multiply-add
//! in hardware it calls the correctly rounded software version. The bits are the same either way.

/// The numbers in [`exp`], for code that computes the same bits with instructions of its own.
pub mod constants {
    /// log2(e), rounded to `f32`.
    pub const LOG2_E: f32 = std::f32::consts::LOG2_E;
    /// ln 2 rounded to `f32`.
    pub const LN2_HIGH: f32 = std::f32::consts::LN_2;
    /// What the rounding of [`LN2_HIGH`] lost: together about 48 bits.
    pub const LN2_LOW: f32 = (std::f64::consts::LN_2 - LN2_HIGH as f64) as f32;
    /// 1.5 * 2^23. Adding it rounds |v| < 2^22 to an integer, ties to even, which is then the low bits of the sum.
    pub const ROUND: f32 = 12_582_912.0;
    /// ln(2^-126), rounded up: the least argument whose result is a normal number.
    pub const LEAST: f32 = -87.336_54;
    /// `ln(f32::MAX)`, rounded down.
    pub const GREATEST: f32 = 88.722_83;
    /// Coefficients of e^r, the highest power first.
    pub const TAYLOR: [f32; 8] =
        [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
}

use constants::{GREATEST, LEAST, LN2_HIGH, LN2_LOW, LOG2_E, ROUND, TAYLOR};

/// e^x, within 1 ulp (a test sweeps it against `f64`; the worst seen is 0.87).
///
/// `x = n ln 2 + r` with an integer `n` and `|r|` about `ln 2 / 2` at most; e^r by its Taylor polynomial of
/// degree 7 (next term: 5e-9); 2^n added to the exponent bits. Below -87.33654 the result is 0 (no subnormal
/// results), above 88.72283 it is infinite; NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = (-n).mul_add(LN2_HIGH, x);
    let r = (-n).mul_add(LN2_LOW, r);
    let [highest, terms @ ..] = TAYLOR;
    let p = terms.into_iter().fold(highest, |p, term| r.mul_add(p, term));
    // The low bits of `shifted` are n in two's complement; shifted left they add n to the exponent of p.
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    // x + infinity: infinite above the range, NaN for NaN.
    let high = if x <= GREATEST { scaled } else { x + f32::INFINITY };
    if x < LEAST { 0.0 } else { high }
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x * sigmoid(x)`, computed as `x / (1 + exp(-x))`: one rounding less.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `max(x, 0)^2`; NaN stays NaN.
#[inline(always)]
pub fn relu2(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive * positive
}
