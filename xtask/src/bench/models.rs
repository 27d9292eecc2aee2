//! `cargo xtask-peers bench models`: whole models beside llama.cpp, from one file.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use craftsman_benches::contest::Plan;
use craftsman_benches::peers::models::{Comparison, Engines};
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::roofline::Samples;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::cli;
use crate::failure::Failure;
use crate::terminal::{bar, print, table, three};

/// A row: what it is called, and the shape that `craftsman generate-model` makes of it.
type Row = (&'static str, &'static str);

/// The models. llama.cpp has no graph of 2B-4T's norms between and its relu^2: both engines run its sizes as a `llama`.
const FULL: &[Row] = &[("2B-4T", "2b-4t-llama"), ("OLMoE-1B-7B", "olmoe-1b-7b")];
/// The same machinery in seconds; its figures mean nothing.
const SHORT: &[Row] = &[("tiny llama", "llama-tiny"), ("tiny olmoe", "olmoe-tiny")];
/// How the head is stored; the first stands for what a file has anyway.
const HEADS: &[&str] = &["f16", "q6_k"];

/// Logits of engines that compute the same model correlate better than this.
const LEAST_AGREEMENT: f64 = 0.9;

/// One test of one model.
#[derive(Debug, Serialize)]
struct Figure {
    model: &'static str,
    head: &'static str,
    test: String,
    /// The correlation of both engines' logits.
    agreement: f64,
    /// Tokens a second.
    craftsman: Samples,
    /// Tokens a second.
    llama_cpp: Samples,
    /// How many times as fast as llama.cpp, within a round.
    ratio: Samples,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    processor: String,
    tier: String,
    threads: usize,
    short: bool,
    figures: Vec<Figure>,
}

/// Measures and prints.
pub fn run(arguments: &cli::Models) -> Result<ExitCode, Failure> {
    let caps = HardwareCaps::from_env().map_err(|error| Failure::Usage(error.to_string()))?;
    super::warn_of_unfair_peers(&caps);
    let rows = if arguments.short { SHORT } else { FULL };
    let mut cases: Vec<(Row, &'static str)> = Vec::new();
    for &row in rows {
        cases.extend(HEADS.iter().map(|&head| (row, head)));
    }
    cases.retain(|((name, _), head)| {
        arguments.only.as_ref().is_none_or(|text| format!("{name} {head}").contains(text))
    });
    if cases.is_empty() {
        return Err(Failure::Usage("--only: no model and head has that in its name".to_owned()));
    }
    let progress = bar(cases.len() * 2 * STEPS);
    let mut figures = Vec::new();
    for (row, head) in cases {
        figures.extend(measure(arguments, row, head, &progress)?);
    }
    progress.finish_and_clear();
    let report = Report {
        processor: caps.brand.trim().to_owned(),
        tier: caps.tier().to_string(),
        threads: arguments.threads.get(),
        short: arguments.short,
        figures,
    };
    show(&report, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Steps of the progress bar that a test takes.
const STEPS: usize = 100;

/// Both tests of one model.
fn measure(
    arguments: &cli::Models,
    (name, shape): Row,
    head: &'static str,
    progress: &ProgressBar,
) -> Result<Vec<Figure>, Failure> {
    progress.set_message(format!("{name}, {head}: loading"));
    let file = file(&arguments.files, shape, head)?;
    let broken = |error: &dyn std::fmt::Display| Failure::Broken(error.to_string());
    let prompt = usize::from(arguments.prompt_tokens);
    let mut engines = Engines::load(&file, prompt, arguments.threads).map_err(|error| broken(&error))?;
    let agreement = engines.agreement();
    if agreement < LEAST_AGREEMENT {
        eprintln!("warning: {name}, {head}: the engines' logits correlate by {agreement:.3} only");
    }
    let sample = Duration::from_millis(if arguments.short { 5 } else { 500 });
    let rounds = usize::from(arguments.rounds);
    let plan = Plan { rounds, sample, budget: Duration::from_hours(1) };
    let start = progress.position();
    let step = |offset: usize| {
        move |done: usize, all: usize| progress.set_position(start + (offset + done * STEPS / all) as u64)
    };
    let figure = |test: String, found: Option<Comparison>| {
        let Comparison { ours, theirs, ratio } = found?;
        Some(Figure { model: name, head, test, agreement, craftsman: ours, llama_cpp: theirs, ratio })
    };
    progress.set_message(format!("{name}, {head}: decode"));
    // A sample of it takes a tenth of a prompt's time.
    let decode = engines.decode(Plan { rounds: 4 * rounds, ..plan }, &mut step(0));
    progress.set_message(format!("{name}, {head}: prefill"));
    let prefill = engines.prefill(prompt, plan, &mut step(STEPS));
    let tests = [("decode".to_owned(), decode), (format!("prefill {prompt}"), prefill)];
    Ok(tests.into_iter().filter_map(|(test, found)| figure(test, found)).collect())
}

/// The model's file, which `craftsman generate-model` writes when it is not there: the same weights every time.
fn file(folder: &Path, shape: &str, head: &str) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(folder).map_err(Failure::file(folder))?;
    let path = folder.join(format!("{shape}-{head}.gguf"));
    if path.is_file() {
        return Ok(path);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--release", "--package", "craftsman", "--", "generate-model"]);
    command.args(["--shape", shape, "--format", "tq2_0", "--out"]).arg(&path);
    if head != HEADS[0] {
        command.args(["--head", head]);
    }
    let status = command.status().map_err(Failure::file(Path::new("cargo")))?;
    if status.success() { Ok(path) } else { Err(Failure::Broken(format!("{command:?}: {status}"))) }
}

fn show(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        let text =
            serde_json::to_string_pretty(report).map_err(|error| Failure::Broken(error.to_string()))?;
        return print(&text);
    }
    let header =
        ["model", "head", "test", "craftsman", "llama.cpp", "ratio", "middle half", "ends", "agreement"];
    let range = |low: f64, high: f64| format!("{} .. {}", three(low), three(high));
    // On a busy machine the fastest round says most about a quiet one.
    let rate = |rate: &Samples| format!("{} ({})", three(rate.median), three(rate.max));
    let rows = report.figures.iter().map(|figure| {
        let ratio = &figure.ratio;
        vec![
            figure.model.to_owned(),
            figure.head.to_owned(),
            figure.test.clone(),
            rate(&figure.craftsman),
            rate(&figure.llama_cpp),
            three(ratio.median),
            range(ratio.low, ratio.high),
            range(ratio.min, ratio.max),
            format!("{:.4}", figure.agreement),
        ]
    });
    let short =
        if report.short { "\nA short run: it checks the machinery, its figures mean nothing." } else { "" };
    print(&format!(
        "{}\n\nTokens a second: the median (the fastest round); {}, tier {}, {} threads.{short}",
        table(&header, 3, rows),
        report.processor,
        report.tier,
        report.threads
    ))
}
