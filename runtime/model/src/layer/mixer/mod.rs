//! How a layer lets positions see each other: one file a kind.

mod attention;
mod convolution;
mod grouped;
mod latent;

use std::fmt::Debug;
use std::ops::Range;

use craftsman_golden::float::Rotation;

pub(crate) use convolution::Convolution;
pub(crate) use grouped::Grouped;
pub(crate) use latent::{Latent, Queries};

use super::{Engine, Projection};
use crate::ModelError;
use crate::cache::{Kept, KvCache};

/// The part of a layer that mixes positions.
pub(crate) trait Mixer: Debug + Send + Sync {
    /// Bytes of packed weights.
    fn bytes(&self) -> usize;

    /// Its projections.
    fn projections(&self) -> Vec<Projection<'_>>;

    /// Whether its last product adds to what the output holds.
    fn adds(&self) -> bool;

    /// What it keeps of every position in the cache.
    fn keeps(&self) -> Kept;

    /// Appends what it keeps of `x`, `[tokens, hidden]`, to the caches, and writes its answer to `out`,
    /// `[tokens, hidden]`.
    fn forward(
        &self,
        engine: &Engine<'_>,
        x: &[f32],
        place: &mut Place<'_, '_>,
        out: &mut [f32],
        scratch: &mut MixerScratch,
    ) -> Result<(), ModelError>;
}

/// Where the tokens stand that are being processed.
pub(crate) struct Place<'a, 'c> {
    /// The layer's number.
    pub(crate) layer: usize,
    /// One rotation a token.
    pub(crate) rotations: &'a [Rotation],
    /// Which tokens belong together, in the order of the tokens.
    pub(crate) sequences: &'a mut [Sequence<'c>],
}

/// Tokens of one session, which follow what its cache holds.
pub(crate) struct Sequence<'c> {
    pub(crate) cache: &'c mut KvCache,
    /// Their numbers among all tokens.
    pub(crate) rows: Range<usize>,
}

impl Place<'_, '_> {
    /// Appends what the layer keeps of all tokens to the caches of their sessions: `x` is `[tokens, sum of widths]`.
    fn append(&mut self, streams: Range<usize>, x: &[f32]) {
        let width = x.len() / self.rotations.len();
        for Sequence { cache, rows } in &mut *self.sequences {
            let x = &x[rows.start * width..rows.end * width];
            cache.append(self.layer, streams.clone(), x, rows.len());
        }
    }

    /// The cache of a token's session, and the positions up to the token's own.
    fn seen(&self, token: usize) -> (&KvCache, usize) {
        let index = self.sequences.partition_point(|sequence| sequence.rows.end <= token);
        let Sequence { cache, rows } = &self.sequences[index];
        (cache, cache.len() + token - rows.start + 1)
    }
}

/// Buffers of the kinds of mixers, reused from layer to layer.
#[derive(Debug, Default)]
pub(crate) struct MixerScratch {
    grouped: grouped::GroupedScratch,
    latent: latent::LatentScratch,
    convolution: convolution::ConvolutionScratch,
    attention: Vec<attention::AttentionScratch>,
}
