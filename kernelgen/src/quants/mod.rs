//! Products with matrices of small integers in blocks (`Q8_0`, `Q6_K`, `Q4_K`): heads, and whatever else is not ternary.
//!
//! [`craftsman_golden::quants`] defines the product; code for one shape is emitted and verified like any kernel.
//!
//! # Layout
//! A *group of rows* is L rows, one a lane of a vector of L 32-bit lanes; a *panel* is four groups, its *fields*. Along k
//! a panel is a sequence of spans (superblocks, or two blocks of `Q8_0`), without gaps:
//! ```text
//! span  = header, groups of blocks       header: a vector a field; lane = d, d_minimum as halves     (not Q8_0)
//! group = scales, minimums, steps        a vector a field; lane = four bytes, or two halves (Q8_0), one a block
//! step  = planes of four columns         byte c of a lane: column c; bits 4 f % 8: field f of a plane of four bits,
//!                                        in two vectors; bits 2 f: field f of a plane of two bits, in one
//! ```
//! Codes of eight and six bits are a plane of four and one of what is above it. So every product fits what VPMADDUBSW can
//! add up, on every tier, at 8.5, 6.6 and 4.6 bits a weight.

mod emit;
mod layout;

use craftsman_golden::quants::{QuantKind, QuantMatrix, quantized_gemm};
use craftsman_golden::{Granularity, quants};
use craftsman_isa::HardwareCaps;
use std::sync::Arc;

use crate::activations::Activations;
use crate::backend::{self, Backend};
use crate::code::{Code, EmitError};
use crate::host;
use crate::memory::ExecutableMemory;
use crate::output::{OutputColumns, OutputMatrix};
use crate::pages::Pages;
use crate::perf_map;
use crate::quantizer::Quantizer;
use crate::verify::{Random, token_row};
use crate::vocabulary::Arguments;
use layout::Geometry;

/// What the code of a product is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct QuantKey {
    kind: &'static str,
    m: usize,
    k: usize,
}

impl QuantKey {
    pub(crate) fn of(matrix: &QuantMatrix) -> Self {
        Self { kind: matrix.kind().name, m: matrix.m(), k: matrix.k() }
    }
}

/// Machine code that has given golden's answer, bit for bit.
#[derive(Debug)]
pub(crate) struct QuantKernel {
    geometry: Geometry,
    backend: &'static str,
    memory: ExecutableMemory,
    quantizer: Arc<Quantizer>,
}

/// A packed matrix of blocks of integers, and the verified code for its shape. Made by
/// [`KernelCompiler::quantized`](crate::KernelCompiler::quantized); never changes; may be used from many threads at once.
#[derive(Debug)]
pub struct QuantLinear {
    pages: Pages<u8>,
    kernel: Arc<QuantKernel>,
}

/// The machine code of a product for `caps`.
fn code(backend: &dyn Backend, geometry: Geometry, caps: &HardwareCaps) -> Result<Code, EmitError> {
    backend.compile(caps, &mut |emitter| emit::emit(geometry, emitter))
}

impl QuantKernel {
    /// The first backend of `caps` that gives golden's answer.
    ///
    /// # Errors
    /// What was wrong with the last one that was tried.
    pub(crate) fn new(
        matrix: &QuantMatrix,
        caps: &HardwareCaps,
        quantizer: &Arc<Quantizer>,
    ) -> Result<Self, EmitError> {
        let caps = host::within(caps.clone());
        let (kind, m, k) = (matrix.kind(), matrix.m(), matrix.k());
        let build = |backend: &dyn Backend| {
            Self::on(backend, Geometry { kind, lanes: backend.lanes(), m, k }, &caps, quantizer)
        };
        backend::first_right(&caps, build, |backend, error| {
            tracing::error!(name: "QuantKernelDropped", backend, kind = kind.name, m, k, %error);
        })
    }

    fn on(
        backend: &dyn Backend,
        geometry: Geometry,
        caps: &HardwareCaps,
        quantizer: &Arc<Quantizer>,
    ) -> Result<Self, EmitError> {
        let memory = ExecutableMemory::new(&code(backend, geometry, caps)?)?;
        let Geometry { kind, m, k, .. } = geometry;
        perf_map::record(memory.code(), format_args!("{}-{}-{m}x{k}", backend.name(), kind.name));
        let kernel = Self { geometry, backend: backend.name(), memory, quantizer: Arc::clone(quantizer) };
        kernel.verify()?;
        Ok(kernel)
    }

    /// Compares with golden: two panels and the partial one, all columns, activations that are meant to break kernels.
    fn verify(&self) -> Result<(), EmitError> {
        let Geometry { kind, m, k, .. } = self.geometry;
        let rows = m.min(2 * self.geometry.panel_rows() + m % self.geometry.panel_rows());
        let mut random = Random::new(k as u64);
        let fail = |what: &dyn std::fmt::Display| {
            let backend = self.backend;
            EmitError::new(format_args!("{backend} multiplies {} {m} x {k} wrongly: {what}", kind.name))
        };
        let matrix = trial(kind, rows, k, &mut random).map_err(|error| fail(&error))?;
        let pages = Geometry { m: rows, ..self.geometry }.pack(&matrix, 1).map_err(|error| fail(&error))?;
        for tokens in [1, TOKENS] {
            let (q, a) = trial_tokens(tokens, k, &mut random);
            let x = Activations::from_quantized(&q, &a, k, Granularity::Block(kind.block));
            let mut found = vec![f32::NAN; tokens * m];
            self.run(&pages, &x, &mut OutputMatrix::new(&mut found, tokens, m).first(rows));
            let expected = quantized_gemm(&matrix, &q, &a);
            for (found, expected) in found.chunks(m).zip(expected.chunks(rows)) {
                let wrong = |row: &usize| found[*row].to_bits() != expected[*row].to_bits();
                if let Some(row) = (0..rows).find(wrong) {
                    let (found, expected) = (found[row], expected[row]);
                    return Err(fail(&format_args!("row {row} is {found:e}, golden says {expected:e}")));
                }
            }
        }
        Ok(())
    }

