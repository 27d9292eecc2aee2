//! Operations on whole vectors, element by element.
//!
//! All panic when the lengths differ.

use super::{relu2, silu};

/// `acc[i] = acc[i] + x[i]`.
pub fn add(acc: &mut [f32], x: &[f32]) {
    assert_eq!(acc.len(), x.len(), "a sum of unequal lengths");
    acc.iter_mut().zip(x).for_each(|(acc, x)| *acc += x);
}

/// `acc[i] = p * v[i] + acc[i]`, rounded once.
pub fn axpy(p: f32, v: &[f32], acc: &mut [f32]) {
    assert_eq!(acc.len(), v.len(), "a weighted sum of unequal lengths");
    acc.iter_mut().zip(v).for_each(|(acc, v)| *acc = p.mul_add(*v, *acc));
}

/// `up[i] = silu(gate[i]) * up[i]`: the gated product of Llama and its kin (`SwiGLU`).
pub fn silu_mul(gate: &[f32], up: &mut [f32]) {
    assert_eq!(gate.len(), up.len(), "a gated product of unequal lengths");
    up.iter_mut().zip(gate).for_each(|(up, &gate)| *up *= silu(gate));
}

/// `up[i] = relu2(gate[i]) * up[i]`: the gated product of `BitNet` b1.58.
pub fn relu2_mul(gate: &[f32], up: &mut [f32]) {
    assert_eq!(gate.len(), up.len(), "a gated product of unequal lengths");
    up.iter_mut().zip(gate).for_each(|(up, &gate)| *up *= relu2(gate));
}

/// `gate[i] = min(gate[i], limit)` and `up[i] = min(max(up[i], -limit), limit)`, before a gated product: the clamped
/// `SwiGLU` of Maple. NaN stays.
pub fn clamp_gated(gate: &mut [f32], up: &mut [f32], limit: f32) {
    for x in gate.iter_mut().chain(&mut *up) {
        *x = if *x > limit { limit } else { *x };
    }
    for x in up {
        *x = if *x < -limit { -limit } else { *x };
    }
}

/// `out[i] = sum over j of weights[j][i] * rows[j][i]`, added in ascending `j` by fused multiply-add, from 0: one
/// position of a short depthwise convolution over time. Both are `[taps, out.len()]`, the oldest position first.
#[inline(always)]
pub fn depthwise(rows: &[f32], weights: &[f32], out: &mut [f32]) {
    assert_eq!(rows.len(), weights.len(), "a convolution of unequal lengths");
    assert!(!out.is_empty() && rows.len().is_multiple_of(out.len()), "rows of {} values", out.len());
    out.fill(0.0);
    for (row, weights) in rows.chunks(out.len()).zip(weights.chunks(out.len())) {
        for ((out, x), w) in out.iter_mut().zip(row).zip(weights) {
            *out = w.mul_add(*x, *out);
        }
    }
}
