//! SentencePiece's byte pairs: tokens with scores, of which the pair that makes the best scored one is merged first; a space
//! is spelled `▁`, and what no token spells is written in tokens of single bytes.
//!
//! Source: SentencePiece's `bpe_model.cc`; what it does to a text, llama.cpp's `llm_tokenizer_spm` and the converter of
//! transformers, `convert_slow_tokenizer.py`, whose order of merges is taken.

use tokenizers::models::bpe::Vocab;
use tokenizers::normalizers::{Prepend, Replace, Sequence};
use tokenizers::{NormalizerWrapper, Result};

/// How a space is spelled.
pub const SPACE: &str = "\u{2581}";

/// The longest token that may come about by merging, in bytes; SentencePiece's usual limit is 16 characters. It bounds the
/// work on a hostile file.
pub const LONGEST: usize = 256;

/// The byte that a token of a single byte stands for.
pub fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if hex { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// What happens to a text: a space is put before it, if `prefix` says so, and every space is spelled.
pub fn normalizer(prefix: bool) -> Result<NormalizerWrapper> {
    let mut steps = Vec::new();
    if prefix {
        steps.push(Prepend::new(SPACE.to_owned()).into());
    }
    steps.push(Replace::new(" ", SPACE)?.into());
    Ok(Sequence::new(steps).into())
}

/// The merges that scores stand for: every pair of tokens that joins to one of `tokens`, the best score first. `None` if
/// there are more than `most`.
pub fn merges(tokens: &[(&str, f32)], ids: &Vocab, most: usize) -> Option<Vec<(String, String)>> {
    let mut merges: Vec<(f32, &str, &str)> = Vec::new();
    for &(text, score) in tokens {
        let splits = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        merges.extend(
            splits
                .filter(|(left, right)| ids.contains_key(*left) && ids.contains_key(*right))
                .map(|(left, right)| (score, left, right)),
        );
        if merges.len() > most {
            return None;
        }
    }
    let length = |text: &str| text.chars().count();
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| length(b.1).cmp(&length(a.1))));
    Some(merges.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_score_is_merged_first() {
        let tokens = [("a", 0.0), ("b", 0.0), ("ab", -2.0), ("abb", -3.0), ("bb", -1.0)];
        let ids: Vocab = tokens.iter().zip(0..).map(|((text, _), id)| ((*text).to_owned(), id)).collect();
        let merges = merges(&tokens, &ids, 9).unwrap();
        let pairs: Vec<(&str, &str)> = merges.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(pairs, [("b", "b"), ("a", "b"), ("ab", "b"), ("a", "bb")]);
        assert!(super::merges(&tokens, &ids, 3).is_none());
    }

    #[test]
    fn tokens_of_a_byte_are_read() {
        assert_eq!(
            ["<0x0A>", "<0xfF>", "<0xA>", "<0x+A>", "x"].map(byte),
            [Some(10), Some(255), None, None, None]
        );
    }
}
