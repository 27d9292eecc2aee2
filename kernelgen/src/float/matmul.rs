//! The dense matrix product.
//!
//! Outputs stand in the lanes, so each is one chain of fused multiply-adds in ascending `k`, as golden has
//! it. A chain waits for itself; speed comes from several chains side by side:
//! 1. one token: four panels at once, which are also four streams for the memory to deliver, each prefetched ahead;
//! 2. many tokens: four tokens on each panel, so that widened weights are used four times; tokens in groups whose
//!    activations stay in the second-level cache while a group walks all panels.

use half::{bf16, f16};

use super::dense::{Column, PANEL_ROWS, PackedDense, Panels};
use super::vector::Vector;
use crate::OutputColumns;

/// Tokens whose activations should stay in cache together.
const TOKEN_GROUP: usize = 32;
/// How far ahead of their use weights are asked for, all streams together, in bytes: what arrives in the 100 ns that
/// memory takes to answer. With four times as much a core read a quarter less.
const PREFETCH_BYTES: usize = 2048;

/// A number type that weights are stored as.
pub(super) trait Storage: Copy {
    /// One column of a panel as `f32`.
    fn widen<V: Vector>(v: V, column: &Column<Self>) -> V::F;
}

impl Storage for f32 {
    #[inline(always)]
    fn widen<V: Vector>(v: V, column: &Column<Self>) -> V::F {
        v.load(&column.0)
    }
}

impl Storage for f16 {
    #[inline(always)]
    fn widen<V: Vector>(v: V, column: &Column<Self>) -> V::F {
        v.load_f16(&column.0)
    }
}

impl Storage for bf16 {
    #[inline(always)]
    fn widen<V: Vector>(v: V, column: &Column<Self>) -> V::F {
        v.load_bf16(&column.0)
    }
}

/// [`golden::float::matmul`](craftsman_golden::float::matmul) for the rows that `out` owns; `x` is
/// `[out.tokens(), cols]`.
#[inline(always)]
pub(super) fn dense_matmul<V: Vector>(v: V, w: &PackedDense, x: &[f32], out: &mut OutputColumns<'_>) {
    let rows = out.rows();
    assert!(rows.start.is_multiple_of(PANEL_ROWS) && rows.end <= w.rows(), "rows {rows:?} of {}", w.rows());
    assert!(rows.end.is_multiple_of(PANEL_ROWS) || rows.end == w.rows(), "rows {rows:?} of {}", w.rows());
    assert_eq!(x.len(), out.tokens() * w.cols(), "activations of {} tokens", out.tokens());
    let columns = rows.start / PANEL_ROWS * w.cols()..rows.end.div_ceil(PANEL_ROWS) * w.cols();
    match w.panels() {
        Panels::F32(panels) => product(v, &panels[columns], x, w.cols(), out),
        Panels::F16(panels) => product(v, &panels[columns], x, w.cols(), out),
        Panels::BF16(panels) => product(v, &panels[columns], x, w.cols(), out),
    }
}

/// All tokens times all of `panels`, each `k` columns.
#[inline(always)]
pub(super) fn product<V: Vector, T: Storage>(
    v: V,
    panels: &[Column<T>],
    x: &[f32],
    k: usize,
    out: &mut OutputColumns<'_>,
) {
    for (group, x) in x.chunks(TOKEN_GROUP * k).enumerate() {
        let token = group * TOKEN_GROUP;
        if x.len() == k {
            walk::<V, T, 4, 1>(v, panels, x, k, token, out);
        } else if V::SUMS == 8 {
            walk::<V, T, 2, 4>(v, panels, x, k, token, out);
        } else {
            walk::<V, T, 1, 4>(v, panels, x, k, token, out);
        }
    }
}

/// One group of tokens, from `token` on, over all panels: `P` panels and `N` tokens at a time, and what
/// remains one by one.
#[inline(always)]
fn walk<V: Vector, T: Storage, const P: usize, const N: usize>(
    v: V,
    panels: &[Column<T>],
    x: &[f32],
    k: usize,
    token: usize,
    out: &mut OutputColumns<'_>,
) {
    let mut groups = panels.chunks_exact(P * k);
    let mut row = 0;
    for group in &mut groups {
        tokens::<V, T, P, N>(v, group, x, k, (token, row), out);
        row += P * PANEL_ROWS;
    }
    for panel in groups.remainder().chunks_exact(k) {
        tokens::<V, T, 1, N>(v, panel, x, k, (token, row), out);
        row += PANEL_ROWS;
    }
}

/// `P` panels times some tokens, `N` at a time. The first result is that of `(token, row)`.
#[inline(always)]
fn tokens<V: Vector, T: Storage, const P: usize, const N: usize>(
    v: V,
    panels: &[Column<T>],
    x: &[f32],
    k: usize,
    (mut token, row): (usize, usize),
    out: &mut OutputColumns<'_>,
) {
    let mut groups = x.chunks_exact(N * k);
    for group in &mut groups {
        block::<V, T, P, N>(v, panels, group, k, (token, row), out);
        token += N;
    }
    for x in groups.remainder().chunks_exact(k) {
        block::<V, T, P, 1>(v, panels, x, k, (token, row), out);
        token += 1;
    }
}

/// `P` panels times `N` tokens, with `P N` sums in registers.
#[inline(always)]
fn block<V: Vector, T: Storage, const P: usize, const N: usize>(
    v: V,
    panels: &[Column<T>],
    x: &[f32],
    k: usize,
    (token, row): (usize, usize),
    out: &mut OutputColumns<'_>,
) {
    let mut panel = [&panels[..k]; P];
    let mut xs = [&x[..k]; N];
    for p in 0..P {
        panel[p] = &panels[p * k..][..k];
    }
    for n in 0..N {
        xs[n] = &x[n * k..][..k];
    }
    let mut sums = [[v.splat(0.0); P]; N];
    // A cache line holds a column or several of each panel.
    let in_line = (64 / size_of::<Column<T>>()).max(1);
    let lines = k / in_line * in_line;
    for i in (0..lines).step_by(in_line) {
        for panel in panel {
            v.prefetch(&panel[i], PREFETCH_BYTES / P);
        }
        for within in 0..in_line {
            add_column(v, &panel, &xs, i + within, &mut sums);
        }
    }
    for i in lines..k {
        add_column(v, &panel, &xs, i, &mut sums);
    }
    for (n, sums) in sums.into_iter().enumerate() {
        let outs = out.row_mut(token + n)[row..].chunks_mut(PANEL_ROWS);
        for (out, sum) in outs.zip(sums) {
            let sum = v.array(sum);
            match out.first_chunk_mut() {
                Some(out) => *out = sum,
                None => out.copy_from_slice(&sum[..out.len()]),
            }
        }
    }
}

/// Column `i` of `P` panels times activation `i` of `N` tokens, onto their sums.
#[inline(always)]
fn add_column<V: Vector, T: Storage, const P: usize, const N: usize>(
    v: V,
    panels: &[&[Column<T>]; P],
    xs: &[&[f32]; N],
    i: usize,
    sums: &mut [[V::F; P]; N],
) {
    for p in 0..P {
        let w = T::widen(v, &panels[p][i]);
        for n in 0..N {
            sums[n][p] = v.mul_add(w, v.splat(xs[n][i]), sums[n][p]);
        }
    }
}
