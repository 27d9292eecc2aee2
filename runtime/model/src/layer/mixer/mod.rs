//! How a layer lets positions see each other: one file a kind.

mod convolution;
mod grouped;
mod latent;

use std::fmt::Debug;
use std::ops::Range;

use craftsman_golden::float::Rotation;
use craftsman_kernelgen::float::{FloatOps, Rows};

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
    scores: Vec<Vec<f32>>,
}

/// A stretch of the output `[tokens, heads]`, counted in heads, with room for the scores of one of them at a time.
struct Share<'a> {
    first: usize,
    out: &'a mut [f32],
    scores: &'a mut Vec<f32>,
}

/// Runs `attend(head, token, scores, out)` for every head of every token; `out` is `[tokens, heads, width]`.
fn each_head(
    engine: &Engine<'_>,
    heads: usize,
    width: usize,
    out: &mut [f32],
    scores: &mut Vec<Vec<f32>>,
    attend: impl Fn(usize, usize, &mut Vec<f32>, &mut [f32]) + Sync + Send,
) {
    let count = out.len() / width;
    let parts = share_count(engine.threads.count(), count / heads, count);
    let stretch = count.div_ceil(parts);
    scores.resize_with(scores.len().max(parts), Vec::new);
    let stretches = out.chunks_mut(stretch * width).zip(scores).enumerate();
    let shares =
        stretches.map(|(index, (out, scores))| Share { first: index * stretch, out, scores }).collect();
    // Heads outside and tokens inside, so that the rows of a head stay in a near cache.
    engine.threads.run(shares, |share: Share<'_>| {
        let end = share.first + share.out.len() / width;
        for head in 0..heads {
            let first = share.first + (head + heads - share.first % heads) % heads;
            for index in (first..end).step_by(heads) {
                let out = &mut share.out[(index - share.first) * width..][..width];
                attend(head, index / heads, share.scores, out);
            }
        }
    });
}

/// Attention of one query over rows that come in stretches: scores, their softmax, and the mixture of the values.
fn attend<'r>(
    ops: FloatOps,
    q: &[f32],
    [keys, values]: [impl Iterator<Item = Rows<'r>>; 2],
    scale: f32,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    scores.clear();
    keys.for_each(|rows| ops.score(q, rows, scale, scores));
    ops.softmax(scores);
    out.fill(0.0);
    let mut weights = &scores[..];
    for rows in values {
        let (now, later) = weights.split_at(rows.len);
        ops.mix(now, rows, out);
        weights = later;
    }
}

/// How many shares the heads of all tokens are divided into: later tokens see more keys, so there are more shares than
/// threads where there are tokens enough.
fn share_count(threads: usize, tokens: usize, heads: usize) -> usize {
    let wanted = if threads > 1 && tokens > 1 { threads * 8 } else { threads };
    wanted.clamp(1, heads.max(1))
}
