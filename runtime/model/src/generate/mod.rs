//! Text from a session: sample, stream, stop.

mod answer;
mod draft;
mod stop;
mod tokens;

use std::ops::ControlFlow;
use std::time::Duration;

pub(crate) use answer::Answer;
pub use draft::{Drafter, LookupDrafter, ModelDrafter, MtpDrafter, Seen};
pub use tokens::Tokens;

use crate::ModelError;
use crate::sampler::SamplingOptions;
use crate::session::Session;
use crate::tokenizer::Tokenizer;

/// What to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// Strings that end the text and are not part of it.
    pub stop: Vec<String>,
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// Whether the model's end-of-text tokens are ignored.
    pub ignore_end: bool,
}

impl Default for GenerateOptions {
    /// 256 tokens with the sampler's defaults, until the model ends the text.
    fn default() -> Self {
        Self { sampling: SamplingOptions::default(), stop: Vec::new(), max_tokens: 256, ignore_end: false }
    }
}

/// A token that was drawn, and the text that is certain to be part of the answer since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub id: u32,
    /// Text; empty while a character is unfinished or a stop string may be coming.
    pub text: String,
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The model said so: it drew this token.
    EndToken(u32),
    /// This stop string came.
    Stop(String),
    /// The most tokens were generated.
    MaxTokens,
    /// The session's context is full.
    ContextFull,
    /// The receiver of the text asked for no more.
    Cancelled,
}

/// What was generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The text, without the prompt and without the stop string.
    pub text: String,
    /// The tokens drawn, an end token included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// How long it took.
    pub statistics: Statistics,
}

/// Counts and times of one generation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Statistics {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Time to process them.
    pub prompt_time: Duration,
    /// Tokens that were decoded after it: one fewer than were drawn, as the prompt gives the first.
    pub decoded_tokens: usize,
    /// Time to decode and sample them.
    pub decode_time: Duration,
    /// Tokens that a drafter proposed.
    pub drafted_tokens: usize,
    /// Those of them that were drawn.
    pub accepted_tokens: usize,
}

impl Statistics {
    /// Prompt tokens a second.
    pub fn prompt_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.prompt_time)
    }

    /// Decoded tokens a second.
    pub fn decode_rate(&self) -> f64 {
        rate(self.decoded_tokens, self.decode_time)
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Appends `prompt` to `session`, then draws tokens until something ends it. Each piece of text is handed to `receive`
/// as soon as it is certain to be part of the answer; `ControlFlow::Break` ends the generation. [`Tokens`] is the same as
/// an iterator, and can draft.
pub fn generate(
    session: &mut Session,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    options: &GenerateOptions,
    receive: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, ModelError> {
    Tokens::new(session, tokenizer, prompt, options)?.run(receive)
}
