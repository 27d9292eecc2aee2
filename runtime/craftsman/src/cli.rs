//! The command line: what `--help` teaches.

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use craftsman::container::{I2sRule, Sha256};
use craftsman::{KvKind, QuantKind, SamplingOptions};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// Run ternary language models on kernels emitted for this processor.
#[derive(Debug, Parser)]
#[command(name = "craftsman", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub shared: Shared,
}

const AFTER_HELP: &str = "\
Examples:
  craftsman run                                        generate from the small model carried in this program
  craftsman run model.gguf \"Once upon a time\" -n 200
  craftsman run ./model-folder --temperature 0.8 --seed 7 -v
  craftsman chat model.gguf                            talk with a model
  craftsman inspect model.gguf                         what is in the file, and which kernels would run it
  craftsman inspect moe.gguf --experts \"Once\" --out experts.svg
  craftsman logits model.gguf --tokens 1,2,3 --out logits.safetensors
  craftsman bench model.gguf --threads 2 --json
  craftsman convert model-i2_s.gguf model-tq2_0.gguf --type tq2_0
  craftsman quantize model-f16.gguf model.gguf --type tq2_0 --calibrate text.txt
  craftsman eval perplexity model.gguf text.txt        how well a model predicts a text

MODEL is a GGUF file (of a model in shards any of them), or a Hugging Face folder with config.json
and *.safetensors; or the name of one: NAME, NAME.gguf or a folder NAME in ./models; a repository
ORG/NAME[@REVISION][:FILE] in Hugging Face's cache; either of them in craftsman/models in the
user's cache folder. The first found is taken.

Environment:
  CRAFTSMAN_MODEL     MODEL where none is given, instead of the carried model
  HF_HUB_CACHE        Hugging Face's cache [default: hub in HF_HOME, or in ~/.cache/huggingface]
  CRAFTSMAN_MAX_ISA   highest instruction set to use: portable, avx2, avxvnni, avx512, avx512vnni, amx
  CRAFTSMAN_LOG       log filter, such as debug or craftsman_kernelgen=debug; overrides -v

Exit codes:
  0  done
  1  the model, a file or the machine is at fault
  2  the command line is at fault";

/// The type of a head, by name.
fn head(name: &str) -> Result<&'static QuantKind, String> {
    QuantKind::by_name(&name.to_ascii_uppercase()).ok_or_else(|| "one of q8_0, q6_k, q4_k".to_owned())
}

/// How a cache is kept, by name.
fn kv(name: &str) -> Result<KvKind, String> {
    KvKind::by_name(&name.to_ascii_lowercase()).ok_or_else(|| "one of f32, f16, q8_0".to_owned())
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate text
    Run(Run),
    /// Talk with a model
    Chat(Chat),
    /// Show what a model holds and which kernels would run it
    Inspect(Inspect),
    /// Write the logits of every position, to compare with another engine
    Logits(Logits),
    /// Measure prefill and decode speed beside what the machine can do
    Bench(Bench),
    /// Write a model again with weights of another type
    Convert(Convert),
    /// Judge a model
    Eval {
        /// By what.
        #[command(subcommand)]
        action: Eval,
    },
    /// Make a full-precision model ternary
    Quantize(Quantize),
    /// Write a model of random weights, for measuring speed only
    #[command(hide = true)]
    GenerateModel(GenerateModel),
}

/// The arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  craftsman run
  craftsman run model.gguf \"def fibonacci(n):\" -n 100 --stop \"\\n\\n\"
  craftsman run model.gguf \"Once\" --temperature 0.8 --top-p 0.9 --seed 7
  craftsman run model.gguf \"Once\" --json | jq .text
  craftsman run model.gguf \"def f(x):\" -n 200 --draft lookup

The text goes to standard output, everything else to standard error. By default the likeliest token is always taken,
so that the same command prints the same text, on every machine.")]
pub struct Run {
    /// GGUF file, Hugging Face folder or name of one [default: `CRAFTSMAN_MODEL`, or the small model carried in this program]
    pub model: Option<PathBuf>,
    /// Text to continue [default: the beginning of a Python method]
    pub prompt: Option<String>,
    /// Guess tokens, so that a pass may give several: `lookup` (from the text itself), `mtp` (by the model's own predictor),
    /// or a smaller model of the same vocabulary; the text stays the same
    #[arg(long, value_name = "lookup|mtp|MODEL")]
    pub draft: Option<PathBuf>,
}

