//! Guessing tokens changes how fast an answer comes, and nothing else.

mod support;

use std::sync::Arc;

use craftsman_model::container::{Checkpoint, Gguf, GgufWriter, Matrix, TensorData, TensorType};
use craftsman_model::tokenizer::Tokenizer;
use craftsman_model::{
    Drafter, ErrorKind, Finish, GenerateOptions, Generation, LoadOptions, LookupDrafter, Model, ModelDrafter,
    ModelError, MtpDrafter, SamplingOptions, Seen, Session, Tokens,
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
            Some(drafter) => tokens.draft_with(drafter),
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

/// GLM's architecture with a predictor whose block adds nothing, behind layers that add nothing: a token is followed by the
/// token most like it. `half` says what the predictor passes on: the next token's vector (0) or the last state (1).
fn predicting(half: usize) -> Subject {
    let path = fixture("arch/glm4_moe_lite/model-f16.gguf");
    let gguf = Gguf::open(&path).unwrap();
    let hidden = 64;
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let checkpoint = Checkpoint::open(&path).unwrap();
    for tensor in gguf.tensors() {
        let count: usize = tensor.shape().iter().product();
        let silent = ["attn_output", "ffn_down", "ffn_down_exps", "ffn_down_shexp"];
        let mut values = match tensor.shape().len() {
            1 => checkpoint.vector(tensor.name()).unwrap(),
            2 => checkpoint.matrix(tensor.name()).unwrap().to_f32(),
            _ => checkpoint.experts(tensor.name()).unwrap().iter().flat_map(Matrix::to_f32).collect(),
        };
        assert_eq!(values.len(), count);
        if silent.iter().any(|part| tensor.name().contains(&format!(".{part}."))) {
            values.fill(0.0);
        }
        if tensor.name().starts_with("blk.2.") {
            tensors.push((
                tensor.name().replace("blk.2.", "blk.3."),
                tensor.shape().to_vec(),
                values.clone(),
            ));
        }
        tensors.push((tensor.name().to_owned(), tensor.shape().to_vec(), values));
    }
    let join: Vec<f32> = (0..hidden)
        .flat_map(|row| (0..2 * hidden).map(move |column| f32::from(u8::from(column == row + half * hidden))))
        .collect();
    tensors.push(("blk.3.nextn.eh_proj.weight".into(), vec![hidden, 2 * hidden], join));
    let norm = tensors.iter().find(|tensor| tensor.0 == "output_norm.weight").unwrap().2.clone();
    for (part, values) in
        [("enorm", vec![1.0; hidden]), ("hnorm", vec![1.0; hidden]), ("shared_head_norm", norm)]
    {
        tensors.push((format!("blk.3.nextn.{part}.weight"), vec![hidden], values));
    }
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, value.clone());
    }
    for ((name, shape, _), bytes) in tensors.iter().zip(&bytes) {
        writer = writer.tensor(name, shape, TensorType::F32, TensorData::Bytes(bytes));
    }
    let gguf = Gguf::from_bytes("predicting.gguf", writer.into_bytes().unwrap()).unwrap();
    let checkpoint = Checkpoint::from_gguf(gguf).unwrap();
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint).unwrap();
    let model = Model::load(&checkpoint, &LoadOptions { predictor: true, ..LoadOptions::default() }).unwrap();
    assert!(model.has_predictor());
    Subject { model, tokenizer, prompt: (0..150).map(|i| (i * 37 + 5) % 500).collect() }
}

#[test]
fn a_predictor_sees_the_state_and_the_token_after_it() {
    let options = GenerateOptions { ignore_end: true, ..options(0.4, 60) };
    let right = |half| {
        let subject = predicting(half);
        let drafter = MtpDrafter::new(&subject.model).unwrap();
        let statistics = subject.same(&options, Box::new(drafter)).statistics;
        println!("half {half}: {} of {}", statistics.accepted_tokens, statistics.drafted_tokens);
        statistics.accepted_tokens as f64 / statistics.drafted_tokens as f64
    };
    // Its token follows the next token as the model's own does; the state alone says one token too early.
    assert!(right(0) > right(1) + 0.1);
}

#[test]
fn a_model_without_a_predictor_says_so() {
    assert_eq!(MtpDrafter::new(&subject().model).unwrap_err().kind(), ErrorKind::Missing);
}

/// Guesses whatever it was given, more than was asked for and beyond any vocabulary among it.
#[derive(Debug)]
struct Wild(Vec<Vec<u32>>);

impl Drafter for Wild {
    fn propose(&mut self, _: &Seen<'_>, _: usize) -> Result<Vec<u32>, ModelError> {
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
