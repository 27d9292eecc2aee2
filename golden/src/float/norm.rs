//! Normalisations: root mean square and softmax.

use super::{dot16, exp, sum16};

/// `out[i] = (x[i] * r) * w[i]` with `r = 1 / sqrt(mean(x^2) + eps)`; the mean of squares is `dot16(x, x) /
/// len`.
///
/// # Panics
/// When the lengths differ.
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == w.len() && x.len() == out.len(), "an RMS norm of unequal lengths");
    let mean = dot16(x, x) / x.len() as f32;
    let r = 1.0 / (mean + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
        *out = (x * r) * w;
    }
}

/// `x[i] = exp(x[i] - max) / sum16` in place. Finite input gives finite output that sums to about 1; a NaN
/// makes all of it NaN.
pub fn softmax(x: &mut [f32]) {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, &v| if v > max { v } else { max });
    for v in &mut *x {
        *v = exp(*v - max);
    }
    let sum = sum16(x);
    for v in x {
        *v /= sum;
    }
}
