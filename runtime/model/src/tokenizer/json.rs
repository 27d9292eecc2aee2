//! A tokenizer out of `tokenizer.json` and the files beside it.

use std::path::Path;

use serde_json::Value as Json;
use tokenizers::models::bpe::Vocab;
use tokenizers::{DecoderWrapper, ModelWrapper};

use super::gguf::is_merge;
use super::pieces::{Pieces, Spelling};
use super::{SpecialIds, Tokenizer, sentencepiece};
use crate::{ErrorKind, ModelError};

pub fn load(path: &Path) -> Result<Tokenizer, ModelError> {
    let text = std::fs::read(path).map_err(|error| ModelError::io(path, error))?;
    let mut tokenizer = parse(path, &text)?;
    let beside = |name: &str| companion(&path.with_file_name(name));
    let companions =
        [beside("tokenizer_config.json")?, beside("generation_config.json")?, beside("config.json")?];
    tokenizer.ids = special_ids(&tokenizer, &companions);
    Ok(tokenizer)
}

/// The tokenizer in `text`; without other files only its own rules say whether a begin token is added.
pub fn parse(path: &Path, text: &[u8]) -> Result<Tokenizer, ModelError> {
    let in_file = |error: ModelError| error.in_file(path);
    check_merges(text).map_err(in_file)?;
    let inner = tokenizers::Tokenizer::from_bytes(text)
        .map_err(|error| in_file(ModelError::corrupt(format!("not a tokenizer: {error}"))))?;
    let spelling = known_spelling(&inner).map_err(in_file)?;
    let pieces = pieces(&inner, spelling).map_err(in_file)?;
    let mut tokenizer = Tokenizer::new(inner, pieces, SpecialIds::default());
    tokenizer.ids = special_ids(&tokenizer, &[]);
    Ok(tokenizer)
}

/// The JSON of a file that may be missing, which is the same as `null`.
pub fn companion(path: &Path) -> Result<Json, ModelError> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| ModelError::corrupt(format!("not JSON: {error}")).in_file(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Json::Null),
        Err(error) => Err(ModelError::io(path, error)),
    }
}

/// Checks that every merge joins two tokens into a third: `tokenizers` takes that for granted.
fn check_merges(text: &[u8]) -> Result<(), ModelError> {
    let json: Json =
        serde_json::from_slice(text).map_err(|error| ModelError::corrupt(format!("not JSON: {error}")))?;
    let vocab = json.pointer("/model/vocab").and_then(Json::as_object);
    let vocab: Vocab = vocab.into_iter().flatten().map(|(token, _)| (token.clone(), 0)).collect();
    let merges = json.pointer("/model/merges").and_then(Json::as_array);
    let mut merged = String::new();
    for (rank, merge) in merges.into_iter().flatten().enumerate() {
        let pair = match merge {
            Json::Array(pair) => pair.first().and_then(Json::as_str).zip(pair.get(1).and_then(Json::as_str)),
            other => other.as_str().and_then(|text| text.split_once(' ')),
        };
        if !pair.is_some_and(|(left, right)| is_merge(&vocab, left, right, &mut merged)) {
            let problem = format!("merge {rank} does not join two tokens into a third");
            return Err(ModelError::corrupt(problem).key("model.merges"));
        }
    }
    Ok(())
}

/// How ordinary tokens of the two kinds that are known are spelled.
fn known_spelling(inner: &tokenizers::Tokenizer) -> Result<fn(&str) -> Spelling, ModelError> {
    if let ModelWrapper::BPE(model) = inner.get_model() {
        if model.byte_fallback {
            return Ok(
                |text| if sentencepiece::byte(text).is_some() { Spelling::Byte } else { Spelling::Spaced },
            );
        }
        if matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            return Ok(|_| Spelling::Bytes);
        }
    }
    Err(ModelError::new(
        ErrorKind::Unsupported,
        "is neither byte-level BPE nor BPE that falls back to bytes",
        "use a model with such a tokenizer, as GPT-2, Llama, Qwen, Mixtral and OLMo have",
    )
    .key("model.type"))
}

/// The pieces of all ids up to the highest, some of which may be unused.
fn pieces(inner: &tokenizers::Tokenizer, ordinary: fn(&str) -> Spelling) -> Result<Pieces, ModelError> {
    let vocab = inner.get_vocab(true);
    // Ids beyond this would make a table out of all proportion to the file.
    let most = 4 * vocab.len() + 1024;
    let mut by_id: Vec<&str> = Vec::new();
    for (text, &id) in &vocab {
        let id = id as usize;
        if id >= most {
            let problem = format!("token `{}` has id {id} among {} tokens", text.escape_debug(), vocab.len());
            return Err(ModelError::corrupt(problem).key("model.vocab"));
        }
        if id >= by_id.len() {
            by_id.resize(id + 1, "");
        }
        by_id[id] = text;
    }
    let added = inner.get_added_tokens_decoder();
    let mut pieces = Pieces::default();
    for (id, text) in by_id.into_iter().enumerate() {
        let spelling = match added.get(&(id as u32)) {
            Some(token) if token.special => Spelling::Control,
            Some(_) => Spelling::Literal,
            None => ordinary(text),
        };
        pieces.push(text, spelling);
    }
    Ok(pieces)
}

/// The special tokens, by name in `tokenizer_config.json`, else by number in the other files; and the begin token that
/// the tokenizer itself puts before a text.
fn special_ids(tokenizer: &Tokenizer, companions: &[Json]) -> SpecialIds {
    let by_name = |role: &str| {
        let entry = companions.iter().find_map(|json| json.get(format!("{role}_token")))?;
        tokenizer.token(entry.as_str().or_else(|| entry.get("content")?.as_str())?)
    };
    let numbers = |role: &str| {
        let entries = companions
            .iter()
            .find_map(|json| json.get(format!("{role}_token_id")).filter(|id| !id.is_null()));
        let list: Vec<&Json> = match entries {
            Some(Json::Array(list)) => list.iter().collect(),
            one => one.into_iter().collect(),
        };
        let known = |id: &u32| (*id as usize) < tokenizer.vocab_size();
        list.into_iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).filter(known).collect::<Vec<_>>()
    };
    let own = tokenizer.inner.encode("", true).ok().and_then(|encoding| encoding.get_ids().first().copied());
    let stated = companions.iter().find_map(|json| json.get("add_bos_token")?.as_bool());
    let bos = by_name("bos").or_else(|| numbers("bos").first().copied()).or(own);
    let eos = by_name("eos").or_else(|| numbers("eos").first().copied());
    let eot = tokenizer.ids.eot.or_else(|| numbers("eos").into_iter().find(|id| Some(*id) != eos));
    SpecialIds { bos, eos, eot, ends: numbers("eos"), add_bos: stated.unwrap_or(own.is_some() && own == bos) }
}
