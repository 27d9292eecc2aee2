//! A block that predicts the token after the next one (multi-token prediction; DeepSeek-V3, arXiv 2412.19437, section 2.2).
//!
//! `state' = norm(block(join [norm(embedding of the next token), norm(state)]))`, and the head makes logits of it. The state
//! is the one that the model's own head reads, normed, as serving engines take it; files do not say. What is predicted is
//! only ever a guess, so a mistake here could cost speed and nothing else.

use craftsman_golden::float::Rotation;

use crate::cache::KvCache;
use crate::head::Embedding;
use crate::layer::{self, Block, Linear, Norm, Place, Product, Quantised, Scratch, Sequence, sized};
use crate::{Model, ModelError};

/// The weights.
#[derive(Debug)]
pub(crate) struct Predictor {
    /// Vectors of the tokens, if not the model's.
    pub(crate) embedding: Option<Embedding>,
    pub(crate) token_norm: Norm,
    pub(crate) state_norm: Norm,
    /// `[hidden, 2 hidden]`: the token's vector, then the state.
    pub(crate) join: Linear,
    pub(crate) block: Block,
    pub(crate) norm: Norm,
    /// The head, if not the model's.
    pub(crate) head: Option<Linear>,
}

/// Buffers of [`Predictor`]; the memory serves again.
#[derive(Debug, Default)]
pub(crate) struct PredictorBuffers {
    /// The last state that [`Predictor::run`] made, `[hidden]`.
    pub(crate) state: Vec<f32>,
    vectors: Vec<f32>,
    halves: [Vec<f32>; 2],
    joined: Vec<f32>,
    x: Vec<f32>,
    logits: Vec<f32>,
    quantised: Quantised,
    scratch: Scratch,
}

impl Predictor {
    /// Bytes of packed weights.
    pub(crate) fn bytes(&self) -> usize {
        let own =
            self.embedding.as_ref().map_or(0, Embedding::bytes) + self.head.as_ref().map_or(0, Linear::bytes);
        own + self.join.bytes() + self.block.bytes()
    }

    /// Runs `tokens` with the states before each, `[tokens, hidden]`, whose rows follow those of `cache`; row 0 of the
    /// cache is position `start`.
    pub(crate) fn run(
        &self,
        model: &Model,
        tokens: &[u32],
        states: &[f32],
        start: usize,
        cache: &mut KvCache,
        buffers: &mut PredictorBuffers,
    ) -> Result<(), ModelError> {
        let PredictorBuffers { state, vectors, halves, joined, x, quantised, scratch, .. } = buffers;
        let (engine, width) = (model.engine(), model.config().hidden);
        let vectors = sized(vectors, states.len());
        let embedding = self.embedding.as_ref().unwrap_or(&model.embedding);
        for (&token, row) in tokens.iter().zip(vectors.chunks_exact_mut(width)) {
            embedding.row(token as usize, row);
        }
        let [low, high] = halves.each_mut().map(|half| sized(half, states.len()));
        self.token_norm.apply(&engine, vectors, low);
        self.state_norm.apply(&engine, states, high);
        let joined = sized(joined, 2 * states.len());
        let sources = low.chunks_exact(width).zip(high.chunks_exact(width));
        for (row, (low, high)) in joined.chunks_exact_mut(2 * width).zip(sources) {
            row[..width].copy_from_slice(low);
            row[width..].copy_from_slice(high);
        }
        let x = sized(x, states.len());
        quantised.fill(joined, tokens.len(), [&self.join])?;
        layer::run(&engine, vec![Product { linear: &self.join, x: joined, input: quantised, out: &mut *x }]);

        let positions = start + cache.len()..start + cache.len() + tokens.len();
        let rotations: Vec<Rotation> = positions.map(|position| model.rope.rotation(position)).collect();
        let mut sequences = [Sequence { cache, rows: 0..tokens.len() }];
        let mut place = Place { layer: 0, rotations: &rotations, sequences: &mut sequences };
        self.block.forward(&engine, x, &mut place, scratch)?;
        let [Sequence { cache, .. }] = sequences;
        cache.advance(tokens.len());
        state.resize(width, 0.0);
        self.norm.apply(&engine, &x[x.len() - width..], state);
        Ok(())
    }

    /// The logits after a state that [`run`](Self::run) made, `[vocab]`.
    pub(crate) fn logits<'b>(
        &self,
        model: &Model,
        state: &[f32],
        buffers: &'b mut PredictorBuffers,
    ) -> Result<&'b [f32], ModelError> {
        let PredictorBuffers { quantised, logits, .. } = buffers;
        let head = self.head.as_ref().unwrap_or(&model.head);
        let logits = sized(logits, head.m());
        quantised.fill(state, 1, [head])?;
        layer::run(
            &model.engine(),
            vec![Product { linear: head, x: state, input: quantised, out: &mut *logits }],
        );
        Ok(logits)
    }
}
