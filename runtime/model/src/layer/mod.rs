//! The transformer block: one code for a single token and for many, so that decode and prefill give the same bits.
//!
//! No sum crosses tokens, and none is divided among threads: a thread owns whole outputs. So neither the number of
//! tokens that are processed together nor the number of threads can show in a result.

mod experts;
mod gated;
mod linear;
mod mixer;
mod pool;

use std::fmt::Debug;

use craftsman_kernelgen::float::FloatOps;

pub(crate) use experts::Experts;
pub(crate) use gated::{Entry, Gated};
pub(crate) use linear::{Linear, Product, Quantised, run};
pub(crate) use mixer::{Convolution, Grouped, Latent, Mixer, Place, Queries, Sequence};
pub(crate) use pool::{ExpertPool, ExpertSource};

use crate::ModelError;
use crate::routing::RoutingRecorder;
use crate::threads::Threads;

/// What every layer computes with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Engine<'a> {
    pub(crate) ops: FloatOps,
    pub(crate) threads: &'a Threads,
    /// What takes down where tokens are routed to.
    pub(crate) recorder: Option<&'a RoutingRecorder>,
    /// What looks at the inputs of projections.
    pub(crate) observer: Option<&'a dyn InputObserver>,
}

/// Looks at the inputs of projections as they are multiplied.
pub(crate) trait InputObserver: Debug + Sync {
    /// `x`, `[n, k]`, is about to be multiplied with `linear`.
    fn see(&self, linear: &Linear, x: &[f32]);
}

/// A projection of a block, by the name that its tensor has within the block.
pub(crate) struct Projection<'a> {
    pub(crate) part: &'static str,
    /// Its number in a stack of experts; 0 of what is no stack.
    pub(crate) expert: usize,
    pub(crate) linear: &'a Linear,
}

impl<'a> Projection<'a> {
    fn new(part: &'static str, linear: &'a Linear) -> Self {
        Self { part, expert: 0, linear }
    }
}

/// An RMS norm.
#[derive(Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Vec<f32>,
    pub(crate) epsilon: f32,
}

/// One block: what mixes positions, then the feed-forward part, each added to the residual stream.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) mixer_norm: Norm,
    pub(crate) mixer: Box<dyn Mixer>,
    pub(crate) ffn_norm: Norm,
    pub(crate) ffn: FeedForward,
}

/// The feed-forward part of a block.
#[derive(Debug)]
pub(crate) enum FeedForward {
    /// The same weights for every token.
    Dense(Box<Gated>),
    /// Each token's experts.
    Experts(Box<Experts>),
}

/// Buffers of a session's forward pass, grown once to the longest run of tokens and reused.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    normed: Vec<f32>,
    added: Vec<f32>,
    mixer: mixer::MixerScratch,
    gated: gated::GatedScratch,
    experts: experts::ExpertScratch,
}

impl Norm {
    /// Norms rows of `x` into `out`.
    pub(crate) fn apply(&self, engine: &Engine<'_>, x: &[f32], out: &mut [f32]) {
        let width = self.weight.len();
        engine.threads.rows(out, width, |first, rows| {
            for (x, out) in x[first * width..].chunks_exact(width).zip(rows.chunks_exact_mut(width)) {
                engine.ops.rms_norm(x, &self.weight, self.epsilon, out);
            }
        });
    }
}

impl Block {
    /// Its projections, as far as they are packed: what quantising could make ternary.
    pub(crate) fn projections(&self) -> Vec<Projection<'_>> {
        let mut all = self.mixer.projections();
        match &self.ffn {
            FeedForward::Dense(gated) => all.extend(gated.projections(["ffn_gate", "ffn_up", "ffn_down"])),
            FeedForward::Experts(experts) => all.extend(experts.projections()),
        }
        all
    }

    /// Its experts, if it has any.
    pub(crate) fn experts(&self) -> Option<&Experts> {
        match &self.ffn {
            FeedForward::Dense(_) => None,
            FeedForward::Experts(experts) => Some(experts),
        }
    }

    /// Bytes of packed weights in memory.
    pub(crate) fn bytes(&self) -> usize {
        let ffn = match &self.ffn {
            FeedForward::Dense(gated) => gated.bytes(),
            FeedForward::Experts(experts) => experts.bytes(),
        };
        self.mixer.bytes() + ffn
    }

    /// Bytes of packed weights that one token reads.
    pub(crate) fn bytes_per_token(&self) -> usize {
        let ffn = match &self.ffn {
            FeedForward::Dense(gated) => gated.bytes(),
            FeedForward::Experts(experts) => experts.bytes_per_token(),
        };
        self.mixer.bytes() + ffn
    }

    /// Adds the block's two parts to `x`, `[tokens, hidden]`.
    pub(crate) fn forward(
        &self,
        engine: &Engine<'_>,
        x: &mut [f32],
        place: &mut Place<'_, '_>,
        scratch: &mut Scratch,
    ) -> Result<(), ModelError> {
        let Scratch { normed, added, mixer, gated, experts } = scratch;
        let (normed, added) = (sized(normed, x.len()), sized(added, x.len()));
        self.mixer_norm.apply(engine, x, normed);
        residual(engine, x, added, self.mixer.adds(), |out| {
            self.mixer.forward(engine, normed, place, out, mixer)
        })?;
        self.ffn_norm.apply(engine, x, normed);
        match &self.ffn {
            FeedForward::Dense(weights) => residual(engine, x, added, weights.down.adds(), |out| {
                let group = gated::Group { gated: weights, input: 0, rows: place.rotations.len() };
                gated::forward(engine, &[group], &[normed], out, gated)
            }),
            FeedForward::Experts(mixture) => residual(engine, x, added, false, |out| {
                mixture.forward(engine, normed, place.layer, out, experts, gated)
            }),
        }
    }
}

/// Adds to `x` what `part` writes: by way of `spare`, unless the part's last kernel `adds` of itself.
fn residual(
    engine: &Engine<'_>,
    x: &mut [f32],
    spare: &mut [f32],
    adds: bool,
    part: impl FnOnce(&mut [f32]) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    if adds {
        return part(x);
    }
    part(spare)?;
    engine.ops.add(x, spare);
    Ok(())
}

/// The first `len` values of `buffer`, which grows when it must. What they hold is left over from before.
pub(crate) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
