//! A session: one context over a model, fed with tokens, answering with logits.

mod cancel;
mod forward;

use std::sync::Arc;

pub use cancel::CancelToken;
pub(crate) use forward::Buffers;
use forward::Feed;

use crate::cache::{KvCache, KvPool, SharedPrefix};
use crate::{ErrorKind, KvOptions, Model, ModelError};

/// One context over a [`Model`]: the tokens it has seen, and a cache of what the model keeps of them. Sessions share only
/// the model and, where their [`KvPool`] says so, memory of common beginnings, which never shows in a result.
///
/// The cache is just that: what it lacks, because it was [released](Self::release) or cut where a sliding window had
/// gone on, is computed again from the tokens when the session goes on.
#[derive(Debug)]
pub struct Session {
    model: Arc<Model>,
    cache: KvCache,
    tokens: Vec<u32>,
    shared: SharedPrefix,
    logits: Vec<f32>,
    /// The final states, normed, of the last positions that passes went through, `[positions, hidden]`, if they are kept.
    states: Option<Vec<f32>>,
    cancel: Option<CancelToken>,
}

/// One session's part of a [batch](Session::prefill_batch).
#[derive(Debug)]
pub struct BatchEntry<'a> {
    /// The session.
    pub session: &'a mut Session,
    /// The tokens that it goes on with.
    pub tokens: &'a [u32],
    /// How many of the last tokens' logits [`Session::logits`] holds afterwards, if there are as many tokens.
    pub wanted: usize,
}

impl Session {
    pub(crate) fn new(model: Arc<Model>, cache: KvCache) -> Self {
        let (tokens, logits) = (Vec::new(), Vec::new());
        Self { model, cache, tokens, shared: SharedPrefix::default(), logits, states: None, cancel: None }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tokens the session has seen: the position of the next one.
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens the session has seen.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Positions that are still free.
    pub fn remaining(&self) -> usize {
        self.cache.limit() - self.tokens.len()
    }

    /// The key/value cache.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// The logits after the last token of the last [`prefill`](Self::prefill) or [`decode`](Self::decode), `[vocab]`; after
    /// a [batch](Self::prefill_batch) those that it wanted, `[wanted, vocab]`; empty before.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Forgets everything from position `length` on; `0` empties the session.
    pub fn truncate(&mut self, length: usize) {
        let width = self.model.config().hidden;
        if let Some(states) = &mut self.states {
            let cut = self.tokens.len().saturating_sub(length) * width;
            states.truncate(states.len().saturating_sub(cut));
        }
        self.tokens.truncate(length);
        self.cache.truncate(length);
        if self.shared.pages * crate::cache::PAGE > self.tokens.len() {
            self.shared = SharedPrefix::default();
        }
    }

    /// Keeps the final states of all positions from now on.
    pub(crate) fn keep_states(&mut self) {
        self.states.get_or_insert_default();
    }

    /// Takes the states that were kept since the last time and are still of positions the session has seen.
    pub(crate) fn take_states(&mut self) -> Vec<f32> {
        self.states.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Gives the cache's memory back. Nothing is lost: it is computed again when the session goes on.
    pub fn release(&mut self) {
        self.cache.truncate(0);
        self.shared = SharedPrefix::default();
    }

    /// Prepares the session for a conversation that begins with `tokens`: keeps as much as it has seen of it, but for the
    /// last token, and forgets the rest. Answers how many tokens were kept; feed it those that follow.
    pub fn rewind(&mut self, tokens: &[u32]) -> usize {
        let most = tokens.len().saturating_sub(1);
        let same = self.tokens.iter().zip(&tokens[..most]).take_while(|(a, b)| a == b).count();
        self.truncate(same);
        same
    }

    /// From now on forward passes end with an error of kind [`ErrorKind::Cancelled`] once `token` is cancelled, between
    /// two layers; `None` takes it back.
    pub fn cancel_with(&mut self, token: Option<CancelToken>) {
        self.cancel = token;
    }

    /// A new session that has seen the same tokens; it shares the memory until either goes on.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            model: Arc::clone(&self.model),
            cache: self.cache.fork(),
            tokens: self.tokens.clone(),
            shared: self.shared,
            logits: self.logits.clone(),
            states: None,
            cancel: None,
        }
    }

    /// Appends `tokens` and answers the logits after the last one, `[vocab]`.
    ///
    /// All tokens are processed together; the result has the same bits as one [`decode`](Self::decode) each. After an
    /// error the session is as it was before.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<&[f32], ModelError> {
        Self::prefill_batch(&mut [BatchEntry { session: self, tokens, wanted: 1 }])?;
        Ok(&self.logits)
    }

    /// Appends one token and answers the logits after it, `[vocab]`.
    pub fn decode(&mut self, token: u32) -> Result<&[f32], ModelError> {
        self.prefill(&[token])
    }

    /// Appends tokens to several sessions of one model in one pass over its weights, which makes it much faster than one
    /// session after the other. Each session's logits have the same bits as they would have alone.
    ///
    /// After an error all sessions are as they were before.
    pub fn prefill_batch(batch: &mut [BatchEntry<'_>]) -> Result<(), ModelError> {
        let Some(first) = batch.first() else { return Ok(()) };
        let model = Arc::clone(&first.session.model);
        let vocab = model.config().vocab;
        let mut logits: Vec<Vec<f32>> = Vec::with_capacity(batch.len());
        let mut feeds = Vec::with_capacity(batch.len());
        for BatchEntry { session, tokens, wanted } in batch {
            if !Arc::ptr_eq(&session.model, &model) {
                let problem = "the sessions of a batch belong to different models";
                return Err(ModelError::new(ErrorKind::Input, problem, "run a batch for each model"));
            }
            let mut row = std::mem::take(&mut session.logits);
            row.clear();
            logits.push(row);
            let wanted = (*wanted).min(tokens.len());
            feeds.push(Feed { session, tokens, wanted });
        }
        let outcome = forward::run(&model, &mut feeds, &mut |feed, _, row| {
            debug_assert_eq!(row.len(), vocab);
            logits[feed].extend_from_slice(row);
        });
        for (feed, logits) in feeds.into_iter().zip(logits) {
            feed.session.logits = logits;
        }
        outcome
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
        let model = Arc::clone(&self.model);
        let feed = Feed { session: self, tokens, wanted: tokens.len() };
        forward::run(&model, &mut [feed], &mut |_, token, logits| visit(token, logits))
    }
}

impl Model {
    /// A new session: an empty context over these weights, with memory of its own.
    pub fn session(self: &Arc<Self>) -> Session {
        KvPool::new(self, KvOptions::default()).session()
    }
}
