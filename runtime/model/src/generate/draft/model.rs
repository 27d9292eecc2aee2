//! Guesses of a smaller model.

use std::sync::Arc;

use super::{Drafter, Seen, likeliest};
use crate::session::Session;
use crate::{ErrorKind, Model, ModelError};

/// Guesses what a smaller model would say, the likeliest token each time.
#[derive(Debug)]
pub struct ModelDrafter {
    session: Session,
}

impl ModelDrafter {
    /// Guesses by `draft` for `model`, which must have the same vocabulary.
    pub fn new(draft: &Arc<Model>, model: &Model) -> Result<Self, ModelError> {
        let [small, large] = [draft.config().vocab, model.config().vocab];
        if small != large {
            let problem = format!("a draft model of {small} tokens cannot guess for a model of {large}");
            return Err(ModelError::new(ErrorKind::Input, problem, "use a draft model of the same family"));
        }
        Ok(Self { session: draft.session() })
    }
}

impl Drafter for ModelDrafter {
    fn propose(&mut self, seen: &Seen<'_>, most: usize) -> Result<Vec<u32>, ModelError> {
        let tokens = seen.tokens;
        let seen = self.session.rewind(tokens);
        let room = (self.session.model().context() - seen).saturating_sub(tokens.len() - seen);
        let mut drafts = Vec::new();
        let mut feed = tokens[seen..].to_vec();
        // The draft model's context may be shorter than the model's.
        while drafts.len() < most.min(room) {
            let likeliest = likeliest(self.session.prefill(&feed)?);
            drafts.push(likeliest);
            feed = vec![likeliest];
        }
        Ok(drafts)
    }
}
