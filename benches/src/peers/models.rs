//! Whole models in this engine and in llama.cpp, from one file, timed in interleaved rounds.
//!
//! Unlike kernels, engines are timed by the clock on the wall: their threads wait for each other, and that is part of what
//! a user waits for. Each has its own, which sleep while the other is timed. llama.cpp's look for work without sleeping while
//! they run, so on a machine that others keep busy it loses more than this engine does: such ratios flatter.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use craftsman_kernelgen::roofline::Samples;
use craftsman_model::container::Checkpoint;
use craftsman_model::{LoadOptions, Model, ModelError, Session};

use super::llama::{Engine, LlamaError};
use crate::contest::{Contestant, Plan, Times, contest};

/// Tokens after which decoding starts over from an empty context.
const DECODED: usize = 128;
/// Tokens over which both engines' logits are compared.
const COMPARED: usize = 16;

/// Why a model cannot be timed.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// This engine refuses.
    #[error(transparent)]
    Ours(#[from] ModelError),
    /// llama.cpp refuses.
    #[error(transparent)]
    Theirs(#[from] LlamaError),
}

/// One model in both engines.
pub struct Engines {
    ours: Session,
    theirs: Engine,
    tokens: Vec<u32>,
    agreement: f64,
}

/// What was found out about one test.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Tokens a second of this engine.
    pub ours: Samples,
    /// Tokens a second of llama.cpp.
    pub theirs: Samples,
    /// How many times as fast as llama.cpp, within a round.
    pub ratio: Samples,
}

impl Engines {
    /// Loads the file in both, for prompts of `prompt` tokens, and computes some logits with each.
    pub fn load(path: &Path, prompt: usize, threads: NonZeroUsize) -> Result<Self, ModelsError> {
        let options = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
        let model = Model::load(&Checkpoint::open(path)?, &options)?;
        let positions = prompt.max(DECODED);
        let theirs = Engine::load(path, positions as u32, threads.get() as i32)?;
        let vocab = model.config().vocab as u64;
        // Multiplicative hashing: tokens that differ, so that experts are chosen as they would be.
        let token = |at: usize| ((at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % vocab;
        let tokens = (0..positions).map(|at| token(at) as u32).collect();
        let mut engines = Self { ours: model.session(), theirs, tokens, agreement: 0.0 };
        engines.agreement = engines.compare()?;
        Ok(engines)
    }

    /// The correlation of both engines' logits. It is near one: llama.cpp quantises activations by blocks, this engine by
    /// tokens, and random weights carry the difference on.
    pub fn agreement(&self) -> f64 {
        self.agreement
    }

    fn compare(&mut self) -> Result<f64, ModelsError> {
        let tokens = &self.tokens[..COMPARED.min(self.tokens.len())];
        let ours = self.ours.prefill(tokens)?;
        let agreement = correlation(ours, self.theirs.read(tokens)?);
        self.theirs.rest();
        Ok(agreement)
    }

    /// Times tokens one by one from an empty context.
    pub fn decode(&mut self, plan: Plan, step: &mut dyn FnMut(usize, usize)) -> Option<Comparison> {
        let Self { ours, theirs, tokens, .. } = self;
        let tokens = &tokens[..DECODED];
        let ours = Contestant::new("craftsman", 1.0, 0.0, |calls| {
            let from_the_start = one_by_one(tokens, calls);
            ours.truncate(0);
            seconds(|| {
                for token in from_the_start {
                    if ours.position() == DECODED {
                        ours.truncate(0);
                    }
                    black_box(ours.decode(token).expect("a token that was read before"));
                }
            })
        });
        let theirs = Contestant::new("llama.cpp", 1.0, 0.0, |calls| {
            theirs.clear();
            let seconds = seconds(|| {
                for (at, token) in one_by_one(tokens, calls).enumerate() {
                    if at > 0 && at % DECODED == 0 {
                        theirs.clear();
                    }
                    black_box(theirs.read(&[token]).expect("a token that was read before"));
                }
            });
            theirs.rest();
            seconds
        });
        Comparison::of(&contest(&mut [ours, theirs], plan, step))
    }

    /// Times a prompt of `count` tokens into an empty context.
    pub fn prefill(
        &mut self,
        count: usize,
        plan: Plan,
        step: &mut dyn FnMut(usize, usize),
    ) -> Option<Comparison> {
        let Self { ours, theirs, tokens, .. } = self;
        let prompt = &tokens[..count];
        let ours = Contestant::new("craftsman", count as f64, 0.0, |calls| {
            seconds(|| {
                for _ in 0..calls {
                    ours.truncate(0);
                    black_box(ours.prefill(prompt).expect("tokens of the vocabulary"));
                }
            })
        });
        let theirs = Contestant::new("llama.cpp", count as f64, 0.0, |calls| {
            let seconds = seconds(|| {
                for _ in 0..calls {
                    theirs.clear();
                    black_box(theirs.read(prompt).expect("tokens of the vocabulary"));
                }
            });
            theirs.rest();
            seconds
        });
        Comparison::of(&contest(&mut [ours, theirs], plan, step))
    }
}

impl Comparison {
    fn of(times: &[Times]) -> Option<Self> {
        let [ours, theirs] = times else { return None };
        let rates = |times: &Times| {
            let rates = times.seconds.iter().map(|seconds| times.work / seconds);
            Some(Samples::new(rates.collect())?.summary())
        };
        Some(Self { ours: rates(ours)?, theirs: rates(theirs)?, ratio: ours.ratio(theirs)? })
    }
}

/// `calls` tokens, from the first over and over.
fn one_by_one(tokens: &[u32], calls: usize) -> impl Iterator<Item = u32> {
    tokens.iter().copied().cycle().take(calls)
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Pearson's correlation of two vectors of one length.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |x: &[f32]| x.iter().copied().map(f64::from).sum::<f64>() / x.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    ab / (aa * bb).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_is_that_of_pearson() {
        assert!((correlation(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]) - 1.0).abs() < 1e-12);
        assert!((correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        assert!(correlation(&[1.0, -1.0, 1.0, -1.0], &[1.0, 1.0, -1.0, -1.0]).abs() < 1e-12);
    }
}
