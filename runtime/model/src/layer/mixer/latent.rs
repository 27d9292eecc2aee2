//! Multi-head latent attention with its projections absorbed (DeepSeek-V2, section 2.1).
//!
//! All heads share one compressed row a position: `c = norm(down(x))`, and beside it one key that positions turn. A
//! head's own keys and values would be `key_up c` and `value_up c`. Because a product is associative they are never
//! made: the query is taken down to the compressed width instead, `q . (key_up c) = (key_up^T q) . c`, and the weighted
//! sum of compressed rows is taken up to a value once. So attention is that of one shared head over the rows of the
//! cache, which are keys and, without the turned part, values at once.

use craftsman_golden::float::RopePairing;

use super::attention::{Attention, AttentionScratch};
use super::{Mixer, MixerScratch, Place};
use crate::ModelError;
use crate::cache::Kept;
use crate::layer::linear::{self, Linear, Product, Quantised};
use crate::layer::{Engine, Norm, Projection, sized};

/// `o(value_up(softmax((key_up^T q . c + rope(q') . rope(k')) scale) c))`.
#[derive(Debug)]
pub(crate) struct Latent {
    pub(crate) queries: Queries,
    /// `[rank + turned, hidden]`: the compressed row, then the key that positions turn.
    pub(crate) down: Linear,
    /// Over the compressed row.
    pub(crate) norm: Norm,
    /// For each head `[rank, straight]`: the transposed key projection.
    pub(crate) key_up: Vec<Linear>,
    /// For each head `[value, rank]`.
    pub(crate) value_up: Vec<Linear>,
    pub(crate) o: Linear,
    /// Dimensions of a query that positions turn; they follow the others.
    pub(crate) turned: usize,
    pub(crate) scale: f32,
    pub(crate) pairing: RopePairing,
}

/// What makes the queries of all heads.
#[derive(Debug)]
pub(crate) enum Queries {
    /// One projection.
    Direct(Linear),
    /// `up(norm(down(x)))`.
    Compressed { down: Linear, norm: Norm, up: Linear },
}

/// Buffers of [`Latent`].
#[derive(Debug, Default)]
pub(super) struct LatentScratch {
    compressed: Vec<f32>,
    normed: Vec<f32>,
    raw: Vec<f32>,
    rows: Vec<f32>,
    q: Vec<f32>,
    straight: Vec<f32>,
    absorbed: Vec<f32>,
    queries: Vec<f32>,
    mixed: Vec<f32>,
    values: Vec<f32>,
    joined: Vec<f32>,
    quantised: Quantised,
    inner: Quantised,
}

impl Mixer for Latent {
    fn bytes(&self) -> usize {
        let heads = self.key_up.iter().chain(&self.value_up).map(Linear::bytes).sum::<usize>();
        heads + self.projections().iter().map(|projection| projection.linear.bytes()).sum::<usize>()
    }

    fn projections(&self) -> Vec<Projection<'_>> {
        let queries = match &self.queries {
            Queries::Direct(q) => vec![("attn_q", q)],
            Queries::Compressed { down, up, .. } => vec![("attn_q_a", down), ("attn_q_b", up)],
        };
        let all = queries.into_iter().chain([("attn_kv_a_mqa", &self.down), ("attn_output", &self.o)]);
        all.map(|(part, linear)| Projection::new(part, linear)).collect()
    }

    fn adds(&self) -> bool {
        self.o.adds()
    }

    /// The compressed row and the turned key.
    fn keeps(&self) -> Kept {
        Kept { streams: vec![self.down.m()], reach: None, rounds: true }
    }

    fn forward(
        &self,
        engine: &Engine<'_>,
        x: &[f32],
        place: &mut Place<'_, '_>,
        out: &mut [f32],
        scratch: &mut MixerScratch,
    ) -> Result<(), ModelError> {
        let MixerScratch { latent: scratch, attention, .. } = scratch;
        self.project(engine, x, place, scratch)?;
        place.append(0..1, &scratch.rows[..place.rotations.len() * self.down.m()]);
        self.absorb(engine, place, scratch);
        self.mix(engine, place, scratch, attention);
        let LatentScratch { joined, quantised, .. } = scratch;
        let joined = &joined[..place.rotations.len() * self.o.k()];
        quantised.fill(joined, place.rotations.len(), [&self.o])?;
        linear::run(engine, vec![Product { linear: &self.o, x: joined, input: quantised, out }]);
        Ok(())
    }
}

impl Latent {
    fn heads(&self) -> usize {
        self.key_up.len()
    }

    fn rank(&self) -> usize {
        self.down.m() - self.turned
    }

    /// Dimensions of a query that positions do not turn.
    fn straight(&self) -> usize {
        self.key_up[0].k()
    }

