//! What projections are given when a text goes through the model.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use craftsman_kernelgen::float::FloatOps;
use craftsman_model::container::Checkpoint;
use craftsman_model::{ErrorKind, Input, Layerwise, LoadOptions, ModelError};

use super::factor::Metric;
use super::moments::Moments;
use super::policy::part;

/// Tokens of a window of text.
const WINDOW: usize = 512;

/// Bytes that the whole moments of one block may take; beyond it only their diagonals are kept.
const MOST_BYTES: usize = 4 << 30;

/// An expert that was given fewer tokens is rounded by absmean: its moments would say little.
const FEWEST_ROWS: usize = 16;

/// Tensors that are given what another is given.
const SAME_INPUT: &[(&str, &str)] = &[
    ("attn_k", "attn_q"),
    ("attn_v", "attn_q"),
    ("ffn_up", "ffn_gate"),
    ("ffn_up_exps", "ffn_gate_exps"),
    ("ffn_gate_up_exps", "ffn_gate_exps"),
    ("ffn_up_shexp", "ffn_gate_shexp"),
];

/// The text that a quantisation is fitted to.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    sequences: Vec<Vec<u32>>,
    threads: Option<NonZeroUsize>,
}

impl Calibration {
    /// The first `most` of `tokens`, in windows of 512 that each begin with `begin`, if that is given.
    pub fn windows(tokens: &[u32], begin: Option<u32>, most: usize) -> Self {
        let tokens = &tokens[..tokens.len().min(most)];
        let windows = tokens.chunks(WINDOW - usize::from(begin.is_some()));
        let sequences = windows.map(|window| begin.into_iter().chain(window.iter().copied()).collect());
        Self { sequences: sequences.collect(), threads: None }
    }

    /// Threads to compute with; the physical cores that this process may use by default.
    #[must_use]
    pub fn with_threads(mut self, threads: Option<NonZeroUsize>) -> Self {
        self.threads = threads;
        self
    }

    /// Tokens of all windows.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }
}

/// Walks the model ahead of the tensors that are quantised, and has the moments of the block it went through last.
pub(super) struct Calibrator {
    walk: Layerwise,
    ops: FloatOps,
    /// By the part of the block, and the number of the expert.
    moments: BTreeMap<(String, usize), Moments>,
    /// The metric that was asked for last: neighbours often share it.
    latest: Option<(String, usize, Option<Metric>)>,
}

impl Calibrator {
    pub(super) fn new(checkpoint: &Checkpoint, calibration: &Calibration) -> Result<Self, ModelError> {
        let options = LoadOptions { threads: calibration.threads, ..LoadOptions::default() };
        let walk = Layerwise::new(checkpoint, &options, &calibration.sequences)?;
        let ops = walk.ops();
        Ok(Self { walk, ops, moments: BTreeMap::new(), latest: None })
    }

    /// The metric of what `tensor`, with `k` columns, is given; `None` where nothing, or too little, is known of it.
    pub(super) fn metric(
        &mut self,
        tensor: &str,
        expert: usize,
        k: usize,
    ) -> Result<Option<&Metric>, ModelError> {
        let Some((block, name)) = part(tensor) else { return Ok(None) };
        while self.walk.next_block() <= block {
            if !self.step()? {
                break;
            }
        }
        let source = SAME_INPUT.iter().find(|(same, _)| *same == name).map_or(name, |(_, source)| source);
        let key = format!("{block}.{source}");
        let known =
            self.latest.as_ref().is_some_and(|(latest, number, _)| *latest == key && *number == expert);
        if !known {
            let moments = self.moments.get(&(source.to_owned(), expert));
            let enough = |moments: &&Moments| moments.rows >= FEWEST_ROWS;
            self.latest = Some((key, expert, moments.filter(enough).and_then(Metric::new)));
        }
        let metric = self.latest.as_ref().and_then(|(_, _, metric)| metric.as_ref());
        Ok(metric.filter(|metric| metric.weights.len() == k))
    }

    /// Goes through the next block; what was known of the one before is forgotten.
    fn step(&mut self) -> Result<bool, ModelError> {
        let Self { walk, ops, moments, latest } = self;
        moments.clear();
        *latest = None;
        let (mut bytes, mut failed) = (0, None);
        let stepped = walk.step(|Input { tensor, expert, x, k }| {
            let Some((_, name)) = part(tensor) else { return };
            if SAME_INPUT.iter().any(|(same, _)| *same == name) {
                return;
            }
            let entry = moments.entry((name.to_owned(), expert)).or_insert_with(|| {
                bytes += Moments::bytes(k);
                Moments::new(k, bytes <= MOST_BYTES)
            });
            if let Err(error) = entry.add(*ops, x) {
                failed = Some(error);
            }
        })?;
        let no_memory = |error| {
            let remedy = "calibrate with fewer tokens, or give the process more memory";
            ModelError::new(ErrorKind::Memory, "no memory for what projections are given", remedy)
                .because(error)
        };
        failed.map_or(Ok(stepped), |error| Err(no_memory(error)))
    }
}
