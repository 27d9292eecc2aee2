//! One query head over contiguous keys and values.

use super::reduce::{dot, padded, softmax};
use super::vector::Vector;

/// [`golden::float::attention`](craftsman_golden::float::attention). `scores` is scratch; `out` has the
/// values' width.
#[inline(always)]
pub(super) fn attention<V: Vector>(
    v: V,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    scale: f32,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    assert!(
        !q.is_empty() && !keys.is_empty() && keys.len().is_multiple_of(q.len()),
        "keys of {} values",
        q.len()
    );
    assert_eq!(keys.len() / q.len() * out.len(), values.len(), "a value for each key");
    score(v, q, keys, scale, scores);
    softmax(v, scores);
    mix(v, scores, values, out.len(), out);
}

/// [`golden::float::latent_attention`](craftsman_golden::float::latent_attention): the first `out.len()` numbers of a
/// row are its value.
#[inline(always)]
pub(super) fn latent_attention<V: Vector>(
    v: V,
    q: &[f32],
    rows: &[f32],
    scale: f32,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    assert!(
        !q.is_empty() && !rows.is_empty() && rows.len().is_multiple_of(q.len()),
        "rows of {} values",
        q.len()
    );
    assert!(out.len() <= q.len(), "values of {} in rows of {}", out.len(), q.len());
    score(v, q, rows, scale, scores);
    softmax(v, scores);
    mix(v, scores, rows, q.len(), out);
}

/// `dot(q, key) * scale` for each key, four at a time.
#[inline(always)]
pub(super) fn score<V: Vector>(v: V, q: &[f32], keys: &[f32], scale: f32, scores: &mut Vec<f32>) {
    scores.clear();
    let (q16, tail) = q.as_chunks::<16>();
    let mut quads = keys.chunks_exact(4 * q.len());
    for quad in &mut quads {
        let mut sums = [v.splat(0.0); 4];
        for lane in 0..4 {
            let (key, _) = quad[lane * q.len()..][..q.len()].as_chunks::<16>();
            for (q, key) in q16.iter().zip(key) {
                sums[lane] = v.mul_add(v.load(q), v.load(key), sums[lane]);
            }
        }
        if !tail.is_empty() {
            let q_tail = v.load(&padded(tail, 0.0));
            for lane in 0..4 {
                let key_tail = &quad[lane * q.len()..][16 * q16.len()..q.len()];
                sums[lane] = v.mul_add(q_tail, v.load(&padded(key_tail, 0.0)), sums[lane]);
            }
        }
        scores.extend(v.fold4(sums).map(|sum| sum * scale));
    }
    for key in quads.remainder().chunks_exact(q.len()) {
        scores.push(dot(v, q, key) * scale);
    }
}

/// `out[i] = sum over j of p[j] * values[j][i]`, 64 columns at a time, then 16, then the rest. `values` are rows of
/// `stride` numbers, of which the first `out.len()` count.
#[inline(always)]
pub(super) fn mix<V: Vector>(v: V, p: &[f32], values: &[f32], stride: usize, out: &mut [f32]) {
    let width = out.len();
    let mut start = 0;
    while start + 64 <= width {
        mix_columns::<V, 4>(v, p, values, stride, start, out);
        start += 64;
    }
    while start + 16 <= width {
        mix_columns::<V, 1>(v, p, values, stride, start, out);
        start += 16;
    }
    if start < width {
        let mut sum = v.splat(0.0);
        for (&p, value) in p.iter().zip(values.chunks_exact(stride)) {
            sum = v.mul_add(v.splat(p), v.load(&padded(&value[start..width], 0.0)), sum);
        }
        out[start..].copy_from_slice(&v.array(sum)[..width - start]);
    }
}

/// [`mix`] for `16 C` columns.
#[inline(always)]
fn mix_columns<V: Vector, const C: usize>(
    v: V,
    p: &[f32],
    values: &[f32],
    stride: usize,
    start: usize,
    out: &mut [f32],
) {
    let mut sums = [v.splat(0.0); C];
    for (&p, value) in p.iter().zip(values.chunks_exact(stride)) {
        let p = v.splat(p);
        let (groups, _) = value[start..start + 16 * C].as_chunks::<16>();
        for c in 0..C {
            sums[c] = v.mul_add(p, v.load(&groups[c]), sums[c]);
        }
    }
    let (groups, _) = out[start..start + 16 * C].as_chunks_mut::<16>();
    for c in 0..C {
        groups[c] = v.array(sums[c]);
    }
}
