//! Nothing runs unverified: a candidate becomes a kernel by giving golden's answer, bit for bit.
//!
//! What is tried is meant to break kernels. Each row of the weights and each token of the activations follows one of
//! the patterns below, and all pairs of patterns meet; token counts lie around every edge of the tile. All columns and
//! the partial panel take part. Full panels beyond two rounds of the tile are all computed by the same instructions,
//! so they are left out.

mod elsewhere;
mod patterns;
mod simulated;

use std::fmt;

use craftsman_golden::TernaryMatrix;
use craftsman_golden::float as golden;
use craftsman_golden::gemm::ternary_gemm;

use crate::activations::Activations;
use crate::code::EmitError;
use crate::config::KernelConfig;
use crate::kernel::{Candidate, Kernel};
use crate::key::{Batch, Epilogue, KernelKey};
use crate::output::OutputMatrix;
use crate::packed::PackedMatrix;
use patterns::{TOKEN_PATTERNS, weights};

pub(crate) use patterns::{Random, token_row, weights as random_weights};

#[cfg(test)]
pub(crate) use elsewhere::words;
pub use elsewhere::{Buffer, Runner, verify_elsewhere};
#[cfg(test)]
pub(crate) use simulated::runner;
pub use simulated::{Simulated, verify_simulated};

/// A kernel gave another answer than golden: a bug in an emitter, or a processor that does not keep its promises.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// What was to be computed.
    pub key: KernelKey,
    /// How the wrong kernel was built.
    pub config: KernelConfig,
    /// The seed of the inputs.
    pub seed: u64,
    /// Tokens in the call that went wrong.
    pub tokens: usize,
    /// Output row; the number of rows for a write beyond the rows that were asked for.
    pub row: usize,
    /// Token within the call.
    pub token: usize,
    /// Golden's answer.
    pub expected: f32,
    /// The kernel's.
    pub found: f32,
}

impl std::error::Error for Mismatch {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, config, seed, tokens, row, token, expected, found } = self;
        write!(
            f,
            "{config} computes {key} wrongly: row {row} of token {token} (of {tokens}) is {found:e}, golden says \
             {expected:e}; reproduce with `kernelgen verify {key} --config {config} --seed {seed}`"
        )
    }
}

/// A kernel did what code may not do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{config} faults on {key}: {fault}")]
pub struct KernelFault {
    /// What was to be computed.
    pub key: KernelKey,
    /// How the wrong kernel was built.
    pub config: KernelConfig,
    /// What it did.
    pub fault: String,
}

/// Why a candidate did not become a kernel.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It computes something else.
    #[error(transparent)]
    Mismatch(Box<Mismatch>),
    /// In simulation it did what code may not do, such as reading outside its buffers.
    #[error(transparent)]
    Fault(Box<KernelFault>),
    /// It could not be tried.
    #[error(transparent)]
    Emit(#[from] EmitError),
}

/// Something that computes the first columns of the output, one for each row of the weights: native code, or the
/// simulator.
type Run<'r> =
    dyn FnMut(&PackedMatrix, &mut Activations, &mut OutputMatrix<'_>) -> Result<(), VerifyError> + 'r;

/// Turns a candidate into a kernel.
pub(crate) fn verify(candidate: Candidate, seed: u64) -> Result<Kernel, VerifyError> {
    let (key, config) = (candidate.key, candidate.config);
    check(&key, &config, seed, &mut |weights, x, out| {
        candidate.prepare(x);
        candidate.run(weights, x, &mut out.first(weights.layout().m));
        Ok(())
    })?;
    Ok(Kernel(candidate))
}

/// Tries whatever `run` runs on all inputs that `seed` gives.
fn check(key: &KernelKey, config: &KernelConfig, seed: u64, run: &mut Run<'_>) -> Result<(), VerifyError> {
    let (_, family) = config.parts()?;
    let mut random = Random::new(seed);
    let panel_rows = config.layout(key)?.panel_rows;
    let panels = config.tile.panels.div_ceil(config.tile.interleave() * key.matrices());
    let rows = key.m.min((2 * panels + 1) * panel_rows + key.m % panel_rows);
    let matrices: Vec<_> =
        (0..key.matrices()).map(|_| weights(key, rows, &mut random)).collect::<Result<_, _>>()?;
    let references: Vec<_> = matrices.iter().collect();
    let packed = family
        .pack(&references, &config.layout(&KernelKey { m: rows, ..*key })?)
        .map_err(|error| EmitError::new(format_args!("no memory for packed weights: {error}")))?;
    let mut trial = Trial { key, config, seed, matrices: &matrices, packed: &packed, patterns: 0 };
    token_counts(key.batch, config.tile.tokens)
        .into_iter()
        .try_for_each(|n| trial.tokens(n, &mut random, run))
}

/// Calls whose token counts reach every part of the code: one for each activation pattern in decode.
fn token_counts(batch: Batch, tile: usize) -> Vec<usize> {
    match batch {
        Batch::Decode => vec![1; TOKEN_PATTERNS],
        Batch::Small | Batch::Prefill => {
            let mut counts = vec![1, tile.saturating_sub(1), tile, tile + 1, 2 * tile + tile / 2 + 1];
            counts.retain(|&n| n > 0);
            counts.dedup();
            counts
        }
    }
}

struct Trial<'t> {
    key: &'t KernelKey,
    config: &'t KernelConfig,
    seed: u64,
    matrices: &'t [TernaryMatrix],
    packed: &'t PackedMatrix,
    /// Activation patterns used so far; the next call goes on from here.
    patterns: usize,
}

