//! The two products of attention, over a stretch of the rows that a query sees: a cache keeps them in pages.
//!
//! Neither product adds across rows in an order of its own: a score belongs to one row, and the weighted sum of values
//! goes on from what the output holds. So stretches, one after the other, give what all rows at once would:
//! [`golden::float::attention`](craftsman_golden::float::attention).

use super::reduce::padded;
use super::rows::{Bytes, Load, Numbers, Rows};
use super::vector::Vector;

/// Appends `dot(q, row) * scale` for each row, `q.len()` wide.
#[inline(always)]
pub(super) fn score<V: Vector>(v: V, q: &[f32], rows: Rows<'_>, scale: f32, scores: &mut Vec<f32>) {
    rows.check();
    assert_eq!(q.len(), rows.width, "a query as wide as the rows");
    let len = rows.len;
    match rows.numbers {
        Numbers::F32(numbers) => score_all(v, q, numbers, len, scale, scores),
        Numbers::F16(numbers) => score_all(v, q, numbers, len, scale, scores),
        Numbers::Bytes { codes, scales } => score_all(v, q, Bytes { codes, scales }, len, scale, scores),
    }
}

/// [`score`] of one kind of numbers: four rows at a time, then one by one.
#[inline(always)]
fn score_all<V: Vector>(v: V, q: &[f32], rows: impl Load, len: usize, scale: f32, scores: &mut Vec<f32>) {
    let quads = len / 4 * 4;
    for first in (0..quads).step_by(4) {
        let sums = dots::<V, 4>(v, q, rows, first);
        scores.extend(v.fold4(sums).map(|sum| sum * scale));
    }
    for row in quads..len {
        let [sum] = dots::<V, 1>(v, q, rows, row);
        scores.push(v.fold(sum) * scale);
    }
}

/// The lanes of the dot products of `q` with `R` rows.
#[inline(always)]
fn dots<V: Vector, const R: usize>(v: V, q: &[f32], rows: impl Load, first: usize) -> [V::F; R] {
    let (groups, tail) = q.as_chunks::<16>();
    let mut sums = [v.splat(0.0); R];
    for (group, q16) in groups.iter().enumerate() {
        let q16 = v.load(q16);
        for (row, sum) in (first..).zip(&mut sums) {
            *sum = v.mul_add(q16, rows.group(v, q.len(), row, group), *sum);
        }
    }
    if !tail.is_empty() {
        let q_tail = v.load(&padded(tail, 0.0));
        for (row, sum) in (first..).zip(&mut sums) {
            *sum = v.mul_add(q_tail, rows.tail(v, q.len(), row, 16 * groups.len()..q.len()), *sum);
        }
    }
    sums
}

/// `out[i] += sum over j of p[j] * rows[j][i]`: of rows that are wider than `out`, the first columns.
#[inline(always)]
pub(super) fn mix<V: Vector>(v: V, p: &[f32], rows: Rows<'_>, out: &mut [f32]) {
    assert!(p.len() == rows.len && out.len() <= rows.width, "a weight a row, and rows as wide as the output");
    match rows.numbers {
        Numbers::F32(numbers) => mix_all(v, p, numbers, rows.width, out),
        Numbers::F16(numbers) => mix_all(v, p, numbers, rows.width, out),
        Numbers::Bytes { codes, scales } => mix_all(v, p, Bytes { codes, scales }, rows.width, out),
    }
}

/// [`mix`] of one kind of numbers: 64 columns at a time, then 16, then the rest.
#[inline(always)]
fn mix_all<V: Vector>(v: V, p: &[f32], rows: impl Load, width: usize, out: &mut [f32]) {
    let mut start = 0;
    while start + 64 <= out.len() {
        mix_columns::<V, 4>(v, p, rows, width, start, out);
        start += 64;
    }
    while start + 16 <= out.len() {
        mix_columns::<V, 1>(v, p, rows, width, start, out);
        start += 16;
    }
    if start < out.len() {
        let mut sum = v.load(&padded(&out[start..], 0.0));
        for (row, &p) in p.iter().enumerate() {
            sum = v.mul_add(v.splat(p), rows.tail(v, width, row, start..out.len()), sum);
        }
        let rest = out.len() - start;
        out[start..].copy_from_slice(&v.array(sum)[..rest]);
    }
}

/// [`mix_all`] for `16 C` columns.
#[inline(always)]
fn mix_columns<V: Vector, const C: usize>(
    v: V,
    p: &[f32],
    rows: impl Load,
    width: usize,
    start: usize,
    out: &mut [f32],
) {
    let (groups, _) = out[start..start + 16 * C].as_chunks_mut::<16>();
    let mut sums = [v.splat(0.0); C];
    for (sum, group) in sums.iter_mut().zip(&*groups) {
        *sum = v.load(group);
    }
    for (row, &p) in p.iter().enumerate() {
        let p = v.splat(p);
        for (c, sum) in sums.iter_mut().enumerate() {
            *sum = v.mul_add(p, rows.group(v, width, row, start / 16 + c), *sum);
        }
    }
    for (group, sum) in groups.iter_mut().zip(sums) {
        *group = v.array(sum);
    }
}