/// The arguments of `chat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  craftsman chat model.gguf
  craftsman chat model.gguf --system \"Answer in one sentence.\" --temperature 0.7
  echo \"What is a ternary weight?\" | craftsman chat model.gguf -n 100

Every line of standard input is a message, and answered; /reset begins anew, /exit ends. The conversation is written as
the model's own chat template has it; what a message says cannot end a turn or begin another's. Only what is new is
read by the model. With --json every answer is an object in a line of its own.")]
pub struct Chat {
    /// GGUF file, Hugging Face folder or name of one [default: `CRAFTSMAN_MODEL`]
    pub model: Option<PathBuf>,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
}

/// The arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  craftsman inspect model.gguf
  craftsman inspect model.gguf --json | jq '.tensors[].name'
  CRAFTSMAN_MAX_ISA=portable craftsman inspect model.gguf
  craftsman inspect model.gguf --keys > keys && kernelgen tune --model keys
  craftsman inspect model.gguf --digest                what --sha256 pins
  craftsman inspect moe.gguf --experts \"def fibonacci(n):\" -n 32 --out experts.svg

The digest of a model in one file is the file's SHA-256. That of a model in several, all shards or all files of the
folder, is the SHA-256 of their list: `cd FOLDER; export LC_ALL=C; sha256sum * | sha256sum`.

With --experts the prompt is run, and the -n tokens after it [default: 0], and for every layer it is said how evenly its
router spread them over the experts: the busiest expert's share of all choices, the entropy of the shares by that of an
even spread (1 is even), the standard deviation of the loads by their mean (0 is even), the balance loss of Switch
Transformers (1 is even), and how many experts nothing was routed to.")]
pub struct Inspect {
    /// GGUF file, Hugging Face folder or name of one [default: `CRAFTSMAN_MODEL`, or the small model carried in this program]
    pub model: Option<PathBuf>,
    /// Only the keys of the kernels that the model needs, one a line, for `kernelgen tune --model`
    #[arg(long)]
    pub keys: bool,
    /// Only the SHA-256 of the model, for `--sha256`, and of its files
    #[arg(long, conflicts_with = "keys")]
    pub digest: bool,
    /// Run this text and show which experts its tokens are routed to
    #[arg(long, value_name = "PROMPT", conflicts_with = "keys")]
    pub experts: Option<String>,
    /// Draw the experts' shares, a row a layer, to this SVG file
    #[arg(long, value_name = "FILE.svg", requires = "experts")]
    pub out: Option<PathBuf>,
}

/// The arguments of `logits`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  craftsman logits model.gguf --tokens 1,2,3 --out logits.safetensors
  craftsman logits model.gguf --text \"Once upon\" --out logits.safetensors

The file holds `logits`, float32 [n, vocabulary], and `tokens`, int32 [n]. It appears complete or not at all.")]
pub struct Logits {
    /// GGUF file, Hugging Face folder or name of one
    pub model: PathBuf,
    /// Token ids, separated by commas; used as they are, with no begin token added
    #[arg(long, value_delimiter = ',', required_unless_present = "text", conflicts_with = "text")]
    pub tokens: Vec<u32>,
    /// Text to tokenise instead
    #[arg(long)]
    pub text: Option<String>,
    /// Safetensors file to write
    #[arg(long)]
    pub out: PathBuf,
}

/// The arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  craftsman bench
  craftsman bench model.gguf -p 512 -n 128 --threads 2
  craftsman bench model.gguf -p 0 -n 64 --json
  craftsman bench model.gguf -p 0 -n 64 --sessions 8

pp N is the rate of one prompt of N tokens, tg N that of N tokens generated one by one from an empty context: the tests
of llama-bench; tg N x S generates in S sessions at once, and counts the tokens of all. Rates are medians over the repetitions, with the slowest and fastest beside them.")]
pub struct Bench {
    /// GGUF file, Hugging Face folder or name of one [default: `CRAFTSMAN_MODEL`, or the small model carried in this program]
    pub model: Option<PathBuf>,
    /// Tokens of the prompt; 0 skips this test
    #[arg(short, long, default_value_t = 512)]
    pub prompt_tokens: usize,
    /// Sessions that also generate at once
    #[arg(long, default_value = "1")]
    pub sessions: NonZeroUsize,
    /// How often each test is repeated, after one run that is not counted
    #[arg(short, long, default_value = "5")]
    pub repetitions: NonZeroUsize,
}

