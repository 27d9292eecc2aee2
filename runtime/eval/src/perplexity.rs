//! How well a model predicts a text.
//!
//! ```text
//! text     t0 t1 t2 ...                                  cut into windows that do not overlap; what is left over at the
//! window   [ t0 .. tn ) [ tn .. t2n ) ...                end is dropped; each window is a context of its own
//! SecondHalf:  first = n / 2; logits at first .. n-2 score tokens first+1 .. n-1   (llama.cpp: every token has context)
//! AllButFirst:                logits at 0 .. n-2     score tokens 1 .. n-1
//! ```
//! With `x` the negative logarithm of each scored token's probability, `perplexity = exp(mean x)`; the standard error of
//! the mean is `sqrt((mean x^2 - (mean x)^2) / (count - 1))`, and that of the perplexity, by propagation, as many times as
//! large as the perplexity. Source: llama.cpp, tools/perplexity.

use std::sync::Arc;

use craftsman_model::{ErrorKind, Model, ModelError, Session};

/// The standard normal distribution's 97.5 % quantile: a two-sided interval of 95 %.
const Z_95: f64 = 1.959_963_984_540_054;

/// Which tokens of a window are scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scored {
    /// Those of the second half but for its first, as llama.cpp's `llama-perplexity` does it: each has half a window of
    /// context. The text must fill two windows.
    #[default]
    SecondHalf,
    /// All but the first. The text must fill one window.
    AllButFirst,
}

impl Scored {
    /// The position of a window of `window` tokens whose logits are the first that count.
    fn first(self, window: usize) -> usize {
        match self {
            Self::SecondHalf => window / 2,
            Self::AllButFirst => 0,
        }
    }

    /// Windows that a text must fill at least.
    fn least_windows(self) -> usize {
        match self {
            Self::SecondHalf => 2,
            Self::AllButFirst => 1,
        }
    }
}

/// What is told of a window's end: the estimate so far, and how many windows there will be.
pub type Step<'a> = &'a dyn Fn(&Perplexity, usize);

/// How [`perplexity`] goes about it.
#[derive(Clone, Copy)]
pub struct PerplexityOptions<'a> {
    /// Tokens of a window; llama.cpp's `n_ctx`.
    pub window: usize,
    /// Which tokens of a window are scored.
    pub scored: Scored,
    /// What the model reads in place of each window's first token: the begin token, where the tokenizer adds one.
    pub begin: Option<u32>,
    /// Windows that are read, if fewer than the text has.
    pub max_windows: Option<usize>,
    /// Called after every window.
    pub progress: Option<Step<'a>>,
}

impl Default for PerplexityOptions<'_> {
    /// llama.cpp's: windows of 512 tokens, whose second half is scored.
    fn default() -> Self {
        Self { window: 512, scored: Scored::default(), begin: None, max_windows: None, progress: None }
    }
}

/// The result of [`perplexity`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perplexity {
    /// `exp` of the mean negative logarithm of the scored tokens' probabilities.
    pub value: f64,
    /// The standard error of `value`: what llama.cpp prints behind `+/-`. `None` where the tokens' probabilities do not
    /// differ, or there is one token.
    pub uncertainty: Option<f64>,
    /// Tokens that were scored.
    pub tokens: usize,
    /// Windows that were read.
    pub windows: usize,
}

impl Perplexity {
    /// Where the perplexity of all text of this kind lies with a probability of 95 %, were tokens independent of each other:
    /// an interval of the mean logarithm, so above the value it is wider than below.
    pub fn interval(&self) -> Option<[f64; 2]> {
        let error = Z_95 * self.uncertainty? / self.value;
        Some([-error, error].map(|error| self.value * error.exp()))
    }
}

/// The perplexity of `tokens`, which are processed a window at a time.
///
/// ```no_run
/// use craftsman_eval::{PerplexityOptions, perplexity};
/// use craftsman_model::container::Checkpoint;
/// use craftsman_model::tokenizer::Tokenizer;
/// use craftsman_model::{LoadOptions, Model};
///
/// let checkpoint = Checkpoint::open("model.gguf".as_ref())?;
/// let tokenizer = Tokenizer::from_checkpoint(&checkpoint)?;
/// let model = Model::load(&checkpoint, &LoadOptions::default())?;
/// let text = std::fs::read_to_string("wiki.test.raw").unwrap();
/// let tokens = tokenizer.encode(&text, tokenizer.add_bos())?;
/// let begin = tokenizer.bos().filter(|_| tokenizer.add_bos());
/// let found = perplexity(&model, &tokens, &PerplexityOptions { begin, ..Default::default() })?;
/// println!("{:.4} +/- {:.5}", found.value, found.uncertainty.unwrap_or_default());
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
///
/// # Errors
/// Refuses windows that leave nothing to score or exceed the model's context, and a text that fills too few of them.
pub fn perplexity(
    model: &Arc<Model>,
    tokens: &[u32],
    options: &PerplexityOptions<'_>,
) -> Result<Perplexity, ModelError> {
    let windows = windows(model, tokens, options)?;
    let mut session = model.session();
    let mut sum = Sum::default();
    let mut found = sum.estimate(0);
    for (index, window) in tokens.chunks_exact(options.window).take(windows).enumerate() {
        sum.add_window(&mut session, window, options)?;
        found = sum.estimate(index + 1);
        if let Some(progress) = options.progress {
            progress(&found, windows);
        }
    }
    Ok(found)
}

