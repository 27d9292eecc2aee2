//! Softmax attention of one token over the keys it may see.

use super::{axpy, dot16, softmax};

/// One query head over one key/value head: `q` is `[d]`, `keys` `[len, d]`, `values` `[len, v]`; the result
/// is `[v]`.
///
/// `score_j = dot16(q, k_j) * scale`; softmax over all `len` keys; `out[i]` adds `p_j * values[j][i]` in
/// ascending `j` by fused multiply-add, from 0. Causality is the caller's: only the keys that the token may
/// see are given.
///
/// # Panics
/// When there is no key, `q` is empty, or the lengths do not fit together.
pub fn attention(q: &[f32], keys: &[f32], values: &[f32], scale: f32) -> Vec<f32> {
    assert!(
        !q.is_empty() && !keys.is_empty() && keys.len().is_multiple_of(q.len()),
        "keys of {} values",
        q.len()
    );
    let len = keys.len() / q.len();
    assert!(values.len().is_multiple_of(len), "a value for each of {len} keys");
    let mut scores: Vec<f32> = keys.chunks(q.len()).map(|key| dot16(q, key) * scale).collect();
    softmax(&mut scores);
    let mut out = vec![0.0; values.len() / len];
    for (p, value) in scores.iter().zip(values.chunks(out.len().max(1))) {
        axpy(*p, value, &mut out);
    }
    out
}

/// One query head over rows that are keys and values at once, as multi-head latent attention keeps them: `q` is `[d]`,
/// `rows` `[len, d]`, and the first `width` numbers of a row are its value; the result is `[width]`. The order is that
/// of [`attention`].
///
/// # Panics
/// When there is no row, `q` is empty, `width` is beyond it, or the lengths do not fit together.
pub fn latent_attention(q: &[f32], rows: &[f32], width: usize, scale: f32) -> Vec<f32> {
    let values: Vec<f32> = rows.chunks(q.len()).flat_map(|row| &row[..width]).copied().collect();
    attention(q, rows, &values, scale)
}

/// All heads of one token: `q` is `[heads, d]`; `keys` `[kv_heads, len, d]` and `values` `[kv_heads, len, v]`
/// hold one run of positions a head. Query head `h` attends over key/value head `h / (heads / kv_heads)`. The
/// result is `[heads, v]`.
///
/// # Panics
/// When `kv_heads` is 0 or does not divide `heads`, or the lengths do not fit together.
pub fn grouped_attention(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    heads: usize,
    kv_heads: usize,
    scale: f32,
) -> Vec<f32> {
    assert!(kv_heads > 0 && heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads over {kv_heads}");
    let (keys, values) = (split(keys, kv_heads), split(values, kv_heads));
    let group = heads / kv_heads;
    let head = |(h, q)| attention(q, keys[h / group], values[h / group], scale);
    split(q, heads).into_iter().enumerate().flat_map(head).collect()
}

/// `x` as `parts` slices of equal length.
fn split(x: &[f32], parts: usize) -> Vec<&[f32]> {
    assert!(!x.is_empty() && x.len().is_multiple_of(parts), "{} values for {parts} heads", x.len());
    x.chunks(x.len() / parts).collect()
}
