//! Dense products: embeddings' heads, routers, float models.

use half::{bf16, f16};

/// `x` (`[n, k]`) times the transpose of `w` (`[m, k]`): `[n, m]`, all row major. Each output adds in
/// ascending `k` by fused multiply-add, from 0.
///
/// # Panics
/// When `k` is 0 or a length is not a multiple of it.
pub fn matmul(w: &[f32], x: &[f32], k: usize) -> Vec<f32> {
    assert!(k > 0 && w.len().is_multiple_of(k) && x.len().is_multiple_of(k), "rows of {k} values");
    let dot = |w: &[f32], x: &[f32]| w.iter().zip(x).fold(0.0_f32, |acc, (w, x)| w.mul_add(*x, acc));
    x.chunks(k).flat_map(|x| w.chunks(k).map(move |w| dot(w, x))).collect()
}

/// Half precision as `f32`: exact.
pub fn widen_f16(x: &[f16]) -> Vec<f32> {
    x.iter().map(|v| v.to_f32()).collect()
}

/// bfloat16 as `f32`: exact.
pub fn widen_bf16(x: &[bf16]) -> Vec<f32> {
    x.iter().map(|v| v.to_f32()).collect()
}
