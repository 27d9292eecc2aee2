//! Guessing tokens, so that one pass over the weights can draw several (speculative decoding).
//!
//! A guess is processed together with the token before it. Then tokens are drawn from the logits as always, and as long as
//! they are those that were guessed, the logits after them are there already. So the answer is the same whatever is
//! guessed, to the bit and for every way of sampling: the logits of a token do not depend on what is processed with it, and
//! a token is drawn once.

mod lookup;
mod model;
mod mtp;

use std::fmt::Debug;

use crate::ModelError;
pub use lookup::LookupDrafter;
pub use model::ModelDrafter;
pub use mtp::MtpDrafter;

/// Something that guesses how a text goes on.
pub trait Drafter: Debug + Send {
    /// At most `most` tokens that may follow what was seen; more are ignored, none is fine.
    fn propose(&mut self, seen: &Seen<'_>, most: usize) -> Result<Vec<u32>, ModelError>;

    /// Whether [`Seen::states`] are to be kept for it.
    fn wants_states(&self) -> bool {
        false
    }
}

impl<D: Drafter + ?Sized> Drafter for Box<D> {
    fn propose(&mut self, seen: &Seen<'_>, most: usize) -> Result<Vec<u32>, ModelError> {
        (**self).propose(seen, most)
    }

    fn wants_states(&self) -> bool {
        (**self).wants_states()
    }
}

/// What a guess can go by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'a> {
    /// All tokens so far; the session has not seen the last one yet.
    pub tokens: &'a [u32],
    /// The final states, normed, of the last positions that the session has seen, `[positions, hidden]`: those that are new
    /// since the last guess. Empty unless [`Drafter::wants_states`].
    pub states: &'a [f32],
}

/// The token with the largest logit; of equal ones the first.
fn likeliest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.map_or(0, |(token, _)| token as u32)
}
