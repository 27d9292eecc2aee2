//! Many generations at once.

mod support;

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use craftsman_model::container::Checkpoint;
use craftsman_model::tokenizer::Tokenizer;
use craftsman_model::{
    Engine, EngineOptions, ErrorKind, Finish, GenerateOptions, Generation, InferenceBackend, KvOptions,
    KvPool, LoadOptions, LookupDrafter, Model, Request, SamplingOptions, SessionId, TokenStream, Tokens,
};
use futures_core::Stream;
use support::fixture;

fn open(name: &str) -> (Arc<Model>, Arc<Tokenizer>) {
    let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
    let tokenizer = Arc::new(Tokenizer::from_checkpoint(&checkpoint).unwrap());
    (Model::load(&checkpoint, &LoadOptions::default()).unwrap(), tokenizer)
}

fn alone(model: &Arc<Model>, tokenizer: &Tokenizer, prompt: &[u32], options: &GenerateOptions) -> Generation {
    let mut session = model.session();
    let mut tokens = Tokens::new(&mut session, tokenizer, prompt, options).unwrap();
    (&mut tokens).for_each(|token| drop(token.unwrap()));
    tokens.into_generation()
}

fn options(seed: u64, max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        sampling: SamplingOptions { seed, ..SamplingOptions::default() },
        max_tokens,
        ignore_end: true,
        ..GenerateOptions::default()
    }
}

fn request(session: Option<SessionId>, prompt: &[u32], options: &GenerateOptions) -> Request {
    Request { session, options: options.clone(), ..Request::new(prompt.to_vec()) }
}

#[test]
fn conversations_go_on_from_what_was_seen() {
    let (model, tokenizer) = open("ternary/bitnet/model-i2_s.gguf");
    let engine = Engine::start(Arc::clone(&model), Arc::clone(&tokenizer), EngineOptions::default()).unwrap();
    let options = options(3, 12);
    let mut prompt = tokenizer.encode("import os\n\ndef main(", true).unwrap();
    let stream = engine.generate(request(None, &prompt, &options)).unwrap();
    let session = stream.session();
    let first = stream.wait().unwrap();
    assert_eq!(first.tokens, alone(&model, &tokenizer, &prompt, &options).tokens);

    prompt.extend(&first.tokens);
    prompt.extend(tokenizer.encode("\n    return 0\n", false).unwrap());
    let second = engine.generate(request(Some(session), &prompt, &options)).unwrap().wait().unwrap();
    assert_eq!(second.tokens, alone(&model, &tokenizer, &prompt, &options).tokens);
    assert!(second.statistics.prompt_tokens < 12, "{} computed again", second.statistics.prompt_tokens);

    let drafting =
        Request { drafter: Some(Box::new(LookupDrafter::default())), ..request(None, &prompt, &options) };
    assert_eq!(engine.generate(drafting).unwrap().wait().unwrap().tokens, second.tokens);

    engine.close(session).unwrap();
    let error = engine.generate(request(Some(session), &prompt, &options)).unwrap().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    let info = engine.info();
    assert_eq!((info.architecture.as_str(), info.vocab), ("bitnet-b1.58", model.config().vocab));
}

#[test]
fn bad_requests_fail_alone() {
    let (model, tokenizer) = open("arch/llama/model-f16.gguf");
    let engine = Engine::start(model, tokenizer, EngineOptions::default()).unwrap();
    let good: Vec<_> =
        (0..4).map(|seed| engine.generate(request(None, &[1, 2, 3], &options(seed, 20))).unwrap()).collect();
    let bad = |prompt: &[u32], options: &GenerateOptions| {
        engine.generate(request(None, prompt, options)).unwrap().wait().unwrap_err().kind()
    };
    assert_eq!(bad(&[], &options(0, 3)), ErrorKind::Input);
    assert_eq!(bad(&[1, u32::MAX], &options(0, 3)), ErrorKind::Input);
    assert_eq!(bad(&vec![1; 1 << 20], &options(0, 3)), ErrorKind::Input);
    let sampling = SamplingOptions { temperature: f32::NAN, ..SamplingOptions::default() };
    assert_eq!(bad(&[1], &GenerateOptions { sampling, ..options(0, 3) }), ErrorKind::Input);
    for stream in good {
        assert_eq!(stream.wait().unwrap().tokens.len(), 20);
    }
}

#[test]
fn a_stream_can_be_awaited() {
    let (model, tokenizer) = open("arch/qwen3_moe/model-f16.gguf");
    let engine = Engine::start(Arc::clone(&model), Arc::clone(&tokenizer), EngineOptions::default()).unwrap();
    let collect = |mut stream: TokenStream| async move {
        let mut tokens = Vec::new();
        while let Some(token) = poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await {
            tokens.push(token.unwrap().id);
        }
        assert_eq!(stream.generation().unwrap().tokens, tokens);
        tokens
    };
    let ask = |seed| engine.generate(request(None, &[5, 6, 7], &options(seed, 15))).unwrap();
    let (first, second) = (ask(1), ask(2));
    let (first, second) = pollster::block_on(async { (collect(first).await, collect(second).await) });
    assert_eq!(first, alone(&model, &tokenizer, &[5, 6, 7], &options(1, 15)).tokens);
    assert_eq!(second, alone(&model, &tokenizer, &[5, 6, 7], &options(2, 15)).tokens);
}

