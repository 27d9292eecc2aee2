//! Text from a session: sample, stream, stop.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::ModelError;
use crate::sampler::{Sampler, SamplingOptions};
use crate::session::Session;
use crate::stop::StopFilter;
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
#[derive(Debug, Clone)]
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
    /// Tokens that were decoded one by one after it: one fewer than were drawn, as the prompt gives the first.
    pub decoded_tokens: usize,
    /// Time to decode and sample them.
    pub decode_time: Duration,
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
/// as soon as it is certain to be part of the answer; `ControlFlow::Break` ends the generation.
pub fn generate(
    session: &mut Session,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    options: &GenerateOptions,
    receive: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, ModelError> {
    let mut sampler = Sampler::new(options.sampling)?;
    for &token in prompt {
        sampler.accept(token);
    }
    let start = Instant::now();
    session.prefill(prompt)?;
    let mut run = Run {
        session,
        tokenizer,
        options,
        sampler,
        receive,
        tokens: Vec::new(),
        text: String::new(),
        ends: if options.ignore_end { Vec::new() } else { tokenizer.ends() },
        stop: StopFilter::new(&options.stop),
    };
    let prompt_time = start.elapsed();
    let start = Instant::now();
    let finish = run.draw_all()?;
    let (tokens, text) = (run.tokens, run.text);
    let decoded_tokens = tokens.len().saturating_sub(1);
    let statistics =
        Statistics { prompt_tokens: prompt.len(), prompt_time, decoded_tokens, decode_time: start.elapsed() };
    tracing::info!(
        name: "InferenceCompleted",
        prompt_tokens = statistics.prompt_tokens,
        prompt_rate = statistics.prompt_rate(),
        tokens = tokens.len(),
        decode_rate = statistics.decode_rate(),
        finish = ?finish,
    );
    Ok(Generation { text, tokens, finish, statistics })
}

struct Run<'a, F> {
    session: &'a mut Session,
    tokenizer: &'a Tokenizer,
    options: &'a GenerateOptions,
    sampler: Sampler,
    receive: F,
    tokens: Vec<u32>,
    text: String,
    ends: Vec<u32>,
    stop: StopFilter,
}

impl<F: FnMut(&str) -> ControlFlow<()>> Run<'_, F> {
    fn draw_all(&mut self) -> Result<Finish, ModelError> {
        let mut decoder = self.tokenizer.stream();
        let finish = loop {
            if self.tokens.len() >= self.options.max_tokens {
                break Finish::MaxTokens;
            }
            let token = self.sampler.sample(self.session.logits());
            self.sampler.accept(token);
            self.tokens.push(token);
            if self.ends.contains(&token) {
                break Finish::EndToken(token);
            }
            let piece = decoder.push(token);
            if let Some(finish) = self.pass_on(&piece) {
                return Ok(finish);
            }
            if self.tokens.len() < self.options.max_tokens {
                if self.session.remaining() == 0 {
                    break Finish::ContextFull;
                }
                self.session.decode(token)?;
            }
        };
        // The text ends here: what was held back because it might have become something else did not.
        let rest = decoder.finish();
        if let Some(finish) = self.pass_on(&rest) {
            return Ok(finish);
        }
        let rest = self.stop.finish();
        Ok(self.show(&rest).unwrap_or(finish))
    }

    /// Takes a piece of text; answers why to end, if it is to end.
    fn pass_on(&mut self, piece: &str) -> Option<Finish> {
        let (shown, stop) = self.stop.push(piece);
        let cancelled = self.show(&shown);
        stop.map(Finish::Stop).or(cancelled)
    }

    fn show(&mut self, text: &str) -> Option<Finish> {
        if text.is_empty() {
            return None;
        }
        self.text.push_str(text);
        (self.receive)(text).is_break().then_some(Finish::Cancelled)
    }
}
