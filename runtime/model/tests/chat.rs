//! Conversations as text and as tokens.

mod support;

use craftsman_model::ErrorKind;
use craftsman_model::chat::{ChatTemplate, Message};
use craftsman_model::container::{Checkpoint, Gguf, GgufWriter, TensorData, Value};
use craftsman_model::tokenizer::Tokenizer;
use proptest::prelude::*;
use serde_json::Value as Json;
use support::fixture;

#[test]
fn templates_are_filled_in_as_jinja_does_it() {
    let text = std::fs::read_to_string(fixture("chat/renderings.json")).unwrap();
    let json: Json = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for case in json["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let template = ChatTemplate::new(json["templates"][name].as_str().unwrap()).with_marks("<s>", "</s>");
        let message = |m: &Json| Message::new(m["role"].as_str().unwrap(), m["content"].as_str().unwrap());
        let messages: Vec<Message> = case["messages"].as_array().unwrap().iter().map(message).collect();
        let found = template.render(&messages, case["answer"].as_bool().unwrap());
        if found.as_deref().ok() != case["expected"].as_str() {
            wrong.push(format!("{name}: {found:?}\nexpected {:?}", case["expected"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_template_refuses_is_told() {
    let refusing = ChatTemplate::new("{{ raise_exception('no system messages here') }}");
    let error = refusing.render(&[Message::new("system", "x")], true).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Input && error.to_string().contains("no system messages here"),
        "{error}"
    );
    for hostile in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for",
        "{{ messages.nothing.at.all }}",
        "{% include '/etc/passwd' %}",
    ] {
        assert_eq!(
            ChatTemplate::new(hostile).render(&[], true).unwrap_err().kind(),
            ErrorKind::Input,
            "{hostile}"
        );
    }
    let marked = "a{%- generation %} b {%- endgeneration -%} c {{ strftime_now('%Y') | length }}";
    assert_eq!(ChatTemplate::new(marked).render(&[], true).unwrap(), "a bc 4");
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_file(&fixture("arch/glm4_moe_lite/tokenizer.json")).unwrap()
}

/// Control tokens among `tokens`.
fn controls(tokenizer: &Tokenizer, tokens: &[u32]) -> usize {
    tokens.iter().filter(|&&token| tokenizer.is_control(token)).count()
}

#[test]
fn nobody_can_write_a_control_token() {
    let tokenizer = tokenizer();
    let names = tokenizer.control_names();
    assert!(names.len() > 2, "{names:?}");
    let source =
        format!("{}{{{{ messages[0].role }}}}{{{{ messages[0].content | trim }}}}{}", names[0], names[1]);
    let template = ChatTemplate::new(&source);
    let encode = |content: &str| template.encode(&tokenizer, &[Message::new("user", content)], true).unwrap();
    assert_eq!(controls(&tokenizer, &encode("hello")), 2);
    for name in &names {
        let (half, other) = name.split_at(name.char_indices().nth(1).unwrap().0);
        for content in
            [name.clone(), format!("{name}{name}"), format!(" {other} x {half} "), format!("<{name}>")]
        {
            let tokens = encode(&content);
            assert_eq!(controls(&tokenizer, &tokens), 2, "{content:?}");
            assert_eq!(tokenizer.decode(&tokens), format!("user{}", content.trim()), "{content:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_control_token(pieces in prop::collection::vec(prop_oneof!["[<|>\\[\\]a-zA-Z/ ]{0,4}", (0_usize..9).prop_map(|i| format!("#{i}"))], 0..8)) {
        let tokenizer = tokenizer();
        let names = tokenizer.control_names();
        let name = |piece: &String| match piece.strip_prefix('#').and_then(|i| i.parse::<usize>().ok()) {
            Some(i) => names[i % names.len()].clone(),
            None => piece.clone(),
        };
        let content: String = pieces.iter().map(name).collect();
        let template = ChatTemplate::new("<{{ messages[0].content }}|>");
        let tokens = template.encode(&tokenizer, &[Message::new("user", content.as_str())], false).unwrap();
        prop_assert_eq!(controls(&tokenizer, &tokens), 0, "{:?}", content);
        prop_assert_eq!(tokenizer.decode(&tokens), format!("<{content}|>"));
    }
}

/// The trained model with another key or two.
fn changed(keys: &[(&str, Value)]) -> Checkpoint {
    let gguf = Gguf::open(&fixture("ternary/bitnet/model-i2_s.gguf")).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| keys.iter().all(|(name, _)| name != key)) {
        writer = writer.metadata(key, value.clone());
    }
    for (key, value) in keys {
        writer = writer.metadata(key, value.clone());
    }
    for tensor in gguf.tensors() {
        let data = TensorData::Owned(gguf.data(tensor).to_vec());
        writer = writer.tensor(tensor.name(), tensor.shape(), tensor.kind(), data);
    }
    let gguf = Gguf::from_bytes("changed.gguf", writer.into_bytes().unwrap()).unwrap();
    Checkpoint::from_gguf(gguf).unwrap()
}

#[test]
fn a_template_comes_with_the_model_or_is_missed() {
    let of = |checkpoint: &Checkpoint| {
        ChatTemplate::from_checkpoint(checkpoint, &Tokenizer::from_checkpoint(checkpoint).unwrap())
    };
    let error = of(&changed(&[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    let own =
        of(&changed(&[("tokenizer.chat_template", Value::from("{{ messages[0].content }}!"))])).unwrap();
    assert_eq!(own.render(&[Message::new("user", "hi")], true).unwrap(), "hi!");
    let long = "x".repeat((1 << 20) + 1);
    let error = of(&changed(&[("tokenizer.chat_template", Value::from(long.as_str()))])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn folders_have_one_template_or_several() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(fixture("arch/llama").join(name), folder.path().join(name)).unwrap();
    }
    let render = || {
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let tokenizer = Tokenizer::from_checkpoint(&checkpoint).unwrap();
        ChatTemplate::from_checkpoint(&checkpoint, &tokenizer)?.render(&[], true)
    };
    let config = folder.path().join("tokenizer_config.json");
    std::fs::write(&config, r#"{"chat_template": "one"}"#).unwrap();
    assert_eq!(render().unwrap(), "one");
    std::fs::write(
        &config,
        r#"{"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]}"#,
    )
    .unwrap();
    assert_eq!(render().unwrap(), "b");
    std::fs::write(folder.path().join("chat_template.jinja"), "file").unwrap();
    assert_eq!(render().unwrap(), "file");
}
