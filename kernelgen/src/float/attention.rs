//! The two products of attention, of some queries over a stretch of the rows that they see: a cache keeps rows in pages.
//!
//! Neither product adds across rows in an order of its own: a score belongs to one row, and the weighted sum of values
//! goes on from what the output holds. So stretches, one after the other, give what all rows at once would:
//! [`golden::float::attention`](craftsman_golden::float::attention).
//!
//! Rows come from farther away than queries, so queries in pairs, or in fours where registers are many, share what is loaded
//! of them.

use std::ops::Range;

use super::reduce::padded;
use super::rows::{Bytes, Load, Numbers, Rows, sixteens};
use super::vector::Vector;

/// `scores[i][j] = dot(q[i], row j) * scale`: `q` is `[scores.len(), rows.width]`.
#[inline(always)]
pub(super) fn score<V: Vector>(v: V, q: &[f32], rows: Rows<'_>, scale: f32, scores: &mut [&mut [f32]]) {
    rows.check();
    assert_eq!(q.len(), scores.len() * rows.width, "queries as wide as the rows");
    assert!(scores.iter().all(|scores| scores.len() == rows.len), "a score for every row");
    match rows.numbers {
        Numbers::F32(numbers) => score_all(v, q, numbers, rows.width, scale, scores),
        Numbers::F16(numbers) => score_all(v, q, numbers, rows.width, scale, scores),
        Numbers::Bytes { codes, scales } => {
            score_all(v, q, Bytes { codes, scales }, rows.width, scale, scores);
        }
    }
}

/// [`score`] of one kind of numbers: queries in fours or pairs, and the last of an odd number alone with four rows at a time.
#[inline(always)]
fn score_all<V: Vector>(
    v: V,
    q: &[f32],
    rows: impl Load,
    width: usize,
    scale: f32,
    scores: &mut [&mut [f32]],
) {
    let product = Scores { q, rows, width, scale };
    let len = scores.first().map_or(0, |scores| scores.len());
    let (fours, scores) = scores.split_at_mut(if V::SUMS == 8 { scores.len() / 4 * 4 } else { 0 });
    let (pairs, single) = scores.split_at_mut(scores.len() / 2 * 2);
    let (two, one) = (fours.len(), fours.len() + pairs.len());
    let mut row = product.groups::<V, 4, 4>(v, 0, 0..len, fours);
    product.groups::<V, 4, 1>(v, 0, row..len, fours);
    row = if V::SUMS == 8 { product.groups::<V, 2, 4>(v, two, 0..len, pairs) } else { 0 };
    row = product.groups::<V, 2, 2>(v, two, row..len, pairs);
    product.groups::<V, 2, 1>(v, two, row..len, pairs);
    row = product.groups::<V, 1, 4>(v, one, 0..len, single);
    product.groups::<V, 1, 1>(v, one, row..len, single);
}

/// The product of queries and rows.
#[derive(Clone, Copy)]
struct Scores<'a, L> {
    q: &'a [f32],
    rows: L,
    width: usize,
    scale: f32,
}

impl<L: Load> Scores<'_, L> {
    /// The scores of some rows, `R` at a time, for all these queries, `Q` at a time from number `first` on; says which row was not
    /// reached.
    #[inline(always)]
    fn groups<V: Vector, const Q: usize, const R: usize>(
        self,
        v: V,
        first: usize,
        rows: Range<usize>,
        scores: &mut [&mut [f32]],
    ) -> usize {
        let (groups, _) = scores.as_chunks_mut::<Q>();
        let end = rows.end - rows.len() % R;
        for row in (rows.start..end).step_by(R) {
            for (index, group) in groups.iter_mut().enumerate() {
                self.tile::<V, Q, R>(v, first + Q * index, row, group);
            }
        }
        end
    }

    /// The scores of `R` rows for `Q` queries, from `query` and `row` on.
    #[inline(always)]
    fn tile<V: Vector, const Q: usize, const R: usize>(
        self,
        v: V,
        query: usize,
        row: usize,
        scores: &mut [&mut [f32]; Q],
    ) {
        let sums = self.dots::<V, Q, R>(v, query, row);
        let mut folded = [[0.0; R]; Q];
        let (quads, rest) = sums.as_flattened().as_chunks::<4>();
        let (folded_quads, folded_rest) = folded.as_flattened_mut().as_chunks_mut::<4>();
        for (folded, &sums) in folded_quads.iter_mut().zip(quads) {
            *folded = v.fold4(sums);
        }
        for (folded, &sum) in folded_rest.iter_mut().zip(rest) {
            *folded = v.fold(sum);
        }
        for (scores, folded) in scores.iter_mut().zip(folded) {
            scores[row..row + R].copy_from_slice(&folded.map(|sum| sum * self.scale));
        }
    }

    /// The lanes of the dot products of `Q` queries with `R` rows.
    #[inline(always)]
    fn dots<V: Vector, const Q: usize, const R: usize>(
        self,
        v: V,
        query: usize,
        row: usize,
    ) -> [[V::F; R]; Q] {
        let width = self.width;
        let groups = width / 16;
        let (mut queries, mut rows) = ([&[][..]; Q], [self.rows.groups(width, row, 0..groups); R]);
        for (index, q) in queries.iter_mut().enumerate() {
            *q = sixteens(self.q, width, query + index, 0..groups);
        }
        for (index, row) in (row..).zip(&mut rows).skip(1) {
            *row = self.rows.groups(width, index, 0..groups);
        }
        let mut sums = [[v.splat(0.0); R]; Q];
        for group in 0..groups {
            let mut numbers = [v.splat(0.0); R];
            for (row, numbers) in rows.into_iter().zip(&mut numbers) {
                *numbers = L::load(v, row, group);
            }
            for (sums, q) in sums.iter_mut().zip(queries) {
                let q = v.load(&q[group]);
                for (sum, numbers) in sums.iter_mut().zip(numbers) {
                    *sum = v.mul_add(q, numbers, *sum);
                }
            }
        }
        if !width.is_multiple_of(16) {
            for (index, sums) in (query..).zip(&mut sums) {
                let q = v.load(&padded(&self.q[index * width..][16 * groups..width], 0.0));
                for (row, sum) in (row..).zip(sums) {
                    *sum = v.mul_add(q, self.rows.tail(v, width, row, 16 * groups..width), *sum);
                }
            }
        }
        sums
    }
}

