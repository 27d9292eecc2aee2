//! Grouped-query attention with rotary positions.

use craftsman_golden::float::{RopePairing, Rotation};

use super::attention::Attention;
use super::{Mixer, MixerScratch, Place};
use crate::ModelError;
use crate::cache::Kept;
use crate::layer::linear::{self, Linear, Product, Quantised};
use crate::layer::{Engine, Norm, Projection, sized};

/// `o(norm(softmax(rope(norm(q)) rope(norm(k))^T / sqrt(d)) v))`; each norm only where the architecture has it.
#[derive(Debug)]
pub(crate) struct Grouped {
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
    /// How positions turn queries and keys, if they do.
    pub(crate) rope: Option<RopePairing>,
    /// Positions that a token sees, its own among them, if not all.
    pub(crate) window: Option<usize>,
}

/// Buffers of [`Grouped`].
#[derive(Debug, Default)]
pub(super) struct GroupedScratch {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mixed: Vec<f32>,
    spare: Vec<f32>,
    quantised: Quantised,
}

impl Mixer for Grouped {
    fn bytes(&self) -> usize {
        self.projections().iter().map(|projection| projection.linear.bytes()).sum()
    }

    fn projections(&self) -> Vec<Projection<'_>> {
        let all = [("attn_q", &self.q), ("attn_k", &self.k), ("attn_v", &self.v), ("attn_output", &self.o)];
        all.map(|(part, linear)| Projection::new(part, linear)).into()
    }

    fn adds(&self) -> bool {
        self.o.adds()
    }

    /// The keys of each head, then the values of each head.
    fn keeps(&self) -> Kept {
        Kept { streams: vec![self.head_dim; 2 * self.kv_heads], reach: self.window, rounds: true }
    }

    fn forward(
        &self,
        engine: &Engine<'_>,
        x: &[f32],
        place: &mut Place<'_, '_>,
        out: &mut [f32],
        scratch: &mut MixerScratch,
    ) -> Result<(), ModelError> {
        let tokens = place.rotations.len();
        let (query, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let GroupedScratch { q, k, v, mixed, spare, quantised } = &mut scratch.grouped;
        let (q, k, v) = (sized(q, tokens * query), sized(k, tokens * kv), sized(v, tokens * kv));
        let mixed = sized(mixed, tokens * query);

        quantised.fill(x, tokens, [&self.q, &self.k, &self.v])?;
        let product = |linear, out| Product { linear, x, input: &*quantised, out };
        let products = vec![product(&self.q, &mut *q), product(&self.k, &mut *k), product(&self.v, &mut *v)];
        linear::run(engine, products);

        self.turn(engine, place.rotations, self.q_norm.as_ref(), q, spare);
        self.turn(engine, place.rotations, self.k_norm.as_ref(), k, spare);
        place.append(0..self.kv_heads, k);
        place.append(self.kv_heads..2 * self.kv_heads, v);
        let attention = Attention {
            queries: q,
            heads: self.heads,
            group: self.heads / self.kv_heads,
            values: self.kv_heads,
            window: self.window,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
        };
        attention.attend(engine, place, mixed, &mut scratch.attention);

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
}

impl Grouped {
    /// Norms, if there is a norm, and rotates, where positions count, every head of `x`, `[tokens, heads, head_dim]`.
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
        let Some(pairing) = self.rope else { return };
        let width = x.len() / rotations.len();
        engine.threads.rows(x, width, |first, rows| {
            for (row, rotation) in rows.chunks_exact_mut(width).zip(&rotations[first..]) {
                row.chunks_exact_mut(self.head_dim).for_each(|head| rotation.apply(pairing, head));
            }
        });
    }
}
