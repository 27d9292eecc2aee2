//! The promise of sessions: the same bits, however the work is divided.

mod support;

use std::ops::ControlFlow;

use craftsman_isa::{HardwareCaps, Tier};
use craftsman_model::container::Checkpoint;
use craftsman_model::tokenizer::Tokenizer;
use craftsman_model::{ErrorKind, Finish, GenerateOptions, LoadOptions, Model, SamplingOptions, generate};
use support::{Reference, bits, fixture, load, load_with};

/// A dense model, a mixture of dense experts, latent attention with a shared expert, convolutions, a ternary model and a
/// mixture of ternary experts.
const MODELS: [(&str, &str); 6] = [
    ("arch/llama", "model-f16.gguf"),
    ("arch/qwen3_moe", "model-f16.gguf"),
    ("arch/glm4_moe_lite", "model-f16.gguf"),
    ("arch/lfm2", "model-f16.gguf"),
    ("ternary/containers", "model-i2_s.gguf"),
    ("ternary/qwen3_moe", "model-tq2_0.gguf"),
];

#[test]
fn one_by_one_and_all_at_once_give_the_same_bits() {
    for (folder, name) in MODELS {
        let tokens = &Reference::open(folder).tokens[0];
        let model = load(&format!("{folder}/{name}"));
        let all = model.session().logits_all(tokens).unwrap();
        let mut session = model.session();
        for (&token, expected) in tokens.iter().zip(all.chunks(model.config().vocab)) {
            assert!(
                bits(session.decode(token).unwrap()) == bits(expected),
                "{name} at {}",
                session.position()
            );
        }
        session.truncate(5);
        let last = session.prefill(&tokens[5..]).unwrap();
        assert!(bits(last) == bits(&all[all.len() - last.len()..]), "{name} after a prefill in the middle");
    }
}

#[test]
fn threads_give_the_same_bits() {
    for (folder, name) in MODELS {
        let tokens = &Reference::open(folder).tokens[0];
        let run = |threads| {
            let model = load_with(&format!("{folder}/{name}"), threads, HardwareCaps::detect());
            let mut session = model.session();
            let mut all = bits(&session.logits_all(&tokens[..20]).unwrap());
            tokens[20..].iter().for_each(|&token| all.extend(bits(session.decode(token).unwrap())));
            all
        };
        let one = run(1);
        assert!(one == run(2), "{name} with 2 threads");
        assert!(one == run(3), "{name} with 3 threads");
    }
}

#[test]
fn tiers_give_the_same_bits() {
    let here = HardwareCaps::detect();
    for (folder, name) in MODELS {
        let tokens = &Reference::open(folder).tokens[0];
        let run = |tier| {
            let model = load_with(&format!("{folder}/{name}"), 1, here.clone().with_max_tier(tier));
            let mut session = model.session();
            let mut all = bits(&session.logits_all(&tokens[..12]).unwrap());
            tokens[12..16].iter().for_each(|&token| all.extend(bits(session.decode(token).unwrap())));
            all
        };
        let portable = run(Tier::Portable);
        for tier in Tier::ALL.iter().copied().filter(|&tier| tier != Tier::Portable && tier <= here.tier()) {
            assert!(portable == run(tier), "{name} on {tier}");
        }
    }
}

#[test]
fn a_cache_keeps_no_more_than_its_mixers_read() {
    for (name, floats) in [
        // Two key heads of 16, keys and values, in two layers.
        ("arch/llama/model-f16.gguf", 2 * 2 * 2 * 16),
        // The compressed row of 128 and a turned key of 32 in three layers, for all four heads.
        ("arch/glm4_moe_lite/model-f16.gguf", 3 * (128 + 32)),
        // Two layers of attention, and the inputs of 64 convolutions in two others.
        ("arch/lfm2/model-f16.gguf", 2 * 2 * 2 * 16 + 2 * 64),
    ] {
        assert_eq!(load(name).session().cache().bytes_per_position(), floats * 4, "{name}");
    }
}

