//! The bytes that each token stands for.

use super::sentencepiece;

/// The bytes of every token in one buffer, and which tokens are control tokens.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    bytes: Vec<u8>,
    /// Where the piece of each token ends; it starts where the one before ends.
    ends: Vec<usize>,
    control: Vec<bool>,
}

/// What a token's text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Each character stands for one byte, as GPT-2 spells them.
    Bytes,
    /// The text itself, with `▁` for spaces, as SentencePiece spells them.
    Spaced,
    /// One byte, whose number is in the text: `<0x0A>`.
    Byte,
    /// The text itself.
    Literal,
    /// The text itself, which is shown only when control tokens are asked for.
    Control,
}

/// The byte that a character stands for in GPT-2's spelling: printable Latin-1 characters are themselves, the other 68
/// bytes are the characters from U+0100 on, in ascending order.
pub fn spelled_byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

impl Pieces {
    /// Appends the next token.
    pub fn push(&mut self, text: &str, spelling: Spelling) {
        match (spelling, sentencepiece::byte(text)) {
            (Spelling::Bytes, _) => self.push_spelled(text),
            (Spelling::Spaced, _) => {
                self.bytes.extend_from_slice(text.replace(sentencepiece::SPACE, " ").as_bytes());
            }
            (Spelling::Byte, Some(byte)) => self.bytes.push(byte),
            _ => self.bytes.extend_from_slice(text.as_bytes()),
        }
        self.ends.push(self.bytes.len());
        self.control.push(spelling == Spelling::Control);
    }

    /// The bytes that characters stand for. A text with a character outside the spelling is no spelling: it means itself.
    fn push_spelled(&mut self, text: &str) {
        let start = self.bytes.len();
        self.bytes.extend(text.chars().map_while(spelled_byte));
        if self.bytes.len() - start != text.chars().count() {
            self.bytes.truncate(start);
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of token `id`.
    pub fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        Some(&self.bytes[start..end])
    }

    /// Whether token `id` is a control token.
    pub fn is_control(&self, id: u32) -> bool {
        self.control.get(id as usize).copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut seen = [0; 256];
        ('\0'..='\u{200}').filter_map(spelled_byte).for_each(|byte| seen[usize::from(byte)] += 1);
        assert_eq!(seen, [1; 256]);
        assert_eq!(spelled_byte('\u{120}'), Some(b' '));
        assert_eq!(spelled_byte('\u{10A}'), Some(b'\n'));
    }

    #[test]
    fn a_text_that_is_no_spelling_means_itself() {
        let mut pieces = Pieces::default();
        pieces.push("\u{120}a", Spelling::Bytes);
        pieces.push("\u{4E2D}", Spelling::Bytes);
        pieces.push("<s>", Spelling::Control);
        assert_eq!(pieces.get(0), Some(&b" a"[..]));
        assert_eq!(pieces.get(1), Some("\u{4E2D}".as_bytes()));
        assert!(pieces.is_control(2) && !pieces.is_control(1) && !pieces.is_control(9));
        assert_eq!(pieces.get(3), None);
        pieces.push("\u{2581}a\u{2581}", Spelling::Spaced);
        pieces.push("<0xE4>", Spelling::Byte);
        assert_eq!([pieces.get(3), pieces.get(4)], [Some(&b" a "[..]), Some(&[0xE4][..])]);
    }
}
