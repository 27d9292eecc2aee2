//! A tokenizer out of GGUF metadata.

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};

use super::pieces::{Pieces, Spelling};
use super::split::SplitKind;
use super::{SpecialIds, Tokenizer};
use crate::container::{Array, ElementType, Metadata, Value};
use crate::{ErrorKind, ModelError};

/// As many tokens as the largest vocabularies have, and more merges than any (446,189 in gpt-oss): they bound the maps
/// of a hostile file, about 300 bytes a token and 80 a merge, to some 100 MB.
const MOST_TOKENS: usize = 1 << 18;
const MOST_MERGES: usize = 1 << 19;

/// Numbers of `tokenizer.ggml.token_type` that matter here.
const UNKNOWN: u8 = 2;
const CONTROL: u8 = 3;
const USER_DEFINED: u8 = 4;

pub fn load(metadata: &Metadata) -> Result<Tokenizer, ModelError> {
    let family = metadata.str("tokenizer.ggml.model")?;
    if family != "gpt2" {
        let problem = format!("the tokenizer family `{}` is unknown", family.escape_debug());
        let remedy =
            "use a model with byte-level BPE (`gpt2`), or its Hugging Face folder with tokenizer.json";
        return Err(metadata.error(ErrorKind::Unsupported, problem, remedy).key("tokenizer.ggml.model"));
    }
    let kind = SplitKind::named(split_name(metadata)?).map_err(|error| metadata.place(error))?;
    let vocabulary = Vocabulary::read(metadata)?;
    let ids = special_ids(metadata, kind, vocabulary.pieces.len())?;
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.ids, vocabulary.merges)
        .ignore_merges(kind.ignore_merges)
        .build()
        .map_err(|error| failed(metadata, &error))?;
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_normalizer(kind.normalizer()).map_err(|error| failed(metadata, &error))?;
    inner.with_pre_tokenizer(Some(kind.pre_tokenizer().map_err(|error| failed(metadata, &error))?));
    inner.add_tokens(vocabulary.added).map_err(|error| failed(metadata, &error))?;
    Ok(Tokenizer::new(inner, vocabulary.pieces, ids))
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
    merges: Vec<(String, String)>,
    added: Vec<AddedToken>,
    pieces: Pieces,
}

impl Vocabulary {
    fn read(metadata: &Metadata) -> Result<Self, ModelError> {
        let tokens = strings(metadata, "tokenizer.ggml.tokens", MOST_TOKENS)?;
        let kinds = kinds(metadata, tokens.len())?;
        let (mut ids, mut added, mut pieces) = (Vocab::default(), Vec::new(), Pieces::default());
        for (id, (text, kind)) in tokens.strings().zip(kinds).enumerate() {
            if ids.insert(text.to_owned(), id as u32).is_some() {
                let problem = format!("token {id} repeats the text of an earlier one");
                return Err(metadata.place(ModelError::corrupt(problem)).key("tokenizer.ggml.tokens"));
            }
            pieces.push(text, spelling(kind));
            if spelling(kind) != Spelling::Bytes {
                let special = spelling(kind) == Spelling::Control;
                added.push(AddedToken::from(text, special).normalized(false));
            }
        }
        let merges = merges(metadata, &ids)?;
        Ok(Self { ids, merges, added, pieces })
    }
}

fn spelling(kind: u8) -> Spelling {
    match kind {
        UNKNOWN | CONTROL => Spelling::Control,
        USER_DEFINED => Spelling::Literal,
        _ => Spelling::Bytes,
    }
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
    let Some(array) = metadata.get_array(key)? else { return Ok(vec![1; count]) };
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

fn special_ids(metadata: &Metadata, kind: &SplitKind, count: usize) -> Result<SpecialIds, ModelError> {
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
    let add_bos = metadata.get_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(kind.add_bos);
    Ok(SpecialIds {
        bos: id("bos")?,
        eos: id("eos")?,
        eot: id("eot")?,
        ends: Vec::from_iter(id("eom")?),
        add_bos,
    })
}
