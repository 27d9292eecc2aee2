//! Text out of tokens as they come: bytes of a character that is not yet whole are held back.

use super::Tokenizer;

/// Turns a stream of tokens into text that is always whole characters.
///
/// What all pushes and the finish give together is what [`Tokenizer::decode`] gives for the same tokens, but that a space at
/// the beginning stays: what is generated goes on behind a text.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new() }
    }

    /// The text that `token` completes; empty while a character is unfinished.
    pub fn push(&mut self, token: u32) -> String {
        self.pending.extend_from_slice(self.tokenizer.shown(token));
        complete(&mut self.pending)
    }

    /// What is left when no more tokens come: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

/// Takes all but an unfinished last character from `pending`; what can never become UTF-8 becomes U+FFFD.
fn complete(pending: &mut Vec<u8>) -> String {
    let mut out = String::new();
    loop {
        match std::str::from_utf8(pending) {
            Ok(text) => {
                out.push_str(text);
                pending.clear();
                return out;
            }
            Err(error) => {
                let (valid, _) = pending.split_at(error.valid_up_to());
                out.push_str(&String::from_utf8_lossy(valid));
                let Some(invalid) = error.error_len() else {
                    pending.drain(..error.valid_up_to());
                    return out;
                };
                out.push(char::REPLACEMENT_CHARACTER);
                pending.drain(..error.valid_up_to() + invalid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::complete;

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..40)) {
            let (mut pending, mut out) = (Vec::new(), String::new());
            for piece in &pieces {
                pending.extend_from_slice(piece);
                out.push_str(&complete(&mut pending));
                prop_assert!(pending.len() < 4);
            }
            out.push_str(&String::from_utf8_lossy(&pending));
            prop_assert_eq!(out, String::from_utf8_lossy(&pieces.concat()).into_owned());
        }
    }
}
