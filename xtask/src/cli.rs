//! The command line: what `--help` teaches.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Chores of the Craftsman project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The chores.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure, keep the history, find what got slower
    #[command(after_help = AFTER_HELP)]
    Bench {
        /// What to do.
        #[command(subcommand)]
        action: Action,
    },
    /// Compare fresh tiny models with Hugging Face transformers
    #[command(after_help = CROSSVAL_HELP)]
    Crossval(Crossval),
    /// Put random bytes through the parsers of files
    #[command(after_help = FUZZ_HELP)]
    Fuzz(Fuzz),
}

/// Fuzzing.
#[derive(Debug, Args)]
pub struct Fuzz {
    /// What to fuzz, if not everything
    pub targets: Vec<Target>,
    /// How long each, in seconds
    #[arg(long, default_value_t = 600)]
    pub seconds: u32,
}

/// What reads the bytes of strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// GGUF files
    Gguf,
    /// Safetensors files
    Safetensors,
    /// config.json
    Config,
    /// tokenizer.json
    Tokenizer,
    /// The templates of conversations
    #[value(name = "chat_template")]
    ChatTemplate,
}

impl Target {
    /// Its name in the folder `fuzz`.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

const FUZZ_HELP: &str = "\
Examples:
  cargo install cargo-fuzz
  cargo xtask fuzz                        every target for ten minutes
  cargo xtask fuzz gguf --seconds 60      one of them for a minute

Exits with 1 when a target ended before its time; an input that was found lies in fuzz/artifacts.";

/// Cross-validation.
#[derive(Debug, Args)]
pub struct Crossval {
    /// Python interpreter with torch, transformers and safetensors
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub python: PathBuf,
    /// Seed of weights and sizes
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

const CROSSVAL_HELP: &str = "\
Example:
  python3 -m venv ~/torch && ~/torch/bin/pip install torch transformers safetensors
  cargo xtask crossval --python ~/torch/bin/python --seed 7

Prints the largest difference of logits for each architecture, and exits with 1 when one is above the tolerance.";

const AFTER_HELP: &str = "\
Examples:
  cargo xtask bench run                   measure everything and append it to this machine's history
  cargo xtask bench run --only decode     only what has `decode` in its name
  cargo xtask bench compare               the latest run against the one before it
  cargo xtask bench compare 525e586       the latest run against all runs of a commit
  cargo xtask bench report                history plots and tables as one page
  cargo xtask bench growth                how cost grows with k, m, n, threads and the working set
  cargo xtask-peers bench models          whole models beside llama.cpp
  cargo xtask-peers bench run             the same beside llama.cpp's kernels (docs/performance.md says what it needs)

Every figure is a ratio to golden's code in the same process, taken in interleaved rounds: what slows the machine slows
both. A figure above another is better, always.

Exit codes:
  0  done, and `compare` found nothing slower
  1  a file or the machine is at fault
  2  the command line is at fault
  3  `compare` found something slower

CRAFTSMAN_MAX_ISA lowers the instruction set that is measured: portable, avx2, avxvnni, avx512, avx512vnni, amx.";

/// What to do with benchmarks.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Measure and append to the history
    Run(Run),
    /// Compare two runs; exit code 3 when something got slower beyond the spread
    Compare(Compare),
    /// Draw the history
    Report(Report),
    /// Measure how cost grows and write docs/growth.md with its plots
    Growth(Growth),
    /// Whole models of random weights beside llama.cpp; wants `cargo xtask-peers`
    Models(Models),
}

/// The arguments of `models`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask-peers bench models
  cargo xtask-peers bench models --only OLMoE --rounds 9 --json
  CRAFTSMAN_MAX_ISA=avx2 cargo xtask-peers bench models --only f16

Files of random weights, TQ2_0 with a head of F16 or Q6_K, are made once, up to 2.2 GB each, and loaded in both engines.
Tokens one by one and a prompt are timed in interleaved rounds, by the clock on the wall; a ratio above 1 says that
Craftsman is faster. Delete the folder of models to have them made again.")]
pub struct Models {
    /// Only models and heads with this in their name: 2B-4T, `OLMoE-1B-7B`, `f16`, `q6_k`, or `2B-4T f16`
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Threads of each engine
    #[arg(short, long, default_value = "2")]
    pub threads: NonZeroUsize,
    /// Tokens of the prompt
    #[arg(short, long, default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub prompt_tokens: u16,
    /// Rounds of prompts that count; of tokens one by one there are four times as many
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Folder of the models' files
    #[arg(long, value_name = "DIR", default_value = "target/bench-models")]
    pub files: PathBuf,
    /// Tiny models: checks the machinery in seconds and says nothing about speed
    #[arg(long)]
    pub short: bool,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where runs are kept.
#[derive(Debug, Args)]
pub struct History {
    /// Folder of histories, one file a kind of machine. Those worth keeping are in benches/history
    #[arg(long, value_name = "DIR", default_value = "target/bench-history")]
    pub history: PathBuf,
}

/// The arguments of `run`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line are independent of each other")]
pub struct Run {
    #[command(flatten)]
    pub history: History,
    /// Only regimes with this in their name, such as decode, prefill or emit
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Every configuration that the selector offers, not only the first of each family and backend
    #[arg(long)]
    pub all: bool,
    /// Rounds that count, at most [default: 40; 7 with --short]
    #[arg(long, value_parser = clap::value_parser!(u16).range(7..=1000))]
    pub rounds: Option<u16>,
    /// Tiny shapes: checks the machinery in seconds and says nothing about speed
    #[arg(long)]
    pub short: bool,
    /// Print the run as JSON
    #[arg(long)]
    pub json: bool,
    /// Make figures with TEXT in their name FACTOR times slower, to see that `compare` notices
    #[arg(long, value_name = "TEXT=FACTOR", value_parser = planted, hide = true)]
    pub plant_slowdown: Option<(String, f64)>,
}

/// The arguments of `compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
A run is named by its place (latest, previous, -2 for the third from the end) or by its commit's first characters; a commit
with several runs stands for all of them. A figure is slower when its whole middle half lies below the base's and its
median by more than --threshold.")]
pub struct Compare {
    #[command(flatten)]
    pub history: History,
    /// What to compare with
    #[arg(default_value = "previous", allow_negative_numbers = true)]
    pub base: String,
    /// What is compared
    #[arg(default_value = "latest", allow_negative_numbers = true)]
    pub new: String,
    /// Smallest change of a median that counts, in percent [default: 3; 25 where weights come from memory]
    #[arg(long, value_name = "PERCENT")]
    pub threshold: Option<f64>,
    /// Print the comparison as JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `report`.
#[derive(Debug, Args)]
pub struct Report {
    #[command(flatten)]
    pub history: History,
    /// The page to write: HTML with plots inside, or, when it ends in .md, the latest figures as Markdown
    #[arg(long, value_name = "FILE", default_value = "target/bench-report.html")]
    pub out: PathBuf,
}

/// The arguments of `growth`.
#[derive(Debug, Args)]
pub struct Growth {
    /// Folder of the page; its plots go to `plots` in it
    #[arg(long, value_name = "DIR", default_value = "docs")]
    pub out: PathBuf,
    /// Tiny shapes: checks the machinery in seconds and says nothing about speed
    #[arg(long)]
    pub short: bool,
}

fn planted(text: &str) -> Result<(String, f64), String> {
    let (name, factor) = text.split_once('=').ok_or("expected TEXT=FACTOR")?;
    let factor: f64 = factor.parse().map_err(|error| format!("{factor}: {error}"))?;
    if (1.0..=100.0).contains(&factor) { Ok((name.to_owned(), factor)) } else { Err("1 to 100".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
