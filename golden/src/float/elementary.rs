//! Powers, sines and cosines in `f64` from additions, multiplications and divisions alone, so that they are
//! the same bits on every platform: a libm may answer differently on a processor with FMA than on one
//! without. Accurate to a few units of 1e-16, which is far more than their rounding to `f32` needs.

use std::f64::consts::{FRAC_PI_2, LN_2};

/// `base^exponent` for a positive normal `base` and a result within the normal range; NaN otherwise.
pub(super) fn power(base: f64, exponent: f64) -> f64 {
    if !base.is_normal() || base < 0.0 {
        return f64::NAN;
    }
    let log = exponent * ln(base);
    let n = (log / LN_2).round_ties_even();
    if n.abs() > 1000.0 { f64::NAN } else { exp_small(log - n * LN_2) * two_to(n as i64) }
}

/// 2^n for |n| <= 1000.
fn two_to(n: i64) -> f64 {
    f64::from_bits(((1023 + n) as u64) << 52)
}

/// e^r for |r| < 0.35: fifteen terms of the Taylor series (the next is 1e-20).
fn exp_small(r: f64) -> f64 {
    (1..=15).rev().fold(1.0, |sum, i| 1.0 + sum * r / f64::from(i))
}

/// ln of a positive normal number: its exponent times ln 2, and ln(f) = 2 artanh((f - 1) / (f + 1)) of its
/// mantissa f in [0.7, 1.42).
pub(super) fn ln(x: f64) -> f64 {
    let mut exponent = (x.to_bits() >> 52) as i64 - 1023;
    let mut f = f64::from_bits(x.to_bits() & ((1 << 52) - 1) | 1023 << 52);
    if f > std::f64::consts::SQRT_2 {
        f *= 0.5;
        exponent += 1;
    }
    let z = (f - 1.0) / (f + 1.0);
    let square = z * z;
    // |z| < 0.172: eleven odd terms leave 1e-19.
    let series = (0..=10).rev().fold(0.0, |sum, i| 1.0 / f64::from(2 * i + 1) + sum * square);
    exponent as f64 * LN_2 + 2.0 * z * series
}

/// (sin x, cos x) for |x| up to about 2^30: quarter turns taken off with pi/2 in three parts of 33 bits, so
/// that each product is exact, then the Taylor series on [-pi/4, pi/4].
pub(super) fn sin_cos(x: f64) -> (f64, f64) {
    const HIGH: f64 = 1.570_796_326_734_125_6;
    const MIDDLE: f64 = 6.077_100_506_303_966e-11;
    const LOW: f64 = 2.022_266_248_795_950_6e-21;
    let quarters = (x / FRAC_PI_2).round_ties_even();
    let r = ((x - quarters * HIGH) - quarters * MIDDLE) - quarters * LOW;
    let square = r * r;
    let sin = r * series(square, 2.0);
    let cos = series(square, 1.0);
    match (quarters as i64).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// 1 - s/(a(a+1)) (1 - s/((a+2)(a+3)) (1 - ...)), ten levels deep: cosine for a = 1, sine over r for a = 2.
fn series(square: f64, first: f64) -> f64 {
    (0..10).rev().fold(1.0, |sum, i| {
        let a = first + f64::from(2 * i);
        1.0 - sum * square / (a * (a + 1.0))
    })
}
