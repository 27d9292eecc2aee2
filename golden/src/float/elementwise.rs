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