    /// Runs on the rows that `out` holds of `pages`, which may be fewer than the geometry's, as long as the last panel is
    /// as full.
    fn run(&self, pages: &[u8], x: &Activations, out: &mut OutputColumns<'_>) {
        let geometry = &self.geometry;
        let (panel_rows, panel_bytes) = (geometry.panel_rows(), geometry.panel_bytes());
        let (rows, tail) = (out.rows(), geometry.m % geometry.panel_rows());
        let panels = rows.end.div_ceil(panel_rows);
        assert!(rows.start.is_multiple_of(panel_rows), "{rows:?} begins inside a panel");
        assert!(
            rows.end.is_multiple_of(panel_rows) || rows.end % panel_rows == tail,
            "{rows:?} of {geometry:?}"
        );
        assert!(pages.len() >= panels * panel_bytes, "{} bytes for {panels} panels", pages.len());
        assert!(
            out.stride() == geometry.m && rows.end <= geometry.m && out.tokens() == x.tokens(),
            "{rows:?}"
        );
        assert!(x.k() == geometry.k && x.suits(self.scales()), "activations of {}", x.k());
        if rows.is_empty() || x.tokens() == 0 {
            return;
        }
        let mut arguments = Arguments {
            weights: pages[rows.start / panel_rows * panel_bytes..].as_ptr(),
            activations: x.q().as_ptr().cast(),
            token_words: x.words().as_ptr(),
            output: out.base().wrapping_add(rows.start),
            panels: rows.len() / panel_rows,
            tail: usize::from(!rows.len().is_multiple_of(panel_rows)),
            tokens: x.tokens(),
            ..Arguments::default()
        };
        // SAFETY: the code was emitted for this geometry and this processor (`on`). The checks above tie every buffer to
        // it: the panels of `rows`; x.tokens() rows of k values, which is a multiple of four, with a scale and a sum a
        // block; and the columns `rows` of as many tokens' output rows, that `out` alone may write.
        unsafe { self.memory.call(&mut arguments) }
    }

    fn scales(&self) -> Granularity {
        Granularity::Block(self.geometry.kind.block)
    }
}

impl QuantLinear {
    /// # Errors
    /// When the operating system has no memory left.
    pub(crate) fn pack(
        matrix: &QuantMatrix,
        kernel: Arc<QuantKernel>,
        threads: usize,
    ) -> std::io::Result<Self> {
        Ok(Self { pages: kernel.geometry.pack(matrix, threads)?, kernel })
    }

    /// Output features.
    pub fn m(&self) -> usize {
        self.kernel.geometry.m
    }

    /// Input features.
    pub fn k(&self) -> usize {
        self.kernel.geometry.k
    }

    /// How the matrix is stored.
    pub fn kind(&self) -> &'static QuantKind {
        self.kernel.geometry.kind
    }

    /// The backend that its code is of.
    pub fn backend(&self) -> &'static str {
        self.kernel.backend
    }

    /// Rows of a panel: threads may divide the output at multiples of it, see
    /// [`OutputMatrix::split`](crate::OutputMatrix::split).
    pub fn panel_rows(&self) -> usize {
        self.kernel.geometry.panel_rows()
    }

    /// Size of the packed weights in memory.
    pub fn size(&self) -> usize {
        self.pages.len()
    }

    /// Columns that share a scale; [`Activations`] must be quantised for it.
    pub fn scales(&self) -> Granularity {
        self.kernel.scales()
    }

    /// What quantises its input, for [`Activations::quantize`].
    pub fn quantizer(&self) -> &Quantizer {
        &self.kernel.quantizer
    }

    /// Computes the rows that `out` holds, for all tokens of `x`, exactly as [`quantized_gemm`] does.
    ///
    /// # Panics
    /// When `x` is not k wide or was quantised for other blocks; when `out` has another shape, or begins or ends inside a
    /// panel: bugs in the caller.
    pub fn run(&self, x: &Activations, out: &mut OutputColumns<'_>) {
        self.kernel.run(&self.pages, x, out);
    }
}

/// Tokens of the larger call of a verification: every pattern of activations.
const TOKENS: usize = 7;

/// Random codes and scales, finite and of either sign; some rows at the ends of the codes' range.
fn trial(
    kind: &'static QuantKind,
    m: usize,
    k: usize,
    random: &mut Random,
) -> Result<QuantMatrix, quants::QuantError> {
    let row = |row: usize, random: &mut Random| -> Vec<f32> {
        let value = |column: usize, random: &mut Random| match row % 4 {
            0 => 0.75,
            1 => [-1.0, 1.0][column % 2],
            2 => 0.0,
            _ => random.positive() - 0.5,
        };
        (0..k).map(|column| value(column, random)).collect()
    };
    let values: Vec<f32> = (0..m).flat_map(|at| row(at, random)).collect();
    QuantMatrix::quantize(kind, m, k, &values)
}

/// Activations of `tokens` tokens, each of another pattern, and their scales.
fn trial_tokens(tokens: usize, k: usize, random: &mut Random) -> (Vec<i8>, Vec<f32>) {
    let q = (0..tokens).flat_map(|token| token_row(token, k, random)).collect();
    (q, (0..tokens).map(|_| random.positive() * 127.0).collect())
}

#[cfg(test)]
mod tests;
