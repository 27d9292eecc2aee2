//! `craftsman eval perplexity`: how well a model predicts a text.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use craftsman::eval::{Perplexity, PerplexityOptions, Scored, perplexity};
use craftsman::{Checkpoint, ErrorKind, ModelError, Tokenizer};
use serde::Serialize;

use super::{load, open, print, print_json};
use crate::cli::{Eval, EvalPerplexity, ScoredTokens, Shared};
use crate::failure::Failure;
use crate::progress;
use crate::table;

/// Longest text that is read: its tokens take some twenty times its size while it is encoded.
const MAX_TEXT: u64 = 256 << 20;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    text: String,
    perplexity: f64,
    /// The standard error: what llama.cpp prints behind `+/-`.
    uncertainty: Option<f64>,
    /// Where the perplexity lies with a probability of 95 %.
    interval: Option<[f64; 2]>,
    tokens: usize,
    windows: usize,
    window: usize,
    scored: ScoredTokens,
    /// The estimate after each window, as llama.cpp prints it.
    running: Vec<f64>,
    seconds: f64,
    threads: usize,
}

/// Does what the command line says.
pub fn run(action: &Eval, shared: &Shared) -> Result<(), Failure> {
    match action {
        Eval::Perplexity(arguments) => run_perplexity(arguments, shared),
    }
}

fn run_perplexity(arguments: &EvalPerplexity, shared: &Shared) -> Result<(), Failure> {
    let text = read_text(&arguments.text)?;
    let checkpoint = open(Some(&arguments.model), shared)?;
    let (tokens, begin) = encode(&text, &checkpoint)?;
    let model = load(&checkpoint, shared)?;
    let bar = progress::bar("perplexity", 0);
    let running = RefCell::new(Vec::new());
    let advance = |estimate: &Perplexity, windows: usize| {
        bar.set(estimate.windows as u64, windows as u64);
        bar.message(format!("perplexity {:.4}", estimate.value));
        running.borrow_mut().push(estimate.value);
    };
    let options = PerplexityOptions {
        window: arguments.window,
        scored: arguments.scored.into(),
        // The figure of a text that is scored whole is made of the text as it is.
        begin: begin.filter(|_| arguments.scored == ScoredTokens::SecondHalf),
        max_windows: arguments.max_windows,
        progress: Some(&advance),
    };
    let start = Instant::now();
    let found = perplexity(&model, &tokens, &options)?;
    let seconds = start.elapsed().as_secs_f64();
    drop(bar);
    let report = Report {
        model: checkpoint.path().display().to_string(),
        text: arguments.text.display().to_string(),
        perplexity: found.value,
        uncertainty: found.uncertainty,
        interval: found.interval(),
        tokens: found.tokens,
        windows: found.windows,
        window: arguments.window,
        scored: arguments.scored,
        running: running.take(),
        seconds,
        threads: model.threads(),
    };
    if shared.json { print_json(&report) } else { print(&shown(&report)) }
}

/// The text of a file, without the newline at its end, as llama.cpp reads it.
fn read_text(path: &Path) -> Result<String, ModelError> {
    let failed = |error| ModelError::io(path, error);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(failed)?;
    let refuse =
        |problem: String, remedy| Err(ModelError::new(ErrorKind::Input, problem, remedy).in_file(path));
    if bytes.len() as u64 > MAX_TEXT {
        return refuse(format!("is longer than {}", table::bytes(MAX_TEXT)), "cut it into several texts");
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    String::from_utf8(bytes).or_else(|error| {
        let at = error.utf8_error().valid_up_to();
        refuse(format!("is not UTF-8 at byte {at}"), "convert the text to UTF-8")
    })
}

/// The tokens of `text`, and the token that begins one.
fn encode(text: &str, checkpoint: &Checkpoint) -> Result<(Vec<u32>, Option<u32>), ModelError> {
    let _spinner = progress::spinner("encoding the text");
    let tokenizer = Tokenizer::from_checkpoint(checkpoint)?;
    let tokens = tokenizer.encode(text, tokenizer.add_bos())?;
    Ok((tokens, tokenizer.bos().filter(|_| tokenizer.add_bos())))
}

fn shown(report: &Report) -> String {
    let scored = match report.scored {
        ScoredTokens::SecondHalf => "the second half of each",
        ScoredTokens::All => "all but the first of each",
    };
    let uncertainty = report.uncertainty.map_or_else(String::new, |error| format!(" +/- {error:.5}"));
    let interval = report.interval.map_or_else(
        || "unknown".to_owned(),
        |[low, high]| format!("{low:.4} .. {high:.4}, with a probability of 95 %"),
    );
    format!(
        "perplexity  {:.4}{uncertainty}\n\
         interval    {interval}\n\
         scored      {} tokens: in {} windows of {} tokens, {scored}\n\
         speed       {:.1} tokens/s, {} threads",
        report.perplexity,
        report.tokens,
        report.windows,
        report.window,
        (report.windows * report.window) as f64 / report.seconds,
        report.threads,
    )
}

impl From<ScoredTokens> for Scored {
    fn from(scored: ScoredTokens) -> Self {
        match scored {
            ScoredTokens::SecondHalf => Self::SecondHalf,
            ScoredTokens::All => Self::AllButFirst,
        }
    }
}
