//! Embedding and head: from tokens to the residual stream, and from it to logits. As the file has them, or with the head
//! rounded to fewer bits when it is loaded. A head that is not there is the embedding.

use std::sync::{Arc, Mutex, PoisonError};

use craftsman_golden::quants::{QuantError, QuantKind, QuantMatrix};
use craftsman_kernelgen::float::{DenseMatrix, HalfKind, PackedDense};

use crate::container::Bytes;
use crate::layer::{self, Linear, Product, Quantised, sized};
use crate::load::Loader;
use crate::threads::Threads;
use crate::{ErrorKind, Model, ModelError};

/// Rows that one job rounds.
const ROWS: usize = 512;

/// The vectors of the tokens, `[vocab, hidden]`, as they are stored: only a few are read.
#[derive(Debug)]
pub(crate) enum Embedding {
    /// Numbers of sixteen bits, in the file.
    Halves(HalfKind, Bytes),
    Dense(Arc<PackedDense>),
    Quant(Arc<QuantMatrix>),
}

impl Embedding {
    /// The tensor `name` of a checkpoint.
    pub(crate) fn load(loader: &Loader, name: &str) -> Result<Self, ModelError> {
        let shape = [loader.config.vocab, loader.config.hidden];
        if let Some(matrix) = loader.quants(name, shape)? {
            return Ok(Self::Quant(Arc::new(matrix)));
        }
        Ok(match loader.checkpoint.halves(name)? {
            Some((kind, bytes)) => Self::Halves(kind, bytes),
            None => Self::Dense(Arc::new(loader.dense(name, shape)?)),
        })
    }

    /// The vector of one token.
    pub(crate) fn row(&self, token: usize, out: &mut [f32]) {
        match self {
            Self::Halves(kind, bytes) => {
                let halves = bytes.as_chunks::<2>().0[token * out.len()..].iter();
                out.iter_mut().zip(halves).for_each(|(out, half)| *out = kind.widen(*half));
            }
            Self::Dense(matrix) => matrix.row(token, out),
            Self::Quant(matrix) => out.copy_from_slice(&matrix.row_f32(token)),
        }
    }

    /// Bytes in memory; what is in the file is not counted.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Halves(..) => 0,
            Self::Dense(matrix) => matrix.bytes(),
            Self::Quant(matrix) => matrix.bytes().len(),
        }
    }

    /// Bytes that reading one of `vocab` vectors reads.
    pub(crate) fn row_bytes(&self, vocab: usize) -> usize {
        match self {
            Self::Halves(_, bytes) => bytes.len() / vocab,
            other => other.bytes() / vocab,
        }
    }
}

const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";

/// Loads both; the head rounded to `kind`, if that is asked for.
pub(crate) fn load(
    loader: &Loader,
    kind: Option<&'static QuantKind>,
    threads: &Threads,
) -> Result<(Embedding, Linear), ModelError> {
    let embedding = Embedding::load(loader, EMBEDDING)?;
    let own = loader.checkpoint.has(HEAD);
    let name = if own { HEAD } else { EMBEDDING };
    let shape = [loader.config.vocab, loader.config.hidden];
    let stored = match &embedding {
        Embedding::Quant(matrix) if !own => Some(Arc::clone(matrix)),
        _ => loader.quants(name, shape)?.map(Arc::new),
    };
    let head = match (stored, kind) {
        (stored, Some(kind)) if stored.as_ref().is_none_or(|matrix| matrix.kind() != kind) => {
            loader.quantized(name, &round(&loader.numbers(name, shape)?, kind, threads)?)?
        }
        (Some(matrix), _) => loader.quantized(name, &matrix)?,
        (None, _) => Linear::Dense(match &embedding {
            Embedding::Dense(packed) if !own => Arc::clone(packed),
            _ => Arc::new(loader.dense(name, shape)?),
        }),
    };
    Ok((embedding, head))
}

/// `dense` rounded to `kind`, rows side by side on all threads.
fn round(
    dense: &DenseMatrix,
    kind: &'static QuantKind,
    threads: &Threads,
) -> Result<QuantMatrix, ModelError> {
    let (m, k) = (dense.rows(), dense.cols());
    let parts: Vec<_> = (0..m).step_by(ROWS).map(|first| (first, Mutex::new(Ok(Vec::new())))).collect();
    threads.run(parts.iter().collect(), |(first, bytes)| {
        let rows = *first..m.min(first + ROWS);
        let rounded = QuantMatrix::quantize(kind, rows.len(), k, &dense.rows_widened(rows));
        *bytes.lock().unwrap_or_else(PoisonError::into_inner) = rounded.map(QuantMatrix::into_bytes);
    });
    let parts =
        parts.into_iter().map(|(_, bytes)| bytes.into_inner().unwrap_or_else(PoisonError::into_inner));
    let bytes: Result<Vec<_>, QuantError> = parts.collect();
    let matrix = bytes.and_then(|bytes| QuantMatrix::from_bytes(kind, m, k, bytes.concat()));
    matrix.map_err(|source| {
        let remedy = "choose another type for the head";
        ModelError::new(ErrorKind::Input, format!("the head: {source}"), remedy).because(source)
    })
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