/// How many windows are read.
fn windows(model: &Model, tokens: &[u32], options: &PerplexityOptions<'_>) -> Result<usize, ModelError> {
    let PerplexityOptions { window, scored, .. } = *options;
    let refuse = |problem, remedy| Err(ModelError::new(ErrorKind::Input, problem, remedy));
    if window < 2 || scored.first(window) + 2 > window || options.max_windows == Some(0) {
        let problem = format!("windows of {window} tokens leave nothing to score");
        return refuse(problem, "use one window or more, of three tokens or more");
    }
    if window > model.context() {
        let problem =
            format!("a window of {window} tokens exceeds the model's context of {}", model.context());
        return refuse(problem, "use a smaller window");
    }
    let needed = window.saturating_mul(scored.least_windows());
    if tokens.len() < needed {
        let problem = format!("the text has {} tokens, and windows of {window} need {needed}", tokens.len());
        return refuse(problem, "use a longer text or a smaller window");
    }
    Ok((tokens.len() / window).min(options.max_windows.unwrap_or(usize::MAX)))
}

/// Sums over the scored tokens.
#[derive(Debug, Default)]
struct Sum {
    surprise: f64,
    squares: f64,
    tokens: usize,
}

impl Sum {
    /// Reads a window into the emptied session and adds its scored tokens.
    fn add_window(
        &mut self,
        session: &mut Session,
        window: &[u32],
        options: &PerplexityOptions<'_>,
    ) -> Result<(), ModelError> {
        let first = options.scored.first(window.len());
        let mut read = window[..window.len() - 1].to_vec();
        if let Some(begin) = options.begin {
            read[0] = begin;
        }
        session.truncate(0);
        if first > 0 {
            // Logits that nobody asks for cost nothing.
            session.prefill(&read[..first])?;
        }
        session.for_each_logits(&read[first..], |index, logits| {
            self.add(surprise(logits, window[first + index + 1]));
        })
    }

    fn add(&mut self, surprise: f64) {
        self.surprise += surprise;
        self.squares += surprise * surprise;
        self.tokens += 1;
    }

    fn estimate(&self, windows: usize) -> Perplexity {
        let count = self.tokens as f64;
        let mean = self.surprise / count;
        let value = mean.exp();
        let variance = self.squares / count - mean * mean;
        let uncertainty =
            (variance > 0.0 && self.tokens > 1).then(|| (variance / (count - 1.0)).sqrt() * value);
        Perplexity { value, uncertainty, tokens: self.tokens, windows }
    }
}

/// `-ln softmax(logits)[token]`, exponentials in f32 and their sum in f64.
fn surprise(logits: &[f32], token: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - max).exp())).sum();
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    sum.ln() - f64::from(logit - max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_surprise_by_the_size_of_the_vocabulary() {
        assert!((surprise(&[3.0; 8], 5) - 8_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn uncertainty_is_the_standard_error_times_the_value() {
        let mut sum = Sum::default();
        for surprise in [1.0, 2.0, 3.0, 6.0] {
            sum.add(surprise);
        }
        let found = sum.estimate(1);
        // Mean 3; squared deviations 4, 1, 0, 9: variance 3.5, divided by count - 1.
        let error = (3.5_f64 / 3.0).sqrt();
        assert!((found.value - 3_f64.exp()).abs() < 1e-12);
        assert!((found.uncertainty.unwrap() - error * 3_f64.exp()).abs() < 1e-9);
        let [low, high] = found.interval().unwrap();
        assert!(
            (low.ln() - (3.0 - Z_95 * error)).abs() < 1e-9 && (high.ln() - (3.0 + Z_95 * error)).abs() < 1e-9
        );
    }

    #[test]
    fn one_token_and_equal_tokens_have_no_uncertainty() {
        let mut sum = Sum::default();
        for tokens in 1..3 {
            sum.add(2.0);
            let found = sum.estimate(1);
            assert_eq!((found.tokens, found.uncertainty, found.interval()), (tokens, None, None));
        }
    }
}
