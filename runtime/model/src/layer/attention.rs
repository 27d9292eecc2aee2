//! Grouped-query attention with rotary positions.

use craftsman_golden::float::{RopePairing, Rotation};
use craftsman_kernelgen::float::FloatOps;

use super::linear::{self, Linear, Product, Quantised};
use super::{Engine, Norm, Place, sized};
use crate::ModelError;
use crate::cache::KvCache;

/// `o(norm(softmax(rope(norm(q)) rope(norm(k))^T / sqrt(d)) v))`; each norm only where the architecture has it.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    /// Over each query head, or over all of them: its width says which.
    pub(crate) q_norm: Option<Norm>,
    /// The same for keys.
    pub(crate) k_norm: Option<Norm>,
    /// Over all heads together, before `o`.
    pub(crate) sub_norm: Option<Norm>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) pairing: RopePairing,
}

/// Buffers of [`Attention::forward`].
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mixed: Vec<f32>,
    spare: Vec<f32>,
    quantised: Quantised,
    scores: Vec<Vec<f32>>,
}

/// A stretch of the output `[tokens, heads]`, counted in heads, with room for the scores of one of them at a time.
struct Share<'a> {
    first: usize,
    out: &'a mut [f32],
    scores: &'a mut Vec<f32>,
}

impl Attention {
    /// Bytes of packed weights.
    pub(crate) fn bytes(&self) -> usize {
        [&self.q, &self.k, &self.v, &self.o].into_iter().map(Linear::bytes).sum()
    }

    /// Appends the keys and values of `x`, `[tokens, hidden]`, to the cache, and writes what attention answers to `out`,
    /// `[tokens, hidden]`.
    pub(crate) fn forward(
        &self,
        engine: &Engine<'_>,
        x: &[f32],
        place: &mut Place<'_>,
        out: &mut [f32],
        scratch: &mut AttentionScratch,
    ) -> Result<(), ModelError> {
        let tokens = place.rotations.len();
        let (query, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let AttentionScratch { q, k, v, mixed, spare, quantised, scores } = scratch;
        let (q, k, v) = (sized(q, tokens * query), sized(k, tokens * kv), sized(v, tokens * kv));
        let mixed = sized(mixed, tokens * query);

        quantised.fill(x, tokens, [&self.q, &self.k, &self.v])?;
        let product = |linear, out| Product { linear, x, input: &*quantised, out };
        let products = vec![product(&self.q, &mut *q), product(&self.k, &mut *k), product(&self.v, &mut *v)];
        linear::run(engine, products);

        self.turn(engine, place.rotations, self.q_norm.as_ref(), q, spare);
        self.turn(engine, place.rotations, self.k_norm.as_ref(), k, spare);
        place.cache.append(place.layer, k, v);
        self.mix(engine, q, place.layer, place.cache, mixed, scores);

        let mixed = match &self.sub_norm {
            Some(norm) => {
                norm.apply(engine, mixed, q);
                &*q
            }
            None => &*mixed,
        };
        quantised.fill(mixed, tokens, [&self.o])?;
        linear::run(engine, vec![Product { linear: &self.o, x: mixed, input: quantised, out }]);
        Ok(())
    }

    /// Norms, if there is a norm, and rotates every head of `x`, `[tokens, heads, head_dim]`.
    fn turn(
        &self,
        engine: &Engine<'_>,
        rotations: &[Rotation],
        norm: Option<&Norm>,
        x: &mut [f32],
        spare: &mut Vec<f32>,
    ) {
        if let Some(norm) = norm {
            let spare = sized(spare, x.len());
            norm.apply(engine, x, spare);
            x.copy_from_slice(spare);
        }
        let width = x.len() / rotations.len();
        engine.threads.rows(x, width, |first, rows| {
            for (row, rotation) in rows.chunks_exact_mut(width).zip(&rotations[first..]) {
                row.chunks_exact_mut(self.head_dim).for_each(|head| rotation.apply(self.pairing, head));
            }
        });
    }

    /// Every head of every token over the keys up to its own.
    fn mix(
        &self,
        engine: &Engine<'_>,
        q: &[f32],
        layer: usize,
        cache: &KvCache,
        out: &mut [f32],
        scores: &mut Vec<Vec<f32>>,
    ) {
        let count = out.len() / self.head_dim;
        let parts = share_count(engine.threads.count(), count / self.heads, count);
        let stretch = count.div_ceil(parts);
        scores.resize_with(scores.len().max(parts), Vec::new);
        let stretches = out.chunks_mut(stretch * self.head_dim).zip(scores).enumerate();
        let shares =
            stretches.map(|(index, (out, scores))| Share { first: index * stretch, out, scores }).collect();
        engine.threads.run(shares, |mut share| self.mix_share(engine.ops, q, layer, cache, &mut share));
    }

    /// Walks heads outside and tokens inside, so that the keys of a head stay in a near cache.
    fn mix_share(&self, ops: FloatOps, q: &[f32], layer: usize, cache: &KvCache, share: &mut Share<'_>) {
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        let group = self.heads / self.kv_heads;
        let end = share.first + share.out.len() / self.head_dim;
        for head in 0..self.heads {
            let first = share.first + (head + self.heads - share.first % self.heads) % self.heads;
            for index in (first..end).step_by(self.heads) {
                let (keys, values) = cache.head(layer, head / group, cache.len() + index / self.heads);
                let q = &q[index * self.head_dim..][..self.head_dim];
                let out = &mut share.out[(index - share.first) * self.head_dim..][..self.head_dim];
                ops.attention(q, keys, values, scale, share.scores, out);
            }
        }
    }
}

/// How many shares the heads of all tokens are divided into: later tokens see more keys, so there are more shares than
/// threads where there are tokens enough.
fn share_count(threads: usize, tokens: usize, heads: usize) -> usize {
    let wanted = if threads > 1 && tokens > 1 { threads * 8 } else { threads };
    wanted.clamp(1, heads.max(1))
}
