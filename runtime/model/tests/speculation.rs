//! Guessing tokens changes how fast an answer comes, and nothing else.

mod support;

use std::sync::Arc;

use craftsman_model::container::Checkpoint;
use craftsman_model::tokenizer::Tokenizer;
use craftsman_model::{
    Drafter, ErrorKind, Finish, GenerateOptions, Generation, LoadOptions, LookupDrafter, Model, ModelDrafter,
    ModelError, SamplingOptions, Session, Tokens,
};
use proptest::prelude::*;
use support::fixture;

struct Subject {
    model: Arc<Model>,
    tokenizer: Tokenizer,
    prompt: Vec<u32>,
}

fn subject() -> Subject {
    let checkpoint = Checkpoint::open(&fixture("ternary/bitnet/model-i2_s.gguf")).unwrap();
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint).unwrap();
    let model = Model::load(&checkpoint, &LoadOptions::default()).unwrap();
    let prompt = tokenizer.encode("def __init__(self, name):\n        self.", true).unwrap();
    Subject { model, tokenizer, prompt }
}

impl Subject {
    /// What is generated and what the session has seen afterwards.
    fn run(&self, options: &GenerateOptions, drafter: Option<Box<dyn Drafter>>) -> (Generation, Session) {
        let mut session = self.model.session();
        let tokens = Tokens::new(&mut session, &self.tokenizer, &self.prompt, options).unwrap();
        let mut tokens = match drafter {
            Some(drafter) => tokens.draft_with(Boxed(drafter)),
            None => tokens,
        };
        let text: String = (&mut tokens).map(|token| token.unwrap().text).collect();
        let generation = tokens.into_generation();
        assert_eq!(generation.text, text);
        (generation, session)
    }

    fn same(&self, options: &GenerateOptions, drafter: Box<dyn Drafter>) -> Generation {
        let (plain, seen) = self.run(options, None);
        let (drafted, drafted_seen) = self.run(options, Some(drafter));
        assert_eq!((&drafted.tokens, &drafted.text), (&plain.tokens, &plain.text));
        assert_eq!(drafted.finish, plain.finish);
        assert_eq!(drafted_seen.tokens(), seen.tokens());
        drafted
    }
}

#[derive(Debug)]
struct Boxed(Box<dyn Drafter>);

impl Drafter for Boxed {
    fn propose(&mut self, tokens: &[u32], most: usize) -> Result<Vec<u32>, ModelError> {
        self.0.propose(tokens, most)
    }
}

fn options(temperature: f32, max_tokens: usize) -> GenerateOptions {
    let sampling = match temperature {
        0.0 => SamplingOptions::greedy(),
        temperature => {
            SamplingOptions { temperature, seed: 5, repetition_penalty: 1.1, ..SamplingOptions::default() }
        }
    };
    GenerateOptions { sampling, max_tokens, ..GenerateOptions::default() }
}

#[test]
fn looking_up_changes_nothing_and_guesses_right() {
    let subject = subject();
    for temperature in [0.0, 0.7] {
        let drafted = subject.same(&options(temperature, 60), Box::new(LookupDrafter::default()));
        let statistics = drafted.statistics;
        println!("{} of {} guesses were right", statistics.accepted_tokens, statistics.drafted_tokens);
        assert!(temperature > 0.0 || statistics.accepted_tokens > 0, "greedy text repeats itself");
    }
}

#[test]
fn a_model_guesses_itself_always_right() {
    let subject = subject();
    let drafter = || Box::new(ModelDrafter::new(&subject.model, &subject.model).unwrap());
    let drafted = subject.same(&options(0.0, 40), drafter());
    assert!(drafted.statistics.drafted_tokens > 20);
    assert_eq!(drafted.statistics.accepted_tokens, drafted.statistics.drafted_tokens);
    subject.same(&options(0.9, 40), drafter());
}

#[test]
fn a_draft_model_of_another_vocabulary_is_refused() {
    let other = support::load("arch/llama/model-f16.gguf");
    let error = ModelDrafter::new(&other, &subject().model).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
}

#[test]
fn ends_within_guesses_are_ends() {
    let subject = subject();
    let whole = subject.run(&options(0.0, 40), None).0;
    for cut in [4, 9, 13] {
        let stop: String = whole.text.chars().skip(cut).take(6).collect();
        let with_stop = GenerateOptions { stop: vec![stop.clone()], ..options(0.0, 40) };
        let drafter = ModelDrafter::new(&subject.model, &subject.model).unwrap();
        assert_eq!(subject.same(&with_stop, Box::new(drafter)).finish, Finish::Stop(stop));
    }
    for most in 0..6 {
        let drafter = ModelDrafter::new(&subject.model, &subject.model).unwrap();
        assert_eq!(subject.same(&options(0.0, most), Box::new(drafter)).finish, Finish::MaxTokens);
    }
}

#[test]
fn a_full_context_ends_guesses_too() {
    let checkpoint = Checkpoint::open(&fixture("ternary/bitnet/model-i2_s.gguf")).unwrap();
    let whole = subject();
    let context = Some(whole.prompt.len() + 10);
    let model = Model::load(&checkpoint, &LoadOptions { context, ..LoadOptions::default() }).unwrap();
    let subject = Subject { model, ..whole };
    let drafter = ModelDrafter::new(&subject.model, &subject.model).unwrap();
    let drafted = subject.same(&options(0.0, 40), Box::new(drafter));
    assert_eq!((drafted.finish, drafted.tokens.len()), (Finish::ContextFull, 11));
}

/// Guesses whatever it was given, more than was asked for and beyond any vocabulary among it.
#[derive(Debug)]
struct Wild(Vec<Vec<u32>>);

impl Drafter for Wild {
    fn propose(&mut self, _: &[u32], _: usize) -> Result<Vec<u32>, ModelError> {
        Ok(self.0.pop().unwrap_or_default())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn wild_guesses_change_nothing(
        guesses in prop::collection::vec(prop::collection::vec(prop_oneof![4 => 0_u32..300, 1 => any::<u32>()], 0..12), 0..20),
        temperature in prop_oneof![Just(0.0_f32), Just(0.8)],
    ) {
        subject().same(&options(temperature, 16), Box::new(Wild(guesses)));
    }
}
