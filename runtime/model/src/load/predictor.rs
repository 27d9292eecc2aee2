//! The block that predicts further tokens, behind the others.

use std::sync::Arc;

use super::Loader;
use crate::ModelError;
use crate::config::first_predicting;
use crate::head::Embedding;
use crate::predictor::Predictor;

impl Loader {
    /// The first predictor of the file, if it has one. Embedding and head may be its own or the model's.
    pub(crate) fn predictor(self: &Arc<Self>) -> Result<Option<Predictor>, ModelError> {
        let Some(number) = first_predicting(&self.checkpoint) else { return Ok(None) };
        let name = |part: &str| format!("blk.{number}.nextn.{part}.weight");
        let (hidden, vocab) = (self.config.hidden, self.config.vocab);
        let own = |part: &str| Some(name(part)).filter(|name| self.checkpoint.has(name));
        let embedding = own("embed_tokens").map(|name| Embedding::load(self, &name));
        let head = own("shared_head_head").map(|name| self.projection(&name, [vocab, hidden]));
        Ok(Some(Predictor {
            embedding: embedding.transpose()?,
            token_norm: self.norm(&name("enorm"), hidden)?,
            state_norm: self.norm(&name("hnorm"), hidden)?,
            join: self.projection(&name("eh_proj"), [hidden, 2 * hidden])?,
            block: self.block(number)?,
            norm: self.norm(&name("shared_head_norm"), hidden)?,
            head: head.transpose()?,
        }))
    }
}
