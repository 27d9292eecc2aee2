//! A `tokenizer.json` under the metadata keys of GGUF.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;
use tokenizers::models::bpe::Vocab;

use super::json::companion;
use super::split::SplitKind;
use super::{Tokenizer, sentencepiece};
use crate::container::{Array, Value};
use crate::{ErrorKind, ModelError};

/// Numbers of `tokenizer.ggml.token_type`. Source: llama.cpp `llama.h`, `llama_token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The tokenizer in the file at `path` for a model of `vocabulary` tokens: ids without a token get a filler, as
/// llama.cpp's converter writes it.
pub fn metadata(path: &Path, vocabulary: usize) -> Result<Vec<(&'static str, Value)>, ModelError> {
    let tokenizer = Tokenizer::from_file(path)?;
    let json = companion(path)?;
    let rows = tokens(&tokenizer, &json, vocabulary);
    let mut pairs = if falls_back(&json) {
        scored(&tokenizer, &json, &rows).map_err(|error| error.in_file(path))?
    } else {
        let kind = SplitKind::of_json(&json).map_err(|error| error.in_file(path))?;
        let merges = merges(&json).into_iter().map(|(left, right)| format!("{left} {right}"));
        vec![
            ("tokenizer.ggml.model", Value::from("gpt2")),
            ("tokenizer.ggml.pre", kind.name().into()),
            ("tokenizer.ggml.merges", Array::of_strings(merges).into()),
        ]
    };
    let (tokens, types): (Vec<String>, Vec<Value>) =
        rows.into_iter().map(|(text, kind)| (text, Value::I32(kind))).unzip();
    pairs.extend([
        ("tokenizer.ggml.tokens", Array::of_strings(tokens).into()),
        ("tokenizer.ggml.token_type", scalars(&types)),
        ("tokenizer.ggml.add_bos_token", tokenizer.add_bos().into()),
    ]);
    let ids = [
        ("tokenizer.ggml.bos_token_id", tokenizer.bos()),
        ("tokenizer.ggml.eos_token_id", tokenizer.eos()),
        ("tokenizer.ggml.eot_token_id", tokenizer.eot()),
    ];
    pairs.extend(ids.into_iter().filter_map(|(key, id)| Some((key, Value::U32(id?)))));
    pairs.extend(chat_template(path)?.map(|template| ("tokenizer.chat_template", template.into())));
    Ok(pairs)
}

fn scalars(values: &[Value]) -> Value {
    Array::of_scalars(values).map_or(Value::I32(0), Value::Array)
}

/// Whether a tokenizer writes what no token spells in tokens of single bytes, as SentencePiece's do.
fn falls_back(json: &Json) -> bool {
    json.pointer("/model/byte_fallback").and_then(Json::as_bool).unwrap_or(false)
}

/// What only the vocabularies of SentencePiece's kind have: scores, by which the merges come in the same order.
fn scored(
    tokenizer: &Tokenizer,
    json: &Json,
    rows: &[(String, i32)],
) -> Result<Vec<(&'static str, Value)>, ModelError> {
    let merges = merges(json);
    // A token's score is the place of the first merge that makes it; one that no merge makes is better than none of them.
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, (left, right)) in merges.iter().enumerate() {
        places.entry(format!("{left}{right}")).or_insert(place);
    }
    let count = merges.len();
    let score = |text: &str| -(places.get(text).copied().unwrap_or(count) as f32);
    let made = rows.iter().filter(|(text, kind)| *kind == NORMAL && places.contains_key(text));
    let made: Vec<(&str, f32)> = made.map(|(text, _)| (text.as_str(), score(text))).collect();
    let ids: Vocab = rows.iter().zip(0..).map(|((text, _), id)| (text.clone(), id)).collect();
    let mut again = sentencepiece::merges(&made, &ids, count).unwrap_or_default();
    let mut stated = merges;
    again.sort_unstable();
    stated.sort_unstable();
    if again != stated {
        let problem =
            "not all pairs of tokens that join to a third are merged, which the scores of GGUF cannot say";
        return Err(
            ModelError::new(ErrorKind::Unsupported, problem, "use the folder as it is").key("model.merges")
        );
    }
    let scores: Vec<Value> = rows.iter().map(|(text, _)| Value::F32(score(text))).collect();
    let unknown =
        json.pointer("/model/unk_token").and_then(Json::as_str).and_then(|text| tokenizer.token(text));
    let mut pairs = vec![
        ("tokenizer.ggml.model", Value::from("llama")),
        ("tokenizer.ggml.pre", "default".into()),
        ("tokenizer.ggml.scores", scalars(&scores)),
        ("tokenizer.ggml.add_space_prefix", tokenizer.beginning.leading_space.into()),
    ];
    pairs.extend(unknown.map(|id| ("tokenizer.ggml.unknown_token_id", Value::U32(id))));
    Ok(pairs)
}

/// The tokens in the order of their ids, and their types.
fn tokens(tokenizer: &Tokenizer, json: &Json, vocabulary: usize) -> Vec<(String, i32)> {
    let vocab = tokenizer.inner.get_vocab(true);
    let count = vocab.values().map(|&id| id as usize + 1).max().unwrap_or(0).max(vocabulary);
    let filler = |id: usize| (format!("[PAD{id}]"), UNUSED);
    let mut rows: Vec<(String, i32)> = (0..count).map(filler).collect();
    let added = tokenizer.inner.get_added_tokens_decoder();
    let bytes = falls_back(json);
    for (text, id) in vocab {
        let kind = match added.get(&id) {
            Some(token) if token.special => CONTROL,
            Some(_) => USER_DEFINED,
            None if bytes && sentencepiece::byte(&text).is_some() => BYTE,
            None => NORMAL,
        };
        rows[id as usize] = (text, kind);
    }
    rows
}

/// The merges; `tokenizer.json` has them as texts or as pairs.
fn merges(json: &Json) -> Vec<(String, String)> {
    let merges = json.pointer("/model/merges").and_then(Json::as_array);
    let merge = |merge: &Json| {
        let (left, right) = match merge {
            Json::Array(pair) => (pair.first()?.as_str()?, pair.get(1)?.as_str()?),
            other => other.as_str()?.split_once(' ')?,
        };
        Some((left.to_owned(), right.to_owned()))
    };
    merges.into_iter().flatten().filter_map(merge).collect()
}

/// The chat template beside the tokenizer: a file of its own, or a text in `tokenizer_config.json`.
fn chat_template(path: &Path) -> Result<Option<String>, ModelError> {
    let file = path.with_file_name("chat_template.jinja");
    match std::fs::read_to_string(&file) {
        Ok(template) => Ok(Some(template)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let config = companion(&path.with_file_name("tokenizer_config.json"))?;
            Ok(config.get("chat_template").and_then(Json::as_str).map(str::to_owned))
        }
        Err(error) => Err(ModelError::io(&file, error)),
    }
}
