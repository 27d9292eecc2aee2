//! A tokenizer out of GGUF metadata.

use tokenizers::models::bpe::{BPE, BpeBuilder, Vocab};
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper};

use super::pieces::{Pieces, Spelling};
use super::split::SplitKind;
use super::{SpecialIds, Tokenizer, sentencepiece};
use crate::container::{Array, ElementType, Metadata, Value};
use crate::{ErrorKind, ModelError};

/// As many tokens as the largest vocabularies have, and more merges than any (446,189 in gpt-oss): they bound the maps
/// of a hostile file, about 300 bytes a token and 80 a merge, to some 100 MB.
const MOST_TOKENS: usize = 1 << 18;
const MOST_MERGES: usize = 1 << 19;

/// Numbers of `tokenizer.ggml.token_type` that matter here.
const NORMAL: u8 = 1;
const UNKNOWN: u8 = 2;
const CONTROL: u8 = 3;
const USER_DEFINED: u8 = 4;
const BYTE: u8 = 6;

pub fn load(metadata: &Metadata) -> Result<Tokenizer, ModelError> {
    let family = metadata.str("tokenizer.ggml.model")?;
    match family {
        "gpt2" => byte_level(metadata),
        "llama" => sentence_pieces(metadata),
        _ => {
            let problem = format!("the tokenizer family `{}` is unknown", family.escape_debug());
            let remedy = "use a model with byte-level BPE (`gpt2`) or SentencePiece's BPE (`llama`), or its Hugging Face \
                          folder with tokenizer.json";
            Err(metadata.error(ErrorKind::Unsupported, problem, remedy).key("tokenizer.ggml.model"))
        }
    }
}

/// Byte pairs of GPT-2's kind, cut first as `tokenizer.ggml.pre` names it.
fn byte_level(metadata: &Metadata) -> Result<Tokenizer, ModelError> {
    let kind = SplitKind::named(split_name(metadata)?).map_err(|error| metadata.place(error))?;
    let vocabulary = Vocabulary::read(metadata, spelling)?;
    let merges = merges(metadata, &vocabulary.ids)?;
    let model = BPE::builder().ignore_merges(kind.ignore_merges);
    let pre_tokenizer = Some(kind.pre_tokenizer().map_err(|error| failed(metadata, &error))?);
    vocabulary.tokenizer(metadata, model, merges, (kind.normalizer(), pre_tokenizer), kind.add_bos)
}

/// SentencePiece's byte pairs.
fn sentence_pieces(metadata: &Metadata) -> Result<Tokenizer, ModelError> {
    let vocabulary = Vocabulary::read(metadata, piece_spelling)?;
    let merges = scored_merges(metadata, &vocabulary.ids)?;
    let mut model = BPE::builder().byte_fallback(true).fuse_unk(true);
    let unknown = metadata.get_u32("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
    if let Some(text) = metadata.array("tokenizer.ggml.tokens")?.strings().nth(unknown as usize) {
        model = model.unk_token(text.to_owned());
    }
    let prefix = metadata.get_bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let normalizer = sentencepiece::normalizer(prefix).map_err(|error| failed(metadata, &error))?;
    vocabulary.tokenizer(metadata, model, merges, (Some(normalizer), None), true)
}

fn split_name(metadata: &Metadata) -> Result<&str, ModelError> {
    let name = metadata.get_str("tokenizer.ggml.pre")?;
    if name.is_none_or(|name| name == "default") {
        tracing::warn!("the file names no pre-tokenizer; taking llama 3's");
    }
    Ok(name.unwrap_or_default())
}

fn failed(metadata: &Metadata, error: &tokenizers::Error) -> ModelError {
    metadata
        .place(ModelError::corrupt(format!("the vocabulary is not usable: {error}")))
        .key("tokenizer.ggml.tokens")
}

/// The arrays of the vocabulary, checked against each other.
struct Vocabulary {
    ids: Vocab,
    added: Vec<AddedToken>,
    pieces: Pieces,
}

impl Vocabulary {
    fn read(metadata: &Metadata, spelling: fn(u8) -> Spelling) -> Result<Self, ModelError> {
        let tokens = strings(metadata, "tokenizer.ggml.tokens", MOST_TOKENS)?;
        let kinds = kinds(metadata, tokens.len())?;
        let (mut ids, mut added, mut pieces) = (Vocab::default(), Vec::new(), Pieces::default());
        for (id, (text, kind)) in tokens.strings().zip(kinds).enumerate() {
            if ids.insert(text.to_owned(), id as u32).is_some() {
                let problem = format!("token {id} repeats the text of an earlier one");
                return Err(metadata.place(ModelError::corrupt(problem)).key("tokenizer.ggml.tokens"));
            }
            pieces.push(text, spelling(kind));
            if let special @ (Spelling::Control | Spelling::Literal) = spelling(kind) {
                let special = special == Spelling::Control;
                added.push(AddedToken::from(text, special).normalized(false));
            }
        }
        Ok(Self { ids, added, pieces })
    }

    /// The tokenizer of `model`, after what happens to a text before.
    fn tokenizer(
        self,
        metadata: &Metadata,
        model: BpeBuilder,
        merges: Vec<(String, String)>,
        (normalizer, pre_tokenizer): (Option<NormalizerWrapper>, Option<PreTokenizerWrapper>),
        add_bos: bool,
    ) -> Result<Tokenizer, ModelError> {
        let failed = |error| failed(metadata, &error);
        let ids = special_ids(metadata, add_bos, self.pieces.len())?;
        let model = model.vocab_and_merges(self.ids, merges).build().map_err(failed)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner.with_normalizer(normalizer).map_err(failed)?;
        inner.with_pre_tokenizer(pre_tokenizer);
        inner.add_tokens(self.added).map_err(failed)?;
        Ok(Tokenizer::new(inner, self.pieces, ids))
    }
}

fn spelling(kind: u8) -> Spelling {
    match kind {
        UNKNOWN | CONTROL => Spelling::Control,
        USER_DEFINED => Spelling::Literal,
        _ => Spelling::Bytes,
    }
}

/// The same for a vocabulary of SentencePiece's.
fn piece_spelling(kind: u8) -> Spelling {
    match spelling(kind) {
        Spelling::Bytes if kind == BYTE => Spelling::Byte,
        Spelling::Bytes => Spelling::Spaced,
        other => other,
    }
}

/// The merges that the scores of ordinary tokens stand for.
fn scored_merges(metadata: &Metadata, ids: &Vocab) -> Result<Vec<(String, String)>, ModelError> {
    let key = "tokenizer.ggml.scores";
    let wrong = |problem: String| metadata.place(ModelError::corrupt(problem)).key(key);
    let tokens = strings(metadata, "tokenizer.ggml.tokens", MOST_TOKENS)?;
    let array = metadata.array(key)?;
    let number = |value: Value| if let Value::F32(score) = value { Some(score) } else { None };
    let scores: Vec<f32> = array.scalars().take(tokens.len()).filter_map(number).collect();
    if scores.len() != tokens.len() || array.len() != tokens.len() {
        let problem = format!(
            "{} scores, of which {} are numbers, for {} tokens",
            array.len(),
            scores.len(),
            tokens.len()
        );
        return Err(wrong(problem));
    }
    let kinds = kinds(metadata, tokens.len())?;
    let scored = tokens.strings().zip(scores).zip(kinds).filter(|(_, kind)| *kind == NORMAL);
    let scored: Vec<(&str, f32)> = scored.map(|(token, _)| token).collect();
    if let Some((text, _)) = scored.iter().find(|(text, _)| text.len() > sentencepiece::LONGEST) {
        let problem =
            format!("a token of {} bytes, more than {} that are allowed", text.len(), sentencepiece::LONGEST);
        return Err(wrong(problem).key("tokenizer.ggml.tokens"));
    }
    let merges = sentencepiece::merges(&scored, ids, MOST_MERGES);
    merges.ok_or_else(|| wrong(format!("stand for more than the {MOST_MERGES} merges that are allowed")))
}

/// A required array of at most `most` strings.
fn strings<'a>(metadata: &'a Metadata, key: &str, most: usize) -> Result<&'a Array, ModelError> {
    let array = metadata.array(key)?;
    let wrong = |problem: String| metadata.place(ModelError::corrupt(problem)).key(key);
    if array.element() != ElementType::Str {
        return Err(wrong(format!("holds elements of type {}, expected strings", array.element().name())));
    }
    if array.len() > most {
        return Err(wrong(format!("holds {} strings, more than the {most} that are allowed", array.len())));
    }
    Ok(array)
}

