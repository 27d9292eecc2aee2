//! Text to token ids and back: byte pairs, of GPT-2's kind or SentencePiece's, out of GGUF metadata or `tokenizer.json`.
//!
//! Control tokens (begin, end, turn marks) in a text are text, unless [`Tokenizer::encode_control`] is asked to read
//! them: what a user types must not be able to end a turn.

mod export;
mod gguf;
mod json;
mod pieces;
mod preparation;
mod sentencepiece;
mod split;
mod stream;

use std::fmt;
use std::path::Path;

use preparation::Preparation;
use tokenizers::{AddedVocabulary, Model as _, OffsetReferential, OffsetType, PreTokenizer as _};

use crate::ModelError;
use crate::container::{Checkpoint, Metadata};
pub(crate) use export::metadata;
pub(crate) use json::companion;
use pieces::Pieces;
pub use stream::TextStream;

/// Encodes text and decodes tokens of one vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Reads control tokens as text.
    literal: AddedVocabulary,
    /// Reads control tokens as tokens.
    control: AddedVocabulary,
    /// What happens to a text, and to one that goes on behind another.
    beginning: Preparation,
    within: Preparation,
    pieces: Pieces,
    ids: SpecialIds,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("tokens", &self.vocab_size())
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

/// The tokens with a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SpecialIds {
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    /// Other tokens at which generation ends.
    ends: Vec<u32>,
    add_bos: bool,
}

/// Tokens that end a turn by their text, for files that do not name theirs.
const TURN_ENDS: &[&str] = &["<|eot_id|>", "<|im_end|>"];

impl Tokenizer {
    /// The tokenizer that belongs to a checkpoint: in its metadata, or in `tokenizer.json` beside it.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        match checkpoint.tokenizer_file() {
            Some(path) => Self::from_file(&path),
            None => Self::from_gguf(checkpoint.metadata()),
        }
    }

    /// The tokenizer in a GGUF file's metadata: byte-level BPE (`tokenizer.ggml.model` = `gpt2`) or SentencePiece's BPE
    /// (`llama`).
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, ModelError> {
        gguf::load(metadata)
    }

    /// The tokenizer in a `tokenizer.json`; `tokenizer_config.json`, `generation_config.json` and `config.json` beside
    /// it, where present, say which tokens begin and end a text.
    pub fn from_file(path: &Path) -> Result<Self, ModelError> {
        json::load(path)
    }

    /// The tokenizer in the text of a `tokenizer.json`, named `name` in errors.
    pub fn from_json(name: &str, text: &[u8]) -> Result<Self, ModelError> {
        json::parse(Path::new(name), text)
    }

    fn new(inner: tokenizers::Tokenizer, pieces: Pieces, mut ids: SpecialIds) -> Self {
        let with = |as_text| {
            let mut added = inner.get_added_vocabulary().clone();
            added.set_encode_special_tokens(as_text);
            added
        };
        let (literal, control) = (with(true), with(false));
        let turn_end = || TURN_ENDS.iter().find_map(|text| inner.token_to_id(text));
        ids.eot = ids.eot.or_else(turn_end);
        let beginning = Preparation::of(&inner);
        let within = beginning.within();
        Self { inner, literal, control, beginning, within, pieces, ids }
    }

    /// The tokens of `text`, after the begin token if `add_bos` is set and the vocabulary has one.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, ModelError> {
        let mut ids = Vec::from_iter(self.ids.bos.filter(|_| add_bos));
        self.append(&mut ids, text, &self.literal, &self.beginning)?;
        Ok(ids)
    }

    /// Like [`Self::encode`], but the names of control tokens in `text` become these tokens.
    pub fn encode_control(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, ModelError> {
        let mut ids = Vec::from_iter(self.ids.bos.filter(|_| add_bos));
        self.append(&mut ids, text, &self.control, &self.beginning)?;
        Ok(ids)
    }

    /// The tokens of a text in pieces that no token reaches across, with control tokens.
    pub(crate) fn encode_pieces<'a>(
        &self,
        pieces: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<u32>, ModelError> {
        let mut ids = Vec::new();
        for piece in pieces {
            let preparation = if ids.is_empty() { &self.beginning } else { &self.within };
            self.append(&mut ids, piece, &self.control, preparation)?;
        }
        Ok(ids)
    }

    fn append(
        &self,
        ids: &mut Vec<u32>,
        text: &str,
        added: &AddedVocabulary,
        preparation: &Preparation,
    ) -> Result<(), ModelError> {
        let failed = |error: tokenizers::Error| {
            let remedy = "encode the text in smaller parts";
            ModelError::new(crate::ErrorKind::Input, format!("the text cannot be encoded: {error}"), remedy)
        };
        let mut parts = added.extract_and_normalize(preparation.normalizer.as_ref(), text);
        if let Some(cut) = &preparation.pre_tokenizer {
            cut.pre_tokenize(&mut parts).map_err(failed)?;
        }
        parts.tokenize(|part| self.inner.get_model().tokenize(part.get())).map_err(failed)?;
        for (_, _, tokens) in parts.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            ids.extend(tokens.iter().flatten().map(|token| token.id));
        }
        Ok(())
    }

    /// The text of `tokens`, without control tokens and without the space that encoding puts before a text. Bytes that are
    /// not UTF-8, and ids beyond the vocabulary, become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&token| self.shown(token)).copied().collect();
        let bytes = bytes.strip_prefix(b" ").filter(|_| self.beginning.leading_space).unwrap_or(&bytes);
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Decodes tokens one by one, holding back unfinished characters.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }

    /// The bytes of a token in running text.
    fn shown(&self, token: u32) -> &[u8] {
        if self.pieces.is_control(token) {
            return &[];
        }
        self.pieces.get(token).unwrap_or("\u{FFFD}".as_bytes())
    }

    /// The bytes that `token` stands for; of a control token, its name. `None` beyond the vocabulary.
    pub fn piece(&self, token: u32) -> Option<&[u8]> {
        self.pieces.get(token)
    }

    /// Whether `token` is a control token.
    pub fn is_control(&self, token: u32) -> bool {
        self.pieces.is_control(token)
    }

    /// The names of all control tokens.
    pub fn control_names(&self) -> Vec<String> {
        let control = (0..self.vocab_size() as u32).filter(|&token| self.is_control(token));
        let name = |token| self.piece(token).map(|name| String::from_utf8_lossy(name).into_owned());
        control.filter_map(name).filter(|name| !name.is_empty()).collect()
    }

    /// The token of exactly this name, as in the vocabulary's spelling.
    pub fn token(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(name)
    }

    /// How many tokens there are.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.ids.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.ids.eos
    }

    /// The token that ends a turn of a conversation.
    pub fn eot(&self) -> Option<u32> {
        self.ids.eot
    }

    /// Every token at which generation ends, each once.
    pub fn ends(&self) -> Vec<u32> {
        let mut ends = self.ids.ends.clone();
        ends.extend([self.ids.eos, self.ids.eot].into_iter().flatten());
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Whether the model expects the begin token before a text.
    pub fn add_bos(&self) -> bool {
        self.ids.add_bos
    }
}
