//! The head: from the residual stream to logits. As the file has it, or rounded to fewer bits when it is loaded.

use std::sync::{Mutex, PoisonError};

use craftsman_golden::quants::{QuantError, QuantKind, QuantMatrix};
use craftsman_kernelgen::KernelCompiler;
use craftsman_kernelgen::float::DenseMatrix;

use crate::layer::{self, Linear, Product, Quantised, sized};
use crate::threads::Threads;
use crate::{ErrorKind, Model, ModelError};

/// Rows that one job rounds.
const ROWS: usize = 512;

/// `dense`, rounded to `kind`, with code for its shape.
pub(crate) fn quantised(
    dense: &DenseMatrix,
    kind: &'static QuantKind,
    compiler: &KernelCompiler,
    threads: &Threads,
) -> Result<Linear, ModelError> {
    let matrix = round(dense, kind, threads).map_err(|source| {
        let remedy = "choose another type for the head";
        ModelError::new(ErrorKind::Input, source.to_string(), remedy).because(source)
    })?;
    let linear = compiler.quantized(&matrix).map_err(|source| {
        let remedy = "this is a bug: please report it with this message";
        ModelError::new(ErrorKind::Kernel, source.to_string(), remedy).because(source)
    })?;
    Ok(Linear::Quant(linear))
}

fn round(
    dense: &DenseMatrix,
    kind: &'static QuantKind,
    threads: &Threads,
) -> Result<QuantMatrix, QuantError> {
    let (m, k) = (dense.rows(), dense.cols());
    let parts: Vec<_> = (0..m).step_by(ROWS).map(|first| (first, Mutex::new(Ok(Vec::new())))).collect();
    threads.run(parts.iter().collect(), |(first, bytes)| {
        let rows = *first..m.min(first + ROWS);
        let rounded = QuantMatrix::quantize(kind, rows.len(), k, &dense.rows_widened(rows));
        if let Ok(mut bytes) = bytes.lock() {
            *bytes = rounded.map(QuantMatrix::into_bytes);
        }
    });
    let bytes: Result<Vec<_>, _> = parts
        .into_iter()
        .map(|(_, bytes)| bytes.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect();
    QuantMatrix::from_bytes(kind, m, k, bytes?.concat())
}

/// What the head is fed with; the memory of the last input serves again.
#[derive(Debug, Default)]
pub(crate) struct HeadInput {
    normed: Vec<f32>,
    quantised: Quantised,
}

impl HeadInput {
    /// `logits = head * norm(x)` for rows of `x`, `[rows, hidden]`.
    pub(crate) fn run(&mut self, model: &Model, x: &[f32], logits: &mut [f32]) -> Result<(), ModelError> {
        let engine = model.engine();
        let normed = sized(&mut self.normed, x.len());
        model.norm.apply(&engine, x, normed);
        self.quantised.fill(normed, x.len() / model.config().hidden, [&model.head])?;
        let product = Product { linear: &model.head, x: normed, input: &self.quantised, out: logits };
        layer::run(&engine, vec![product]);
        Ok(())
    }
}