    /// Fills `rows` with what the cache will keep, `[tokens, rank + turned]`, and `q` with all queries as projected,
    /// `[tokens, heads, straight + turned]`.
    fn project(
        &self,
        engine: &Engine<'_>,
        x: &[f32],
        place: &Place<'_, '_>,
        scratch: &mut LatentScratch,
    ) -> Result<(), ModelError> {
        let LatentScratch { compressed, normed, raw, rows, q, quantised, inner, .. } = scratch;
        let (tokens, width, rank) = (place.rotations.len(), self.down.m(), self.rank());
        let (raw, rows) = (sized(raw, tokens * width), sized(rows, tokens * width));
        let q = sized(q, tokens * self.heads() * (self.straight() + self.turned));
        let (first, first_out) = match &self.queries {
            Queries::Direct(all) => (all, &mut *q),
            Queries::Compressed { down, .. } => (down, sized(compressed, tokens * down.m())),
        };
        quantised.fill(x, tokens, [first, &self.down])?;
        let product = |linear, out| Product { linear, x, input: &*quantised, out };
        linear::run(engine, vec![product(first, first_out), product(&self.down, &mut *raw)]);
        if let Queries::Compressed { norm, up, .. } = &self.queries {
            let normed = sized(normed, tokens * up.k());
            norm.apply(engine, &compressed[..tokens * up.k()], normed);
            inner.fill(normed, tokens, [up])?;
            linear::run(engine, vec![Product { linear: up, x: normed, input: inner, out: q }]);
        }
        engine.threads.rows(rows, width, |first, rows| {
            let sources = raw[first * width..].chunks_exact(width).zip(&place.rotations[first..]);
            for (row, (raw, rotation)) in rows.chunks_exact_mut(width).zip(sources) {
                let (compressed, key) = row.split_at_mut(rank);
                engine.ops.rms_norm(&raw[..rank], &self.norm.weight, self.norm.epsilon, compressed);
                key.copy_from_slice(&raw[rank..]);
                rotation.apply(self.pairing, key);
            }
        });
        Ok(())
    }

    /// Fills `queries`, `[tokens, heads, rank + turned]`: each head's query over the rows of the cache.
    fn absorb(&self, engine: &Engine<'_>, place: &Place<'_, '_>, scratch: &mut LatentScratch) {
        let LatentScratch { q, straight, absorbed, queries, .. } = scratch;
        let (tokens, heads, rank) = (place.rotations.len(), self.heads(), self.rank());
        let (part, whole) = (self.straight(), self.straight() + self.turned);
        let q = |token: usize, head: usize| &q[(token * heads + head) * whole..][..whole];
        let straight = sized(straight, heads * tokens * part);
        engine.threads.rows(straight, part, |first, rows| {
            for (index, row) in (first..).zip(rows.chunks_exact_mut(part)) {
                row.copy_from_slice(&q(index % tokens, index / tokens)[..part]);
            }
        });
        let absorbed = sized(absorbed, heads * tokens * rank);
        per_head(engine, &self.key_up, straight, absorbed);
        let queries = sized(queries, tokens * heads * self.down.m());
        engine.threads.rows(queries, self.down.m(), |first, rows| {
            for (index, row) in (first..).zip(rows.chunks_exact_mut(self.down.m())) {
                let (token, head) = (index / heads, index % heads);
                let (low, turned) = row.split_at_mut(rank);
                low.copy_from_slice(&absorbed[(head * tokens + token) * rank..][..rank]);
                turned.copy_from_slice(&q(token, head)[part..]);
                place.rotations[token].apply(self.pairing, turned);
            }
        });
    }

    /// Fills `joined`, `[tokens, heads, value]`: attention, and each head's values.
    fn mix(
        &self,
        engine: &Engine<'_>,
        place: &Place<'_, '_>,
        scratch: &mut LatentScratch,
        room: &mut Vec<AttentionScratch>,
    ) {
        let LatentScratch { queries, absorbed, mixed, values, joined, .. } = scratch;
        let (tokens, heads, rank, width) = (place.rotations.len(), self.heads(), self.rank(), self.down.m());
        let mixed = sized(mixed, tokens * heads * rank);
        let queries = &queries[..tokens * heads * width];
        let attention =
            Attention { queries, heads, group: heads, values: 0, window: None, scale: self.scale };
        attention.attend(engine, place, mixed, room);
        // Done with the absorbed queries: their memory takes the same numbers with the heads outside.
        let by_head = sized(absorbed, heads * tokens * rank);
        swap(engine, mixed, (tokens, heads), by_head);
        let values = sized(values, tokens * self.o.k());
        per_head(engine, &self.value_up, by_head, values);
        let joined = sized(joined, tokens * self.o.k());
        swap(engine, values, (heads, tokens), joined);
    }
}

/// Each head's product: `x` is `[heads, tokens, k]`, `out` `[heads, tokens, m]`.
fn per_head(engine: &Engine<'_>, linears: &[Linear], x: &[f32], out: &mut [f32]) {
    // Dense by construction: nothing is quantised.
    let input = Quantised::default();
    let (x_len, out_len) = (x.len() / linears.len(), out.len() / linears.len());
    let parts = linears.iter().zip(x.chunks_exact(x_len)).zip(out.chunks_exact_mut(out_len));
    let products = parts.map(|((linear, x), out)| Product { linear, x, input: &input, out });
    linear::run(engine, products.collect());
}

/// Copies `from`, `[outer, inner, width]`, to `to`, `[inner, outer, width]`.
fn swap(engine: &Engine<'_>, from: &[f32], (outer, inner): (usize, usize), to: &mut [f32]) {
    let width = from.len() / (outer * inner);
    engine.threads.rows(to, width, |first, rows| {
        for (index, row) in (first..).zip(rows.chunks_exact_mut(width)) {
            row.copy_from_slice(&from[(index % outer * inner + index / outer) * width..][..width]);
        }
    });
}
