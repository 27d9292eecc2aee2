//! Guesses from the text itself.

use super::{Drafter, Seen};
use crate::ModelError;

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
    fn propose(&mut self, seen: &Seen<'_>, most: usize) -> Result<Vec<u32>, ModelError> {
        let tokens = seen.tokens;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_came_before_is_continued() {
        let mut drafter = LookupDrafter::default();
        let mut propose =
            |tokens: &[u32], most| drafter.propose(&Seen { tokens, ..Seen::default() }, most).unwrap();
        assert_eq!(propose(&[1, 2, 3, 4, 9, 1, 2], 3), [3, 4, 9]);
        assert_eq!(propose(&[1, 2, 3, 1, 2, 5, 1, 2], 1), [5], "the latest place");
        assert_eq!(propose(&[7, 1, 2, 8, 3, 1, 2, 9, 7, 1, 2], 2), [8, 3], "the longest run first");
        assert_eq!(propose(&[5, 5, 5, 5], 4), [5], "a run may overlap itself");
        for nothing_came_before in [&[1, 2, 3][..], &[1], &[]] {
            assert!(propose(nothing_came_before, 4).is_empty());
        }
    }
}
