//! Guesses of the blocks that a model brings for predicting further tokens (multi-token prediction).

use std::sync::Arc;

use super::{Drafter, Seen, likeliest};
use crate::cache::{KvCache, Pool};
use crate::predictor::{Predictor, PredictorBuffers};
use crate::{ErrorKind, KvOptions, Model, ModelError};

/// Positions that go through the predictor together.
const CHUNK: usize = 512;

/// Guesses by the model's own predictor, which reads the final state of a position and the token after it, and says which
/// token may come then. To guess further it goes on from its own state.
#[derive(Debug)]
pub struct MtpDrafter {
    model: Arc<Model>,
    predictor: Arc<Predictor>,
    cache: KvCache,
    /// The position of the cache's first row: the states of those before were never seen.
    start: usize,
    /// Rows of the cache that come of states of the model, not of guesses.
    known: usize,
    buffers: PredictorBuffers,
}

impl MtpDrafter {
    /// Guesses for `model`, if it was loaded with a predictor ([`LoadOptions::predictor`](crate::LoadOptions::predictor)).
    pub fn new(model: &Arc<Model>) -> Result<Self, ModelError> {
        let Some(predictor) = &model.predictor else {
            let problem = "the model was loaded without a predictor of further tokens (MTP)";
            let remedy = "use a file that has one, load it, or guess in another way";
            return Err(ModelError::new(ErrorKind::Missing, problem, remedy));
        };
        let pool = Pool::new(&[predictor.block.mixer.keeps()], model.context(), KvOptions::default());
        Ok(Self {
            model: Arc::clone(model),
            predictor: Arc::clone(predictor),
            cache: KvCache::new(Arc::new(pool)),
            start: 0,
            known: 0,
            buffers: PredictorBuffers::default(),
        })
    }

    /// Runs the predictor on `tokens` with the states before each, and answers its last state.
    fn run(&mut self, tokens: &[u32], states: &[f32]) -> Result<Vec<f32>, ModelError> {
        let width = self.model.config().hidden;
        let Self { model, predictor, cache, start, buffers, .. } = self;
        for (tokens, states) in tokens.chunks(CHUNK).zip(states.chunks(CHUNK * width)) {
            cache.reserve(tokens.len())?;
            model.threads.enter(|| predictor.run(model, tokens, states, *start, cache, buffers))?;
        }
        Ok(buffers.state.clone())
    }
}

impl Drafter for MtpDrafter {
    fn propose(&mut self, seen: &Seen<'_>, most: usize) -> Result<Vec<u32>, ModelError> {
        let width = self.model.config().hidden;
        let positions = seen.tokens.len().saturating_sub(1);
        let first = positions - seen.states.len() / width;
        if first == positions {
            return Ok(Vec::new());
        }
        // Where states are missing in between, or a session was taken back, it begins anew.
        self.known = first.checked_sub(self.start).filter(|&known| known <= self.known).unwrap_or(0);
        if self.known == 0 {
            self.start = first;
        }
        self.cache.truncate(self.known);
        let mut state = self.run(&seen.tokens[first + 1..], seen.states)?;
        self.known = self.cache.len();
        let mut drafts = Vec::with_capacity(most);
        loop {
            drafts.push(likeliest(self.predictor.logits(&self.model, &state, &mut self.buffers)?));
            if drafts.len() == most || self.cache.len() == self.cache.limit() {
                return Ok(drafts);
            }
            state = self.run(&[drafts[drafts.len() - 1]], &state)?;
        }
    }

    fn wants_states(&self) -> bool {
        true
    }
}
