//! Fast twins of [`craftsman_golden::float`], bit-equal to it on every tier.
//!
//! Each operation is written once, over sixteen lanes (`vector`'s vocabulary) or over golden's own scalar
//! definitions in a loop, and compiled once a tier (`tiers`). [`FloatOps`] is one tier's table; it is chosen
//! when a model is loaded.

#![allow(
    clippy::inline_always,
    reason = "an algorithm becomes a tier's code only by inlining into its target features"
)]

mod attention;
mod dense;
mod elementwise;
mod matmul;
mod reduce;
mod rows;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod simulated;
mod tiers;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use dense::{DenseData, DenseMatrix, DenseShapeError, HalfKind, PANEL_ROWS, PackedDense};
pub use rows::{Numbers, Rows};

use std::fmt;

use craftsman_isa::HardwareCaps;

use crate::OutputColumns;
use tiers::Operations;

/// The float operations of one tier. Having one proves that the processor has that tier's instructions.
///
/// Lengths that do not fit together are bugs of the caller and panic; nothing else does.
#[derive(Clone, Copy)]
pub struct FloatOps {
    operations: &'static Operations,
}

impl FloatOps {
    /// The best tier that `caps` allows and that this processor really has: `caps` may describe another one.
    pub fn for_caps(caps: &HardwareCaps) -> Self {
        let fits = |ops: &&Operations| ops.requires.iter().all(|&f| caps.has(f)) && (ops.present)();
        let operations = tiers::ALL.iter().copied().rev().find(fits).unwrap_or(tiers::ALL[0]);
        Self { operations }
    }

    /// Every tier by name, from least to most, and its operations where this processor has them.
    pub fn all() -> impl Iterator<Item = (&'static str, Option<Self>)> {
        tiers::ALL
            .iter()
            .map(|&operations| (operations.name, (operations.present)().then_some(Self { operations })))
    }

    /// The tier's name.
    pub fn name(&self) -> &'static str {
        self.operations.name
    }

    /// `out[i] = x[i] / sqrt(mean(x^2) + eps) * w[i]`, all of one length.
    pub fn rms_norm(&self, x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
        // SAFETY: a `FloatOps` is only made (`for_caps`, `all`) after its tier's `present()` said that the
        // processor has the instructions.
        unsafe { (self.operations.rms_norm)(x, w, eps, out) }
    }

    /// The dot product of two vectors of one length.
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.dot)(a, b) }
    }

    /// Softmax in place.
    pub fn softmax(&self, x: &mut [f32]) {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.softmax)(x) }
    }

    /// `up[i] = silu(gate[i]) * up[i]`.
    pub fn silu_mul(&self, gate: &[f32], up: &mut [f32]) {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.silu_mul)(gate, up) }
    }

    /// `up[i] = max(gate[i], 0)^2 * up[i]`.
    pub fn relu2_mul(&self, gate: &[f32], up: &mut [f32]) {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.relu2_mul)(gate, up) }
    }

    /// `acc[i] += x[i]`.
    pub fn add(&self, acc: &mut [f32], x: &[f32]) {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.add)(acc, x) }
    }

    /// `acc[i] = p * v[i] + acc[i]`, rounded once.
    pub fn axpy(&self, p: f32, v: &[f32], acc: &mut [f32]) {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.axpy)(p, v, acc) }
    }

    /// `scores[i][j] = dot(q[i], row j) * scale`: the scores of some rows for queries that see them; `q` is `[scores.len(), rows.width]`.
    pub fn score(&self, q: &[f32], rows: Rows<'_>, scale: f32, scores: &mut [&mut [f32]]) {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.score)(q, rows, scale, scores) }
    }

    /// `out[i][c] += sum over j of p[i][j] * rows[j][c]`, in ascending `j`: what some rows, weighted by `p`, add to the answers
    /// of queries. Of rows that are wider than the answers the first columns count.
    pub fn mix(&self, p: &[&[f32]], rows: Rows<'_>, out: &mut [&mut [f32]]) {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.mix)(p, rows, out) }
    }

    /// `out[i] = sum over j of weights[j][i] * rows[j][i]`, both `[taps, out.len()]`: one position of a depthwise
    /// convolution over time.
    pub fn depthwise(&self, rows: &[f32], weights: &[f32], out: &mut [f32]) {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.depthwise)(rows, weights, out) }
    }

    /// `x` (`[out.tokens(), w.cols()]`) times the transpose of `w`: the output columns `out.rows()`, which
    /// begin at a multiple of [`PANEL_ROWS`] and end at one or at `w.rows()`.
    pub fn dense_matmul(&self, w: &PackedDense, x: &[f32], out: &mut OutputColumns<'_>) {
        // SAFETY: as in `rms_norm`.
        unsafe { (self.operations.dense_matmul)(w, x, out) }
    }
}

impl fmt::Debug for FloatOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FloatOps").field(&self.name()).finish()
    }
}
