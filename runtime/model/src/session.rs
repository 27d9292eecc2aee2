//! A session: one context over a model, fed with tokens, answering with logits.

use std::sync::Arc;

use crate::cache::KvCache;
use crate::head::HeadInput;
use crate::layer::{Place, Scratch, sized};
use crate::{ErrorKind, Model, ModelError};

/// Tokens that go through the layers together: bounds the memory of a long prompt, and does not change its result.
const CHUNK: usize = 512;

/// Tokens whose logits are computed together when all are asked for.
const HEAD_CHUNK: usize = 32;

/// Which logits a run of tokens is asked for.
enum Wanted<'a> {
    /// Those after the last token.
    Last(&'a mut Vec<f32>),
    /// Those after every token, handed over one row at a time with the token's number in the run.
    Each(&'a mut (dyn FnMut(usize, &[f32]) + Send)),
}

/// One context over a [`Model`]. It owns its key/value cache and its buffers; sessions share only the model.
#[derive(Debug)]
pub struct Session {
    model: Arc<Model>,
    cache: KvCache,
    logits: Vec<f32>,
    buffers: Buffers,
}

#[derive(Debug, Default)]
struct Buffers {
    x: Vec<f32>,
    logits: Vec<f32>,
    head: HeadInput,
    layers: Scratch,
}

impl Session {
    pub(crate) fn new(model: Arc<Model>) -> Self {
        let cache = KvCache::new(model.blocks.iter().map(|block| block.mixer.streams()), model.context());
        Self { model, cache, logits: Vec::new(), buffers: Buffers::default() }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tokens the session has seen: the position of the next one.
    pub fn position(&self) -> usize {
        self.cache.len()
    }

    /// Positions that are still free.
    pub fn remaining(&self) -> usize {
        self.cache.limit() - self.cache.len()
    }

    /// The key/value cache.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// The logits after the last token of the last [`prefill`](Self::prefill) or [`decode`](Self::decode); empty before.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Forgets everything from position `length` on; `0` empties the session. The buffers stay.
    pub fn truncate(&mut self, length: usize) {
        self.cache.truncate(length);
    }

    /// Appends `tokens` and answers the logits after the last one, `[vocab]`.
    ///
    /// All tokens are processed together; the result has the same bits as one [`decode`](Self::decode) each. After an
    /// error the session is as it was before.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<&[f32], ModelError> {
        let mut logits = std::mem::take(&mut self.logits);
        let outcome = self.forward(tokens, Wanted::Last(&mut logits));
        self.logits = logits;
        outcome.map(|()| self.logits.as_slice())
    }

    /// Appends one token and answers the logits after it, `[vocab]`.
    pub fn decode(&mut self, token: u32) -> Result<&[f32], ModelError> {
        self.prefill(&[token])
    }

    /// Appends `tokens` and answers the logits after every one of them, `[tokens, vocab]`.
    pub fn logits_all(&mut self, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        let mut all = Vec::with_capacity(tokens.len() * self.model.config().vocab);
        self.for_each_logits(tokens, |_, logits| all.extend_from_slice(logits))?;
        Ok(all)
    }

    /// Appends `tokens` and calls `visit` with the number of each and the logits after it, in order.
    pub fn for_each_logits(
        &mut self,
        tokens: &[u32],
        mut visit: impl FnMut(usize, &[f32]) + Send,
    ) -> Result<(), ModelError> {
        self.forward(tokens, Wanted::Each(&mut visit))
    }

    fn forward(&mut self, tokens: &[u32], wanted: Wanted<'_>) -> Result<(), ModelError> {
        self.check(tokens)?;
        self.cache.reserve(tokens.len())?;
        let start = self.cache.len();
        let model = Arc::clone(&self.model);
        let Self { cache, buffers, .. } = self;
        let outcome = model.threads.enter(|| run_chunks(&model, cache, buffers, tokens, wanted));
        if outcome.is_err() {
            self.cache.truncate(start);
        }
        outcome
    }

    fn check(&self, tokens: &[u32]) -> Result<(), ModelError> {
        let vocab = self.model.config().vocab;
        if tokens.is_empty() {
            return Err(ModelError::new(ErrorKind::Input, "there are no tokens", "give at least one token"));
        }
        match tokens.iter().find(|&&token| token as usize >= vocab) {
            Some(token) => {
                let problem = format!("token {token} is beyond the vocabulary of {vocab}");
                Err(ModelError::new(ErrorKind::Input, problem, "use the tokenizer that belongs to the model"))
            }
            None => Ok(()),
        }
    }
}

fn run_chunks(
    model: &Model,
    cache: &mut KvCache,
    buffers: &mut Buffers,
    tokens: &[u32],
    mut wanted: Wanted<'_>,
) -> Result<(), ModelError> {
    let width = model.config().hidden;
    for (number, chunk) in tokens.chunks(CHUNK).enumerate() {
        let x = sized(&mut buffers.x, chunk.len() * width);
        run_blocks(model, cache, &mut buffers.layers, chunk, x)?;
        let first = number * CHUNK;
        match &mut wanted {
            Wanted::Last(logits) if first + chunk.len() == tokens.len() => {
                logits.resize(model.config().vocab, 0.0);
                buffers.head.run(model, &x[(chunk.len() - 1) * width..], logits)?;
            }
            Wanted::Last(_) => {}
            Wanted::Each(visit) => {
                for (part, x) in x.chunks(HEAD_CHUNK * width).enumerate() {
                    let logits = sized(&mut buffers.logits, x.len() / width * model.config().vocab);
                    buffers.head.run(model, x, logits)?;
                    let rows = logits.chunks_exact(model.config().vocab).enumerate();
                    rows.for_each(|(row, logits)| visit(first + part * HEAD_CHUNK + row, logits));
                }
            }
        }
    }
    Ok(())
}

/// Embeds `tokens` into `x`, `[tokens, hidden]`, and takes them through all blocks.
fn run_blocks(
    model: &Model,
    cache: &mut KvCache,
    scratch: &mut Scratch,
    tokens: &[u32],
    x: &mut [f32],
) -> Result<(), ModelError> {
    for (&token, row) in tokens.iter().zip(x.chunks_exact_mut(model.config().hidden)) {
        model.embedding.row(token as usize, row);
    }
    let start = cache.len();
    let rotations: Vec<_> =
        (start..start + tokens.len()).map(|position| model.rope.rotation(position)).collect();
    for (layer, block) in model.blocks.iter().enumerate() {
        let mut place = Place { layer, rotations: &rotations, cache };
        block.forward(&model.engine(), x, &mut place, scratch)?;
    }
    cache.advance(tokens.len());
    Ok(())
}