/// The kind of each of `count` tokens; all are normal (1) where the file does not say.
fn kinds(metadata: &Metadata, count: usize) -> Result<Vec<u8>, ModelError> {
    let key = "tokenizer.ggml.token_type";
    let Some(array) = metadata.get_array(key)? else { return Ok(vec![NORMAL; count]) };
    let number = |value: Value| value.as_integer().and_then(|kind| u8::try_from(kind).ok());
    let kinds: Vec<u8> = array.scalars().take(count).filter_map(number).collect();
    if kinds.len() != count || array.len() != count {
        let problem =
            format!("{} token types, of which {} are valid, for {count} tokens", array.len(), kinds.len());
        return Err(metadata.place(ModelError::corrupt(problem)).key(key));
    }
    Ok(kinds)
}

/// The merges as pairs, each of which gives a token of the vocabulary.
fn merges(metadata: &Metadata, ids: &Vocab) -> Result<Vec<(String, String)>, ModelError> {
    let key = "tokenizer.ggml.merges";
    let mut merged = String::new();
    let pairs = strings(metadata, key, MOST_MERGES)?.strings().enumerate().map(|(rank, text)| {
        // The first part is never empty, and may itself start with a space.
        let split = text.char_indices().skip(1).find(|(_, character)| *character == ' ');
        let pair = split.map(|(at, _)| (&text[..at], &text[at + 1..]));
        pair.filter(|(left, right)| is_merge(ids, left, right, &mut merged))
            .map(|(left, right)| (left.to_owned(), right.to_owned()))
            .ok_or_else(|| {
                let problem = format!("merge {rank} does not join two tokens into a third");
                metadata.place(ModelError::corrupt(problem)).key(key)
            })
    });
    pairs.collect()
}

/// Whether both parts and what they join to are tokens. `merged` is scratch memory.
pub fn is_merge(ids: &Vocab, left: &str, right: &str, merged: &mut String) -> bool {
    merged.clear();
    merged.push_str(left);
    merged.push_str(right);
    ids.contains_key(left) && ids.contains_key(right) && ids.contains_key(merged.as_str())
}

fn special_ids(metadata: &Metadata, add_bos: bool, count: usize) -> Result<SpecialIds, ModelError> {
    let id = |name: &str| {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match metadata.get_u32(&key)? {
            Some(id) if id as usize >= count => {
                let problem = format!("names token {id}, but there are {count}");
                Err(metadata.place(ModelError::corrupt(problem)).key(&key))
            }
            id => Ok(id),
        }
    };
    let add_bos = metadata.get_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos);
    Ok(SpecialIds {
        bos: id("bos")?,
        eos: id("eos")?,
        eot: id("eot")?,
        ends: Vec::from_iter(id("eom")?),
        add_bos,
    })
}