/// `out[i][c] += sum over j of p[i][j] * rows[j][c]`: of rows that are wider than the outputs, the first columns.
#[inline(always)]
pub(super) fn mix<V: Vector>(v: V, p: &[&[f32]], rows: Rows<'_>, out: &mut [&mut [f32]]) {
    rows.check();
    let columns = out.first().map_or(0, |out| out.len());
    assert!(p.len() == out.len() && p.iter().all(|p| p.len() == rows.len), "a weight a row");
    assert!(columns <= rows.width && out.iter().all(|out| out.len() == columns), "columns of the rows");
    match rows.numbers {
        Numbers::F32(numbers) => mix_all(v, p, numbers, rows.width, out),
        Numbers::F16(numbers) => mix_all(v, p, numbers, rows.width, out),
        Numbers::Bytes { codes, scales } => mix_all(v, p, Bytes { codes, scales }, rows.width, out),
    }
}

/// [`mix`] of one kind of numbers: 64 columns at a time, then 16, then the rest; queries in fours or pairs.
#[inline(always)]
fn mix_all<V: Vector>(v: V, p: &[&[f32]], rows: impl Load, width: usize, out: &mut [&mut [f32]]) {
    let product = Mixture { rows, width };
    let columns = out.first().map_or(0, |out| out.len());
    let whole = columns / 64 * 64;
    for start in (0..whole).step_by(64) {
        let fours = if V::SUMS == 8 { p.len() / 4 * 4 } else { 0 };
        let ((four, p), (out_four, out)) = (p.split_at(fours), out.split_at_mut(fours));
        for (p, out) in four.as_chunks::<4>().0.iter().zip(out_four.as_chunks_mut::<4>().0) {
            product.tile::<V, 4, 4>(v, p, start, out);
        }
        let ((pairs, single), (outs, single_out)) = (p.as_chunks::<2>(), out.as_chunks_mut::<2>());
        for (pair, out) in pairs.iter().zip(outs) {
            if V::SUMS == 8 {
                product.tile::<V, 2, 4>(v, pair, start, out);
            } else {
                product.tile::<V, 2, 2>(v, pair, start, out);
                product.tile::<V, 2, 2>(v, pair, start + 32, out);
            }
        }
        if let ([single], [out]) = (single, single_out) {
            product.tile::<V, 1, 4>(v, &[single], start, std::array::from_mut(out));
        }
    }
    for (p, out) in p.iter().zip(out) {
        product.rest(v, p, whole, out);
    }
}

/// The product of weights and rows.
#[derive(Clone, Copy)]
struct Mixture<L> {
    rows: L,
    /// Numbers of a row.
    width: usize,
}

impl<L: Load> Mixture<L> {
    /// The columns from `start` on of one query.
    #[inline(always)]
    fn rest<V: Vector>(self, v: V, p: &[f32], mut start: usize, out: &mut [f32]) {
        while start + 16 <= out.len() {
            self.tile::<V, 1, 1>(v, &[p], start, &mut [&mut *out]);
            start += 16;
        }
        if start < out.len() {
            let mut sum = v.load(&padded(&out[start..], 0.0));
            for (row, &p) in p.iter().enumerate() {
                sum = v.mul_add(v.splat(p), self.rows.tail(v, self.width, row, start..out.len()), sum);
            }
            let rest = out.len() - start;
            out[start..].copy_from_slice(&v.array(sum)[..rest]);
        }
    }

    /// `16 C` columns from `start` on of `Q` queries.
    #[inline(always)]
    fn tile<V: Vector, const Q: usize, const C: usize>(
        self,
        v: V,
        p: &[&[f32]; Q],
        start: usize,
        out: &mut [&mut [f32]; Q],
    ) {
        let mut sums = [[v.splat(0.0); C]; Q];
        for (sums, out) in sums.iter_mut().zip(&*out) {
            let (groups, _) = out[start..start + 16 * C].as_chunks::<16>();
            for (sum, group) in sums.iter_mut().zip(groups) {
                *sum = v.load(group);
            }
        }
        let len = p[0].len();
        let p = p.map(|p| &p[..len]);
        for row in 0..len {
            let groups = self.rows.groups(self.width, row, start / 16..start / 16 + C);
            let mut numbers = [v.splat(0.0); C];
            for (c, numbers) in numbers.iter_mut().enumerate() {
                *numbers = L::load(v, groups, c);
            }
            for (sums, p) in sums.iter_mut().zip(p) {
                let p = v.splat(p[row]);
                for (sum, numbers) in sums.iter_mut().zip(numbers) {
                    *sum = v.mul_add(p, numbers, *sum);
                }
            }
        }
        for (sums, out) in sums.into_iter().zip(out) {
            let (groups, _) = out[start..start + 16 * C].as_chunks_mut::<16>();
            for (sum, group) in sums.into_iter().zip(groups) {
                *group = v.array(sum);
            }
        }
    }
}
