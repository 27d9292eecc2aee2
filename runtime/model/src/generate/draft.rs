//! Guessing tokens, so that one pass over the weights can draw several (speculative decoding).
//!
//! A guess is processed together with the token before it. Then tokens are drawn from the logits as always, and as long as
//! they are those that were guessed, the logits after them are there already. So the answer is the same whatever is
//! guessed, to the bit and for every way of sampling: the logits of a token do not depend on what is processed with it, and
//! a token is drawn once.

use std::fmt::Debug;
use std::sync::Arc;

use crate::session::Session;
use crate::{ErrorKind, Model, ModelError};

/// Something that guesses how a text goes on.
pub trait Drafter: Debug + Send {
    /// At most `most` tokens that may follow `tokens`; more are ignored, none is fine.
    fn propose(&mut self, tokens: &[u32], most: usize) -> Result<Vec<u32>, ModelError>;
}

/// Guesses that what followed the last few tokens when they came before follows again (prompt lookup decoding).
#[derive(Debug, Clone)]
pub struct LookupDrafter {
    /// The longest run of tokens that is looked for first.
    pub longest: usize,
    /// The shortest run that is worth a guess.
    pub shortest: usize,
}

impl Default for LookupDrafter {
    /// Runs of four tokens to two.
    fn default() -> Self {
        Self { longest: 4, shortest: 2 }
    }
}

impl Drafter for LookupDrafter {
    fn propose(&mut self, tokens: &[u32], most: usize) -> Result<Vec<u32>, ModelError> {
        for length in (self.shortest.max(1)..=self.longest).rev() {
            let Some(start) = tokens.len().checked_sub(length + 1) else { continue };
            let run = &tokens[start + 1..];
            // The latest place before the end.
            if let Some(at) = tokens[..tokens.len() - 1].windows(length).rposition(|window| window == run) {
                let next = at + length;
                return Ok(tokens[next..tokens.len().min(next + most)].to_vec());
            }
        }
        Ok(Vec::new())
    }
}

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
    fn propose(&mut self, tokens: &[u32], most: usize) -> Result<Vec<u32>, ModelError> {
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

/// The token with the largest logit; of equal ones the first.
fn likeliest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.map_or(0, |(token, _)| token as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_came_before_is_continued() {
        let mut drafter = LookupDrafter::default();
        let mut propose = |tokens: &[u32], most| drafter.propose(tokens, most).unwrap();
        assert_eq!(propose(&[1, 2, 3, 4, 9, 1, 2], 3), [3, 4, 9]);
        assert_eq!(propose(&[1, 2, 3, 1, 2, 5, 1, 2], 1), [5], "the latest place");
        assert_eq!(propose(&[7, 1, 2, 8, 3, 1, 2, 9, 7, 1, 2], 2), [8, 3], "the longest run first");
        assert_eq!(propose(&[5, 5, 5, 5], 4), [5], "a run may overlap itself");
        for nothing_came_before in [&[1, 2, 3][..], &[1], &[]] {
            assert!(propose(nothing_came_before, 4).is_empty());
        }
    }
}
