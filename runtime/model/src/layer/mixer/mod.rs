//! How a layer lets positions see each other: one file a kind.

mod convolution;
mod grouped;
mod latent;

use std::fmt::Debug;

use craftsman_golden::float::Rotation;

pub(crate) use convolution::Convolution;
pub(crate) use grouped::Grouped;
pub(crate) use latent::{Latent, Queries};

use super::Engine;
use crate::ModelError;
use crate::cache::KvCache;

/// The part of a layer that mixes positions.
pub(crate) trait Mixer: Debug + Send + Sync {
    /// Bytes of packed weights.
    fn bytes(&self) -> usize;

    /// Whether its last product adds to what the output holds.
    fn adds(&self) -> bool;

    /// The widths of the streams that it keeps in the cache.
    fn streams(&self) -> Vec<usize>;

    /// Appends what it keeps of `x`, `[tokens, hidden]`, to the cache, and writes its answer to `out`,
    /// `[tokens, hidden]`.
    fn forward(
        &self,
        engine: &Engine<'_>,
        x: &[f32],
        place: &mut Place<'_>,
        out: &mut [f32],
        scratch: &mut MixerScratch,
    ) -> Result<(), ModelError>;
}

/// Where the tokens stand that are being processed.
pub(crate) struct Place<'a> {
    /// The layer's number.
    pub(crate) layer: usize,
    /// One rotation a token.
    pub(crate) rotations: &'a [Rotation],
    pub(crate) cache: &'a mut KvCache,
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

/// How many shares the heads of all tokens are divided into: later tokens see more keys, so there are more shares than
/// threads where there are tokens enough.
fn share_count(threads: usize, tokens: usize, heads: usize) -> usize {
    let wanted = if threads > 1 && tokens > 1 { threads * 8 } else { threads };
    wanted.clamp(1, heads.max(1))
}