/// The arguments of `convert`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  craftsman convert model-i2_s.gguf model-tq2_0.gguf --type tq2_0
  craftsman convert ./model-folder model.gguf --type i2_s
  craftsman convert model-tq1_0.gguf model-f16.gguf --type f16

Types: f32, f16, bf16, q8_0, q6_k, q4_k, tq1_0, tq2_0, i2_s, q2_0, bitnet_t158.

Between ternary types nothing is lost: trits and scales come out as they were, and what a type cannot hold is refused.
To a ternary type go only tensors that are ternary, or ternary ones written out as numbers; to a type of numbers go all
but norms and routers, which keep their precision. The file appears complete or not at all.")]
pub struct Convert {
    /// GGUF file, Hugging Face folder or name of one to read
    #[arg(value_name = "IN")]
    pub model: PathBuf,
    /// GGUF file to write
    pub out: PathBuf,
    /// Type of the weights in the new file
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: String,
    /// Round scales to what the type stores (f16; f32 in I2_S) instead of refusing those that would change
    #[arg(long)]
    pub round_scales: bool,
}

/// The judgements.
#[derive(Debug, Subcommand)]
pub enum Eval {
    /// How well a model predicts a text: the perplexity that llama.cpp's llama-perplexity computes
    Perplexity(EvalPerplexity),
}

/// The arguments of `eval perplexity`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  craftsman eval perplexity model.gguf wiki.test.raw
  craftsman eval perplexity model.gguf wiki.test.raw --window 2048 --max-windows 20
  craftsman eval perplexity model.gguf wiki.test.raw --head q6_k --json | jq .perplexity

The text is cut into windows, each a context of its own, and the tokens in the second half of
each window are scored, with the begin token in place of each window's first where the model
wants one: figures compare with those of `llama-perplexity -f TEXT -c WINDOW`. `--scored all`
scores all tokens of a window but its first, and reads the text as it is. Behind +/- stands the
standard error, were tokens independent of each other.")]
pub struct EvalPerplexity {
    /// GGUF file, Hugging Face folder or name of one
    pub model: PathBuf,
    /// Text file, in UTF-8
    pub text: PathBuf,
    /// Tokens of a window
    #[arg(long, default_value_t = 512, value_name = "TOKENS")]
    pub window: usize,
    /// Windows to read, if fewer than the text has
    #[arg(long, value_name = "COUNT")]
    pub max_windows: Option<usize>,
    /// Which tokens of a window count
    #[arg(long, value_enum, default_value_t = ScoredTokens::SecondHalf)]
    pub scored: ScoredTokens,
}

/// Which tokens of a window count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScoredTokens {
    /// Those of the second half but for its first, as llama.cpp does it
    SecondHalf,
    /// All but the first
    All,
}

/// The arguments of `quantize`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  craftsman quantize ./model-folder model.gguf --type tq2_0 --calibrate text.txt
  craftsman quantize model-f16.gguf model.gguf --type i2_s
  craftsman quantize model-f16.gguf model.gguf --type tq1_0 --reach row --keep 'blk.0.*' --keep '*.attn_v.weight'

Types: tq1_0, tq2_0, i2_s, q2_0, bitnet_t158.

The projections of the blocks become ternary, experts among them; routers, norms, embeddings and the head
keep their type. Without --calibrate a scale is the mean magnitude of its weights (absmean). With it the
text goes through the model block by block, and scales and trits are chosen so that what the projections
answer changes least: slower, and much nearer to the model. The table says of each tensor how large the
errors are: 0 is none, 1 as large as what was there. The file appears complete or not at all.")]
pub struct Quantize {
    /// GGUF file or Hugging Face folder to read
    #[arg(value_name = "IN")]
    pub model: PathBuf,
    /// GGUF file to write
    pub out: PathBuf,
    /// Ternary type of the new file
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: String,
    /// How far a scale reaches: the finest that the type allows, a row, or the whole tensor
    #[arg(long, value_enum, default_value_t = Reach::Finest)]
    pub reach: Reach,
    /// Text to fit the trits to: of the kind that the model is for
    #[arg(long, value_name = "TEXT")]
    pub calibrate: Option<PathBuf>,
    /// The most tokens of the text that are used
    #[arg(long, value_name = "N", default_value_t = 8192, requires = "calibrate")]
    pub tokens: usize,
    /// Keep tensors whose name fits this pattern, with * for any characters; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub keep: Vec<String>,
}