#[test]
fn dropping_the_engine_ends_what_is_under_way() {
    let (model, tokenizer) = open("arch/llama/model-f16.gguf");
    let context = model.context();
    let engine = Engine::start(model, tokenizer, EngineOptions::default()).unwrap();
    let stream = engine.generate(request(None, &[1], &options(0, context))).unwrap();
    drop(engine);
    // All came before the end, or the stream says that there will be no more.
    assert!(
        stream
            .wait()
            .map_or_else(|error| error.to_string().contains("stopped"), |all| !all.tokens.is_empty())
    );
}

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A conversation of two turns, and what it is to answer.
struct Case {
    prompts: [Vec<u32>; 2],
    options: GenerateOptions,
    answers: [Vec<u32>; 2],
}

fn cases(model: &Arc<Model>, tokenizer: &Tokenizer, count: u64) -> Vec<Case> {
    let mut random = Random(7);
    let case = |seed| {
        let options = options(seed, 6 + random.below(10));
        // Beginnings that some share.
        let mut first: Vec<u32> = (0..70).map(|i| 3 + i % 5 + random.0 as u32 % 2).collect();
        first.truncate(8 + random.below(60));
        first.push(random.below(500) as u32);
        let answer = alone(model, tokenizer, &first, &options).tokens;
        let second: Vec<u32> = first.iter().chain(&answer).copied().chain([9, 8, 7]).collect();
        let then = alone(model, tokenizer, &second, &options).tokens;
        Case { prompts: [first, second], options, answers: [answer, then] }
    };
    (0..count).map(case).collect()
}

/// A thousand sessions, a few dozen at a time, some of which lose interest: under a budget of memory that a dozen fill.
#[test]
fn a_thousand_sessions_never_see_each_other() {
    let (model, tokenizer) = open("arch/qwen3_moe/model-f16.gguf");
    let cases = cases(&model, &tokenizer, 40);
    let budget = KvPool::new(&model, KvOptions::default()).bytes_for(64 * 12);
    let kv = KvOptions { budget: Some(budget), share_prefixes: true, ..KvOptions::default() };
    let options = EngineOptions { kv, most_running: 12, prompt_chunk: 32, most_sessions: 200 };
    let engine = Engine::start(Arc::clone(&model), tokenizer, options).unwrap();
    let mut random = Random(1);
    let mut open: HashMap<usize, (usize, usize, TokenStream)> = HashMap::new();
    let (mut begun, mut finished, mut cancelled) = (0, 0, 0);
    while begun < 1000 || !open.is_empty() {
        if begun < 1000 && open.len() < 30 {
            let case = random.below(cases.len());
            let Case { prompts, options, .. } = &cases[case];
            open.insert(begun, (case, 0, engine.generate(request(None, &prompts[0], options)).unwrap()));
            begun += 1;
            continue;
        }
        let keys: Vec<usize> = open.keys().copied().collect();
        let key = keys[random.below(keys.len())];
        let (case, turn, mut stream) = open.remove(&key).unwrap();
        let expected = &cases[case].answers[turn];
        assert!(engine.usage().kv_bytes <= budget);
        if random.below(4) == 0 {
            let some: Vec<u32> =
                stream.by_ref().take(random.below(5)).map(|token| token.unwrap().id).collect();
            assert_eq!(some, expected[..some.len()]);
            cancelled += 1;
            continue;
        }
        let session = stream.session();
        let generation = stream.wait().unwrap();
        assert_eq!(
            (&generation.tokens, generation.finish),
            (expected, Finish::MaxTokens),
            "case {case}, turn {turn}"
        );
        finished += 1;
        if turn == 0 && random.below(2) == 0 {
            let Case { prompts, options, .. } = &cases[case];
            open.insert(
                key,
                (case, 1, engine.generate(request(Some(session), &prompts[1], options)).unwrap()),
            );
        } else {
            engine.close(session).unwrap();
        }
    }
    // The last request tells that all cancels before it were seen.
    engine.generate(request(None, &[1], &cases[0].options)).unwrap().wait().unwrap();
    let usage = engine.usage();
    println!(
        "{finished} answers, {cancelled} cancelled, {} times memory given back, {usage:?}",
        usage.released
    );
    assert!(usage.released > 100 && usage.sessions <= 200 && finished > 700 && cancelled > 100);
}

#[test]
fn closed_sessions_leave_nothing_behind() {
    let (model, tokenizer) = open("arch/qwen3_moe/model-f16.gguf");
    let engine = Engine::start(
        model,
        tokenizer,
        EngineOptions { kv: KvOptions::default(), ..EngineOptions::default() },
    )
    .unwrap();
    for seed in 0..20 {
        let stream = engine.generate(request(None, &[1, 2, 3], &options(seed, 5))).unwrap();
        let session = stream.session();
        stream.wait().unwrap();
        engine.close(session).unwrap();
    }
    // Commands are obeyed in order: an answer to the last means that all before it were.
    engine.generate(request(Some(SessionId(u64::MAX)), &[1], &options(0, 1))).unwrap().wait().unwrap_err();
    assert_eq!((engine.usage().kv_bytes, engine.usage().sessions), (0, 0));
}