/// What output memory holds before the call: a number that no computation gives.
const UNTOUCHED: u32 = 0x7FC0_DEAD;

impl Trial<'_> {
    fn tokens(&mut self, n: usize, random: &mut Random, run: &mut Run<'_>) -> Result<(), VerifyError> {
        let (m, k, rows) = (self.key.m, self.key.k, self.matrices[0].m());
        let spare_bits = 8 - self.key.activation_bits;
        let rows_of_q = (0..n).flat_map(|token| token_row(self.patterns + token, k, random));
        let q: Vec<i8> = rows_of_q.map(|q| q >> spare_bits).collect();
        self.patterns += n;
        let a: Vec<f32> = (0..n).map(|_| random.positive() * 127.0).collect();
        let mut x =
            Activations::from_quantized(&q, &a, k, self.key.scales).with_bits(self.key.activation_bits);
        let mut found = vec![f32::from_bits(UNTOUCHED); n * m];
        if self.key.epilogue == Epilogue::Add {
            found.chunks_mut(m).for_each(|y| y[..rows].fill_with(|| random.positive() - 0.5));
        }
        let before: Vec<f32> = found.chunks(m).flat_map(|y| &y[..rows]).copied().collect();
        run(self.packed, &mut x, &mut OutputMatrix::new(&mut found, n, m))?;
        let expected = self.expected(&q, &a, before);
        for (token, (found, expected)) in found.chunks(m).zip(expected.chunks(rows)).enumerate() {
            self.compare(n, token, found, expected)?;
        }
        Ok(())
    }

    /// Golden's answer; `before` is what the output held.
    fn expected(&self, q: &[i8], a: &[f32], before: Vec<f32>) -> Vec<f32> {
        let product = |matrix| ternary_gemm(matrix, q, a);
        let mut last = self.matrices.last().map(product).unwrap_or_default();
        match self.key.epilogue {
            Epilogue::None => {}
            Epilogue::Add => {
                let mut sum = before;
                golden::add(&mut sum, &last);
                last = sum;
            }
            Epilogue::Silu => golden::silu_mul(&product(&self.matrices[0]), &mut last),
            Epilogue::Relu2 => golden::relu2_mul(&product(&self.matrices[0]), &mut last),
        }
        last
    }

    fn compare(
        &self,
        tokens: usize,
        token: usize,
        found: &[f32],
        expected: &[f32],
    ) -> Result<(), VerifyError> {
        let untouched = std::iter::repeat(f32::from_bits(UNTOUCHED));
        let expected = expected.iter().copied().chain(untouched);
        let mut pairs = found.iter().copied().zip(expected).enumerate();
        let Some((row, (found, expected))) = pairs.find(|(_, (f, e))| f.to_bits() != e.to_bits()) else {
            return Ok(());
        };
        let (key, config, seed) = (*self.key, *self.config, self.seed);
        Err(VerifyError::Mismatch(Box::new(Mismatch {
            key,
            config,
            seed,
            tokens,
            row,
            token,
            expected,
            found,
        })))
    }
}
