//! `craftsman run`: text, as it comes.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use craftsman::{
    Drafter, Finish, GenerateOptions, Generation, KvOptions, KvPool, LoadOptions, LookupDrafter, Model,
    ModelDrafter, ModelError, MtpDrafter, SAMPLE_PROMPT, Sampler, Tokenizer, Tokens,
};
use serde::Serialize;

use super::{ExpertRow, KernelRow, kernel_rows, kernel_table, load, load_with, open, print_json};
use crate::cli::{Run, Shared};
use crate::failure::Failure;

/// Tokens generated when the command line does not say.
const DEFAULT_TOKENS: usize = 64;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    prompt: &'a str,
    text: &'a str,
    tokens: &'a [u32],
    finish: String,
    prompt_tokens: usize,
    prompt_tokens_per_second: f64,
    decoded_tokens: usize,
    decoded_tokens_per_second: f64,
    drafted_tokens: usize,
    accepted_tokens: usize,
    load_seconds: f64,
    threads: usize,
    experts: Option<ExpertRow>,
    kernels: Vec<KernelRow>,
}

/// Generates text and streams it.
pub fn run(arguments: &Run, shared: &Shared) -> Result<(), Failure> {
    let prompt = arguments.prompt.as_deref().unwrap_or(SAMPLE_PROMPT);
    // Options out of range are an error before anything is printed.
    Sampler::new(shared.sampling())?;
    let checkpoint = open(arguments.model.as_deref(), shared)?;
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint)?;
    let tokens = tokenizer.encode(prompt, tokenizer.add_bos())?;
    let draft = arguments.draft.as_deref().map(Draft::from);
    let predictor = matches!(draft, Some(Draft::Predictor));
    let model = load_with(&checkpoint, shared, LoadOptions { predictor, ..LoadOptions::default() })?;
    let options = GenerateOptions {
        sampling: shared.sampling(),
        stop: shared.stops(),
        max_tokens: shared.max_tokens.unwrap_or(DEFAULT_TOKENS),
        ignore_end: false,
    };
    let mut stream = Stream::new(shared.json);
    stream.write(prompt)?;
    let kv = KvOptions { kind: shared.kv, ..KvOptions::default() };
    let mut session = KvPool::new(&model, kv).session();
    let mut drawing = Tokens::new(&mut session, &tokenizer, &tokens, &options)?;
    if let Some(draft) = draft {
        drawing = drawing.draft_with(draft.drafter(&model, shared)?);
    }
    let generation = drawing.run(|piece| stream.pass_on(piece))?;
    stream.finish()?;
    if shared.json {
        return print_json(&report(prompt, &generation, &model));
    }
    if shared.verbose > 0 {
        explain(&generation, &model);
    }
    Ok(())
}

/// What guesses tokens.
enum Draft<'a> {
    Lookup,
    Predictor,
    Model(&'a Path),
}

impl<'a> From<&'a Path> for Draft<'a> {
    fn from(name: &'a Path) -> Self {
        match name.to_str() {
            Some("lookup") => Self::Lookup,
            Some("mtp") => Self::Predictor,
            _ => Self::Model(name),
        }
    }
}

impl Draft<'_> {
    fn drafter(self, model: &Arc<Model>, shared: &Shared) -> Result<Box<dyn Drafter>, ModelError> {
        Ok(match self {
            Self::Lookup => Box::new(LookupDrafter::default()),
            Self::Predictor => Box::new(MtpDrafter::new(model)?),
            Self::Model(path) => {
                let draft = load(&open(Some(path), shared)?, shared)?;
                Box::new(ModelDrafter::new(&draft, model)?)
            }
        })
    }
}

/// Standard output while text arrives.
pub(super) struct Stream {
    quiet: bool,
    failed: Option<io::Error>,
}

impl Stream {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, failed: None }
    }

    fn write(&self, piece: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(piece.as_bytes())?;
        out.flush()
    }

    /// Writes a piece; when nobody reads any more, generation ends.
    pub(super) fn pass_on(&mut self, piece: &str) -> ControlFlow<()> {
        match self.write(piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Ends the line; answers what went wrong while text arrived.
    pub(super) fn finish(self) -> io::Result<()> {
        let ended = self.write("\n");
        self.failed.map_or(ended, Err)
    }
}

fn report<'a>(prompt: &'a str, generation: &'a Generation, model: &Model) -> Report<'a> {
    let statistics = generation.statistics;
    Report {
        prompt,
        text: &generation.text,
        tokens: &generation.tokens,
        finish: describe(&generation.finish),
        prompt_tokens: statistics.prompt_tokens,
        prompt_tokens_per_second: statistics.prompt_rate(),
        decoded_tokens: statistics.decoded_tokens,
        decoded_tokens_per_second: statistics.decode_rate(),
        drafted_tokens: statistics.drafted_tokens,
        accepted_tokens: statistics.accepted_tokens,
        load_seconds: model.load_time().as_secs_f64(),
        threads: model.threads(),
        experts: model.expert_use().map(ExpertRow::from),
        kernels: kernel_rows(&model.kernels()),
    }
}

/// Rates and kernels, for `-v`.
fn explain(generation: &Generation, model: &Model) {
    let statistics = generation.statistics;
    eprintln!("\nended by   {}", describe(&generation.finish));
    eprintln!("prompt     {} tokens, {:.1} tokens/s", statistics.prompt_tokens, statistics.prompt_rate());
    eprintln!("generated  {} tokens, {:.1} tokens/s", generation.tokens.len(), statistics.decode_rate());
    if statistics.drafted_tokens > 0 {
        eprintln!("guessed    {} tokens, {} right", statistics.drafted_tokens, statistics.accepted_tokens);
    }
    eprintln!("loaded in  {:.3} s", model.load_time().as_secs_f64());
    if let Some(used) = model.expert_use() {
        eprintln!("experts    {}", ExpertRow::from(used));
    }
    eprintln!(
        "processor  {}, tier {}, {} threads\n",
        model.caps().brand.trim(),
        model.caps().tier(),
        model.threads()
    );
    eprintln!("{}", kernel_table(&kernel_rows(&model.kernels())));
}

pub(super) fn describe(finish: &Finish) -> String {
    match finish {
        Finish::EndToken(token) => format!("the end token {token}"),
        Finish::Stop(text) => format!("the stop string {text:?}"),
        Finish::MaxTokens => "the limit of tokens (--max-tokens)".to_string(),
        Finish::ContextFull => "a full context".to_string(),
        Finish::Cancelled => "the reader".to_string(),
    }
}
