//! The ternary product: exact integers, then the scale rule.

use crate::TernaryMatrix;

/// Sum of `row[i] * q[i]`, over as many elements as the shorter slice has. Exact for up to
/// [`MAX_K`](crate::MAX_K) terms.
pub fn ternary_dot(row: &[i8], q: &[i8]) -> i32 {
    row.iter().zip(q).map(|(&t, &q)| i32::from(t) * i32::from(q)).sum()
}

/// The integer product: `q` is `[n, k]`, the result `[n, m]`, both row major.
///
/// # Panics
/// When `q` is not `n * k` long.
pub fn ternary_gemm_i32(w: &TernaryMatrix, q: &[i8], n: usize) -> Vec<i32> {
    assert_eq!(q.len(), n * w.k(), "activations of {n} tokens");
    q.chunks(w.k()).flat_map(|q| (0..w.m()).map(move |i| ternary_dot(w.row(i), q))).collect()
}

/// The scaled product of int8 activations `q` (`[n, k]`), quantised with the multipliers `a` (`[n]`): `[n,
/// m]`.
///
/// With one scale for the tensor or row, `y = (d * s) / a`; with block scales the blocks are added in
/// ascending order, `acc = mul_add(d_b, s_b, acc)` from 0, then `y = acc / a`. A `d` of more than 2^24 is
/// rounded once, on its way to `f32`.
///
/// # Panics
/// When `q` is not `a.len() * k` long.
pub fn ternary_gemm(w: &TernaryMatrix, q: &[i8], a: &[f32]) -> Vec<f32> {
    assert_eq!(q.len(), a.len() * w.k(), "activations of {} tokens", a.len());
    q.chunks(w.k()).zip(a).flat_map(|(q, &a)| (0..w.m()).map(move |i| scaled_dot(w, i, q) / a)).collect()
}

/// Row `i` times `q`, under the row's scales, before the division by the activation multiplier.
fn scaled_dot(w: &TernaryMatrix, i: usize, q: &[i8]) -> f32 {
    let crate::Granularity::Block(size) = w.granularity() else {
        return ternary_dot(w.row(i), q) as f32 * w.row_scales(i)[0];
    };
    let blocks = w.row(i).chunks(size).zip(q.chunks(size)).zip(w.row_scales(i));
    blocks.fold(0.0, |acc, ((row, q), &s)| (ternary_dot(row, q) as f32).mul_add(s, acc))
}
