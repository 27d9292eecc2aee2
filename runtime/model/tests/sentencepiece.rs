//! Tokenizers of SentencePiece's kind: from a GGUF file as sentencepiece itself has it, from `tokenizer.json` as the
//! `tokenizers` crate has it, and written again as GGUF without a change.

mod support;

use std::sync::LazyLock;

use craftsman_model::ErrorKind;
use craftsman_model::container::{Array, Checkpoint, Conversion, Gguf, GgufWriter, Value};
use craftsman_model::tokenizer::Tokenizer;
use proptest::prelude::*;
use serde_json::Value as Json;
use support::fixture;

fn gguf() -> Gguf {
    Gguf::open(&fixture("tokenizer/spm.gguf")).unwrap()
}

fn json(name: &str) -> Tokenizer {
    Tokenizer::from_file(&fixture("tokenizer").join(name)).unwrap()
}

fn cases() -> Vec<Json> {
    let text = std::fs::read(fixture("tokenizer/encodings.json")).unwrap();
    let json: Json = serde_json::from_slice(&text).unwrap();
    json["cases"].as_array().unwrap().clone()
}

fn ids(json: &Json) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn texts_become_the_tokens_of_sentencepiece() {
    let tokenizer = Tokenizer::from_gguf(gguf().metadata()).unwrap();
    for case in cases() {
        let text = case["text"].as_str().unwrap();
        // Behind a token that is found in a text whole, llama.cpp and transformers put a space, and sentencepiece does not.
        if !text.contains("[INST]") {
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&case["tokens"]), "{text:?}");
        }
        assert_eq!(tokenizer.encode_control(text, false).unwrap(), ids(&case["legacy"]), "{text:?}");
        let decoded = tokenizer.decode(&ids(&case["tokens"]));
        assert_eq!(decoded, case["decoded"].as_str().unwrap(), "{text:?}");
    }
    assert!(tokenizer.add_bos());
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
}

#[test]
fn both_ways_of_a_tokenizer_file_are_read() {
    for name in ["legacy", "metaspace"] {
        let tokenizer = json(&format!("{name}.json"));
        for case in cases() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode_control(text, false).unwrap(), ids(&case[name]), "{name}: {text:?}");
        }
    }
}

/// A folder with this tokenizer and a model of another, converted: what becomes of the tokenizer.
fn converted(name: &str) -> Result<Tokenizer, craftsman_model::ModelError> {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("arch/mixtral").join(file), folder.path().join(file)).unwrap();
    }
    std::fs::copy(fixture("tokenizer").join(name), folder.path().join("tokenizer.json")).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let out = folder.path().join("out.gguf");
    Conversion::to("f16")?.write(&checkpoint, &out)?;
    Tokenizer::from_checkpoint(&Checkpoint::open(&out)?)
}

static WRITTEN: LazyLock<[Tokenizer; 2]> =
    LazyLock::new(|| [json("legacy.json"), converted("legacy.json").unwrap()]);

proptest! {
    #[test]
    fn conversion_keeps_every_text(text in prop_oneof![".{0,40}", "[a ─═9\\[INST\\]/é]{0,40}", "(kernel|ternary|a|aa| |  |\n){0,12}"]) {
        let [before, after] = &*WRITTEN;
        let tokens = before.encode(&text, false).unwrap();
        prop_assert_eq!(&after.encode(&text, false).unwrap(), &tokens);
        prop_assert_eq!(after.decode(&tokens), before.decode(&tokens));
        let mut stream = after.stream();
        let mut streamed: String = tokens.iter().map(|&token| stream.push(token)).collect();
        streamed.push_str(&stream.finish());
        prop_assert_eq!(streamed.strip_prefix(' ').unwrap_or_default(), before.decode(&tokens));
    }
}

#[test]
fn merges_that_scores_cannot_say_are_refused() {
    let text = std::fs::read_to_string(fixture("tokenizer/legacy.json")).unwrap();
    let mut json: Json = serde_json::from_str(&text).unwrap();
    // One of two ways to make a token is left out.
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    let product = |merge: &Json| format!("{}{}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
    let place = (1..merges.len()).find(|&i| product(&merges[i]) == product(&merges[i - 1])).unwrap();
    merges.remove(place);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let error = converted(folder.path().join("tokenizer.json").to_str().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("scores"), "{error}");
}

#[test]
fn damaged_vocabularies_are_refused() {
    let without = |key: &str, value: Option<Value>| {
        let mut writer = GgufWriter::new();
        for (name, value) in gguf().metadata().iter().filter(|(name, _)| *name != key) {
            writer = writer.metadata(name, value.clone());
        }
        if let Some(value) = value {
            writer = writer.metadata(key, value);
        }
        let gguf = Gguf::from_bytes("damaged.gguf", writer.into_bytes().unwrap()).unwrap();
        Tokenizer::from_gguf(gguf.metadata()).unwrap_err()
    };
    let scores = "tokenizer.ggml.scores";
    assert_eq!(without(scores, None).kind(), ErrorKind::Missing);
    let short = Array::of_scalars(&[Value::F32(1.0)]).unwrap();
    assert!(without(scores, Some(short.into())).to_string().contains("1 scores"));
    let long = Array::of_strings((0..700).map(|i| if i == 300 { "x".repeat(999) } else { format!("t{i}") }));
    assert!(without("tokenizer.ggml.tokens", Some(long.into())).to_string().contains("999 bytes"));
}
