//! Tuning: which kernel is the fastest on this machine, found out by running them, and remembered.
//!
//! ```text
//! Question (key, residence, threads) -> Search over verified kernels -> Answer -> TuningFile
//!                                                     KernelCompiler <- Tuning <- TuningFile
//! ```
//! An answer is a ranking of names. It never makes a wrong kernel run: what it names is emitted and verified like any
//! candidate, and what cannot be had is passed over.

mod answer;
mod bench;
pub(crate) mod choose;
mod file;
mod fingerprint;
mod search;
mod space;

pub use answer::{Answer, Question, Residence, Trial};
pub use file::TuningFile;
pub use search::{Progress, Search, Stopwatch};

use std::collections::HashMap;
use std::time::{Duration, Instant};

use craftsman_isa::HardwareCaps;

use crate::code::EmitError;
use crate::compiler::KernelCompiler;
use crate::config::KernelConfig;
use crate::cost::{self, Environment};
use crate::key::KernelKey;
use crate::roofline::{Roofline, five_digits};
use crate::selector::predicted;
use crate::store::{Store, StoreError};
use bench::Bench;

/// Ways that a finished answer keeps, besides the best of each layout.
const KEPT: usize = 8;
/// Predictions of each backend, family and variant that a search begins with.
const SEEDS: usize = 4;
/// How often a running search is stored, so that a killed one has lost no more than this.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// The answers that hold for this machine.
#[derive(Debug, Clone, Default)]
pub struct Tuning {
    answers: Vec<Answer>,
}

impl Tuning {
    /// These answers.
    pub fn new(answers: Vec<Answer>) -> Self {
        Self { answers }
    }

    /// What is stored for the machine with `caps` in the user's folder. A file that cannot be used is logged and
    /// ignored: tuning makes kernels faster and is never needed.
    pub fn from_env(caps: &HardwareCaps) -> Self {
        let loaded = Store::from_env().and_then(|store| TuningFile::new(&store, caps).load());
        Self::new(loaded.unwrap_or_else(|error| {
            tracing::warn!(name: "TuningIgnored", %error);
            Vec::new()
        }))
    }

    /// The answers.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// The answer for `key` there, with as many threads as asked or, failing that, the nearest number of them.
    pub fn answer(&self, key: &KernelKey, residence: Residence, threads: usize) -> Option<&Answer> {
        let fits = |answer: &&Answer| answer.question.key == *key && answer.question.residence == residence;
        let distance = |answer: &&Answer| answer.question.threads.abs_diff(threads);
        self.answers.iter().filter(fits).min_by_key(distance)
    }
}

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The answers cannot be read or kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No kernel can be had, or there is no memory.
    #[error("{question} cannot be tuned: {reason}")]
    Kernel {
        /// What was asked.
        question: Question,
        /// Why not.
        reason: String,
    },
}

/// Answers questions about one machine, and keeps the answers in a file.
#[derive(Debug)]
pub struct Tuner<'t> {
    compiler: KernelCompiler,
    file: &'t TuningFile,
    roofline: Option<Roofline>,
}

impl<'t> Tuner<'t> {
    /// A tuner of kernels for `caps` that keeps its answers in `file`, and says what share of `roofline` they reach.
    pub fn new(caps: HardwareCaps, file: &'t TuningFile, roofline: Option<Roofline>) -> Self {
        Self { compiler: KernelCompiler::new(caps), file, roofline }
    }

    /// Searches until the answer is stable or `budget` is over, going on from what the file knows. The state of the
    /// search is stored every few seconds, and its answer at the end. The ranking of an answer that was found now is
    /// whole; the file keeps the best of it.
    ///
    /// # Errors
    /// When no kernel can be had for the question, or the file cannot be used.
    pub fn answer(
        &self,
        question: Question,
        budget: Duration,
        observe: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Answer, TuneError> {
        let known = self.file.load()?;
        let before = known.iter().find(|known| known.question == question);
        let fail = |reason: String| TuneError::Kernel { question, reason };
        let candidates = self.seeds(&question);
        let heuristic = *candidates.first().ok_or_else(|| fail("there are no candidates".to_owned()))?;
        let mut search = Search::new(question, heuristic, before);
        if let (true, Some(before)) = (search.finished(), before) {
            return Ok(before.clone());
        }
        let mut bench =
            Bench::new(&self.compiler, question).map_err(|error: EmitError| fail(error.to_string()))?;
        let mut stored = Ok(());
        let mut last = Instant::now();
        let mut keep = |progress: &Progress<'_>| {
            observe(progress);
            if last.elapsed() >= SAVE_EVERY && stored.is_ok() {
                stored = self.file.merge(&[progress.search.answer()]);
                last = Instant::now();
            }
        };
        search.run(&candidates, &mut bench, budget, &mut keep).map_err(fail)?;
        stored?;
        let mut answer = search.answer();
        answer.share = self.share(&answer, &bench);
        let mut kept = answer.clone();
        if answer.finished {
            choose::condense(&mut kept, KEPT);
        }
        self.file.merge(&[kept])?;
        Ok(answer)
    }

    /// Where a search begins: the heuristic choice, then the few best predictions of each way to compute, so that none is
    /// left out because the model thinks little of it. What lies around them the search finds itself.
    fn seeds(&self, question: &Question) -> Vec<KernelConfig> {
        let Question { key, residence, threads } = *question;
        let mut taken = HashMap::new();
        let mut few = |config: &KernelConfig| {
            let count = taken.entry((config.backend, config.family, config.variant)).or_insert(0);
            *count += 1;
            *count <= SEEDS
        };
        let predicted = predicted(self.compiler.caps(), &key, Environment { residence, threads });
        predicted.into_iter().map(|(config, _)| config).filter(|config| few(config)).collect()
    }

    /// What share of its bound the choice reaches.
    fn share(&self, answer: &Answer, bench: &Bench<'_>) -> Option<f64> {
        let Question { key, threads, .. } = answer.question;
        let (bytes, level) = bench.reads(&answer.choice)?;
        let products = key.m as u64 * key.k as u64 * cost::tokens(key.batch) as u64;
        let bound = self.roofline.as_ref()?.bound(level, threads, bytes, products)?;
        let seconds = answer.heuristic_seconds / answer.gain;
        (seconds > 0.0).then(|| five_digits(bound.as_secs_f64() / seconds))
    }
}

#[cfg(test)]
mod tests;
