//! One projection: a ternary one on an emitted kernel, or a dense one.

use std::sync::Arc;

use craftsman_golden::Granularity;
use craftsman_golden::quantize::NonFinite;
use craftsman_kernelgen::float::{FloatOps, PANEL_ROWS, PackedDense};
use craftsman_kernelgen::{Activations, Epilogue, OutputColumns, OutputMatrix, QuantLinear, TernaryLinear};

use super::Engine;
use crate::{ErrorKind, ModelError};

/// Tokens from which a product is worth dividing more finely than by threads, so that a slow thread can be helped.
const MANY_TOKENS: usize = 16;

/// A weight matrix `[m, k]`, ready to be multiplied.
#[derive(Debug)]
pub(crate) enum Linear {
    /// `BitLinear`: absmax int8 input, integer product, scales.
    Ternary(TernaryLinear),
    /// f32, f16 or bf16 weights, multiplied in f32.
    Dense(Arc<PackedDense>),
    /// Integers in blocks: absmax int8 input, integer products a block, scales.
    Quant(QuantLinear),
}

impl Linear {
    /// Output features.
    pub(crate) fn m(&self) -> usize {
        match self {
            Self::Ternary(linear) => linear.m(),
            Self::Dense(dense) => dense.rows(),
            Self::Quant(linear) => linear.m(),
        }
    }

    /// Input features.
    pub(crate) fn k(&self) -> usize {
        match self {
            Self::Ternary(linear) => linear.k(),
            Self::Dense(dense) => dense.cols(),
            Self::Quant(linear) => linear.k(),
        }
    }

    /// Bytes of packed weights.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Ternary(linear) => linear.size(),
            Self::Dense(dense) => dense.bytes(),
            Self::Quant(linear) => linear.size(),
        }
    }

    /// Whether its products are added to what the output holds.
    pub(crate) fn adds(&self) -> bool {
        matches!(self, Self::Ternary(linear) if linear.epilogue() == Epilogue::Add)
    }

    fn granule(&self) -> usize {
        match self {
            Self::Ternary(linear) => linear.panel_rows(),
            Self::Dense(_) => PANEL_ROWS,
            Self::Quant(linear) => linear.panel_rows(),
        }
    }

    fn run(&self, ops: FloatOps, x: &[f32], input: &Quantised, mut out: OutputColumns<'_>) {
        match self {
            Self::Ternary(linear) => linear.run(input.find(linear.scales()), &mut out),
            Self::Dense(dense) => ops.dense_matmul(dense, x, &mut out),
            Self::Quant(linear) => linear.run(input.find(linear.scales()), &mut out),
        }
    }
}

/// The int8 forms of one input: one for all projections of it whose kernels can share it, mostly just one.
#[derive(Debug, Default)]
pub(crate) struct Quantised {
    forms: Vec<Activations>,
    valid: usize,
}

impl Quantised {
    /// Quantises `x`, `[n, k]`, anew for every one of `linears`; the memory of the last input is reused.
    pub(crate) fn fill<'a>(
        &mut self,
        x: &[f32],
        n: usize,
        linears: impl IntoIterator<Item = &'a Linear>,
    ) -> Result<(), ModelError> {
        self.valid = 0;
        for linear in linears {
            let (granularity, quantizer) = match linear {
                Linear::Ternary(linear) => (linear.scales(), linear.quantizer()),
                Linear::Quant(linear) => (linear.scales(), linear.quantizer()),
                Linear::Dense(_) => continue,
            };
            let known = self.forms[..self.valid].iter().position(|form| form.suits(granularity));
            let index = known.unwrap_or(self.valid);
            if known.is_none() {
                if self.forms.len() == self.valid {
                    self.forms.push(Activations::new());
                }
                self.forms[index].quantize(quantizer, x, n).map_err(non_finite)?;
                self.valid += 1;
            }
            if let Linear::Ternary(linear) = linear {
                linear.prepare(&mut self.forms[index]);
            }
        }
        Ok(())
    }

    /// What [`fill`](Self::fill), which saw every projection that runs on this input, made for these scales.
    fn find(&self, granularity: Granularity) -> &Activations {
        let form = self.forms[..self.valid].iter().find(|form| form.suits(granularity));
        form.expect("`fill` saw every projection that runs on this input")
    }
}

fn non_finite(source: NonFinite) -> ModelError {
    let problem = format!("an activation is not finite: {source}");
    let remedy =
        "the weights are damaged, or too large for int8 activations: fetch or convert the model again";
    ModelError::new(ErrorKind::Input, problem, remedy).because(source)
}

/// One product to do: `out = x * weights`, where `x` is `[n, k]` and `out` `[n, m]`; or `out +=`, see
/// [`Linear::adds`].
pub(crate) struct Product<'a> {
    pub(crate) linear: &'a Linear,
    pub(crate) x: &'a [f32],
    pub(crate) input: &'a Quantised,
    pub(crate) out: &'a mut [f32],
}

/// Runs products side by side, each divided among the threads by output features.
pub(crate) fn run(engine: &Engine<'_>, products: Vec<Product<'_>>) {
    if let Some(observer) = engine.observer {
        for product in &products {
            observer.see(product.linear, product.x);
        }
    }
    let mut matrices: Vec<_> = products
        .into_iter()
        .map(|Product { linear, x, input, out }| {
            let (m, n) = (linear.m(), x.len() / linear.k());
            (linear, x, input, n, OutputMatrix::new(out, n, m))
        })
        .collect();
    let jobs = matrices.iter_mut().flat_map(|(linear, x, input, n, out)| {
        let parts = parts(engine.threads.count(), *n);
        let (linear, x, input) = (*linear, *x, *input);
        out.split(linear.granule(), parts).into_iter().map(move |columns| (linear, x, input, columns))
    });
    engine
        .threads
        .run(jobs.collect(), |(linear, x, input, columns)| linear.run(engine.ops, x, input, columns));
}

/// How many shares a product over `n` tokens is divided into.
fn parts(threads: usize, n: usize) -> usize {
    if threads > 1 && n >= MANY_TOKENS { threads * 4 } else { threads }
}