#[test]
fn long_prompts_go_through_in_chunks() {
    let reference = Reference::open("ternary/bitnet");
    let model = load("ternary/bitnet/model-i2_s.gguf");
    let tokens = &reference.val_tokens[..700];
    let mut whole = model.session();
    let expected = bits(whole.prefill(tokens).unwrap());
    let mut parts = model.session();
    parts.prefill(&tokens[..600]).unwrap();
    assert!(bits(parts.prefill(&tokens[600..]).unwrap()) == expected);
}

#[test]
fn what_a_session_refuses_leaves_it_as_it_was() {
    let checkpoint = Checkpoint::open(&fixture("arch/llama/model-f16.gguf")).unwrap();
    let options = LoadOptions { context: Some(8), ..LoadOptions::default() };
    let model = Model::load(&checkpoint, &options).unwrap();
    let mut session = model.session();
    session.prefill(&[1, 2, 3]).unwrap();
    for tokens in [&[][..], &[512], &[0; 6]] {
        assert_eq!(session.prefill(tokens).unwrap_err().kind(), ErrorKind::Input);
        assert_eq!(session.position(), 3);
    }
    assert_eq!(session.remaining(), 5);
    session.prefill(&[0; 5]).unwrap();
    assert!(session.decode(0).unwrap_err().to_string().contains("context of 8"));
}

#[test]
fn generation_streams_and_stops() {
    let path = fixture("ternary/bitnet/model-i2_s.gguf");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let model = Model::load(&checkpoint, &LoadOptions::default()).unwrap();
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint).unwrap();
    let prompt = tokenizer.encode("def __init__(self, ", true).unwrap();
    let plain =
        GenerateOptions { sampling: SamplingOptions::greedy(), max_tokens: 24, ..GenerateOptions::default() };
    let run = |options: &GenerateOptions| {
        let mut streamed = String::new();
        let generation = generate(&mut model.session(), &tokenizer, &prompt, options, |text| {
            streamed.push_str(text);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(generation.text, streamed);
        generation
    };
    let whole = run(&plain);
    println!("{}", whole.text);
    assert_eq!(whole.finish, Finish::MaxTokens);
    assert_eq!(whole.tokens.len(), 24);
    assert_eq!(whole.text, tokenizer.decode(&whole.tokens));
    let reference = Reference::open("ternary/bitnet").greedy;
    assert_eq!([prompt.as_slice(), &whole.tokens].concat(), reference[..prompt.len() + 24]);

    // A stop string from the middle of the text, which no single token is.
    let stop: String = whole.text.chars().skip(10).take(9).collect();
    let stopped = run(&GenerateOptions { stop: vec![stop.clone()], ..plain.clone() });
    assert_eq!(stopped.finish, Finish::Stop(stop.clone()));
    assert_eq!(Some(stopped.text.as_str()), whole.text.split(stop.as_str()).next());

    let mut pieces = 0;
    let cancelled = generate(&mut model.session(), &tokenizer, &prompt, &plain, |_| {
        pieces += 1;
        if pieces == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(cancelled.unwrap().finish, Finish::Cancelled);
}

#[test]
fn a_seed_draws_the_same_text() {
    let checkpoint = Checkpoint::open(&fixture("ternary/bitnet/model-tq2_0.gguf")).unwrap();
    let model = Model::load(&checkpoint, &LoadOptions::default()).unwrap();
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint).unwrap();
    let prompt = tokenizer.encode("import ", true).unwrap();
    let draw = |seed| {
        let sampling = SamplingOptions { seed, repetition_penalty: 1.1, ..SamplingOptions::default() };
        let options = GenerateOptions { sampling, max_tokens: 20, ..GenerateOptions::default() };
        generate(&mut model.session(), &tokenizer, &prompt, &options, |_| ControlFlow::Continue(()))
            .unwrap()
            .tokens
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