/// How far a scale reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reach {
    /// A block, or the whole tensor, as the type has it
    Finest,
    /// A row
    Row,
    /// The whole tensor
    Tensor,
}

/// The arguments of `generate-model`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  craftsman generate-model --shape olmoe-1b-7b --format tq2_0 --head q6_k --out olmoe.gguf

`--head` says how the head is stored [default: f16].")]
pub struct GenerateModel {
    /// Which model's shape to imitate
    #[arg(long)]
    pub shape: String,
    /// How ternary weights are stored
    #[arg(long, default_value = "i2_s")]
    pub format: String,
    /// GGUF file to write
    #[arg(long)]
    pub out: PathBuf,
}

/// The options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Shared {
    /// Threads to compute with [default: the physical cores this process may use]
    #[arg(short, long, global = true)]
    pub threads: Option<NonZeroUsize>,
    /// What to round the head to: `q8_0`, `q6_k` or `q4_k`; fewer bits are faster and change the text a little [default: as the
    /// file has it]
    #[arg(long, global = true, value_name = "TYPE", value_parser = head)]
    pub head: Option<&'static QuantKind>,
    /// How the key/value cache is kept: f32, f16 or `q8_0`; fewer bits take less memory and change the text a little
    #[arg(long, global = true, value_name = "TYPE", value_parser = kv, default_value_t = KvKind::F32)]
    pub kv: KvKind,
    /// Tokens to generate [default: 64; of bench: 128; of chat: as many as the context has room for]
    #[arg(short = 'n', long, global = true)]
    pub max_tokens: Option<usize>,
    /// Start of the random stream
    #[arg(long, global = true, default_value_t = 0)]
    pub seed: u64,
    /// 0 takes the likeliest token always; 1 draws from the model's own probabilities
    #[arg(long, global = true, default_value_t = 0.0)]
    pub temperature: f32,
    /// Draw among the K likeliest tokens; 0 is off
    #[arg(long, global = true, default_value_t = SamplingOptions::default().top_k, value_name = "K")]
    pub top_k: usize,
    /// Draw among the fewest tokens whose probabilities reach P together; 1 is off
    #[arg(long, global = true, default_value_t = SamplingOptions::default().top_p, value_name = "P")]
    pub top_p: f32,
    /// Draw among tokens at least P times as likely as the likeliest; 0 is off
    #[arg(long, global = true, default_value_t = SamplingOptions::default().min_p, value_name = "P")]
    pub min_p: f32,
    /// Make recent tokens less likely; 1 is off
    #[arg(long, global = true, default_value_t = 1.0, value_name = "PENALTY")]
    pub repetition_penalty: f32,
    /// Stop before this text; may be given several times; \n and \t are understood
    #[arg(long, global = true, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Read I2_S weights by the rule of files made on Arm since November 2025
    #[arg(long, global = true)]
    pub i2s_arm: bool,
    /// Refuse the model unless this is its digest, as `craftsman inspect MODEL --digest` prints it
    #[arg(long, global = true, value_name = "HEX")]
    pub sha256: Option<Sha256>,
    /// Pack all experts at once, instead of each when a token is first routed to it
    #[arg(long, global = true)]
    pub resident: bool,
    /// Write JSON for a program to read
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more: rates and kernels (-v), decisions (-vv), everything (-vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Shared {
    /// The sampling options as the library takes them.
    pub fn sampling(&self) -> SamplingOptions {
        SamplingOptions {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            ..SamplingOptions::default()
        }
    }

    /// How the I2_S weights of the model are read.
    pub fn i2s_rule(&self) -> I2sRule {
        if self.i2s_arm { I2sRule::Arm } else { I2sRule::Official }
    }

    /// The stop strings, with `\n` and `\t` read as a shell user means them.
    pub fn stops(&self) -> Vec<String> {
        self.stop.iter().map(|stop| stop.replace("\\n", "\n").replace("\\t", "\t")).collect()
    }

    /// Sends the log to standard error, as loud as `-v` or `CRAFTSMAN_LOG` says.
    pub fn start_log(&self) {
        let level = match self.verbose {
            0 | 1 => "warn",
            2 => "info",
            _ => "debug",
        };
        let filter = EnvFilter::try_from_env("CRAFTSMAN_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .without_time()
            .init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shared_options_stand_before_and_after_the_command() {
        for line in [["craftsman", "--seed", "7", "run"], ["craftsman", "run", "--seed", "7"]] {
            assert_eq!(Cli::parse_from(line).shared.sampling().seed, 7);
        }
    }
}
