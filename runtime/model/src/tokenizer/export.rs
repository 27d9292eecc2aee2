//! A `tokenizer.json` under the metadata keys of GGUF.

use std::path::Path;

use serde_json::Value as Json;

use super::Tokenizer;
use super::json::companion;
use super::split::SplitKind;
use crate::ModelError;
use crate::container::{Array, Value};

/// Numbers of `tokenizer.ggml.token_type`. Source: llama.cpp `llama.h`, `llama_token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The tokenizer in the file at `path` for a model of `vocabulary` tokens: ids without a token get a filler, as
/// llama.cpp's converter writes it.
pub fn metadata(path: &Path, vocabulary: usize) -> Result<Vec<(&'static str, Value)>, ModelError> {
    let tokenizer = Tokenizer::from_file(path)?;
    let json = companion(path)?;
    let kind = SplitKind::of_json(&json).map_err(|error| error.in_file(path))?;
    let (tokens, types) = tokens(&tokenizer, vocabulary);
    let mut pairs = vec![
        ("tokenizer.ggml.model", Value::from("gpt2")),
        ("tokenizer.ggml.pre", kind.name().into()),
        ("tokenizer.ggml.tokens", Array::of_strings(tokens).into()),
        ("tokenizer.ggml.token_type", types),
        ("tokenizer.ggml.merges", Array::of_strings(merges(&json)).into()),
        ("tokenizer.ggml.add_bos_token", tokenizer.add_bos().into()),
    ];
    let ids = [
        ("tokenizer.ggml.bos_token_id", tokenizer.bos()),
        ("tokenizer.ggml.eos_token_id", tokenizer.eos()),
        ("tokenizer.ggml.eot_token_id", tokenizer.eot()),
    ];
    pairs.extend(ids.into_iter().filter_map(|(key, id)| Some((key, Value::U32(id?)))));
    pairs.extend(chat_template(path)?.map(|template| ("tokenizer.chat_template", template.into())));
    Ok(pairs)
}

/// The tokens in the order of their ids, and their types.
fn tokens(tokenizer: &Tokenizer, vocabulary: usize) -> (Vec<String>, Value) {
    let vocab = tokenizer.inner.get_vocab(true);
    let count = vocab.values().map(|&id| id as usize + 1).max().unwrap_or(0).max(vocabulary);
    let filler = |id: usize| (format!("[PAD{id}]"), UNUSED);
    let mut rows: Vec<(String, i32)> = (0..count).map(filler).collect();
    let added = tokenizer.inner.get_added_tokens_decoder();
    for (text, id) in vocab {
        let kind = added.get(&id).map_or(NORMAL, |token| if token.special { CONTROL } else { USER_DEFINED });
        rows[id as usize] = (text, kind);
    }
    let (tokens, types): (Vec<String>, Vec<Value>) =
        rows.into_iter().map(|(text, kind)| (text, Value::I32(kind))).unzip();
    (tokens, Array::of_scalars(&types).map_or(Value::I32(0), Value::Array))
}

/// The merges as GGUF spells them; `tokenizer.json` has them as texts or as pairs.
fn merges(json: &Json) -> Vec<String> {
    let merges = json.pointer("/model/merges").and_then(Json::as_array);
    let merge = |merge: &Json| match merge {
        Json::Array(pair) => pair.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" "),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    merges.into_iter().flatten().map(merge).collect()
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
