//! Choosing the next token from logits: deterministic for a seed, on every machine.

use std::collections::VecDeque;

use craftsman_golden::float::exp;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::{ErrorKind, ModelError};

/// How to choose among the possible next tokens. Filters work in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingOptions {
    /// Divides a positive logit, and multiplies a negative one, of every token among the recent ones (Keskar et al.
    /// 2019, CTRL). 1 changes nothing.
    pub repetition_penalty: f32,
    /// How many recent tokens, prompt included, the penalty looks at.
    pub repetition_window: usize,
    /// Keep the `top_k` likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest likeliest tokens whose probabilities reach `top_p` together; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least `min_p` times as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides the logits that are left before one is drawn; 0 is greedy: the likeliest token, after the penalty.
    pub temperature: f32,
    /// Starts the random stream: the same seed draws the same tokens.
    pub seed: u64,
}

impl Default for SamplingOptions {
    /// The defaults that people know from llama.cpp, with seed 0.
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, ..Self::greedy() }
    }
}

impl SamplingOptions {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self {
            repetition_penalty: 1.0,
            repetition_window: 64,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            temperature: 0.0,
            seed: 0,
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let wrong = |name: &str, value: f32, expected: &str| {
            Err(ModelError::new(ErrorKind::Input, format!("{name} is {value}"), format!("give {expected}")))
        };
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return wrong("temperature", self.temperature, "0 (greedy) or a positive number");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return wrong("repetition penalty", self.repetition_penalty, "a positive number (1 is off)");
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            return wrong("top-p", self.top_p, "a number from 0 to 1 (1 is off)");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return wrong("min-p", self.min_p, "a number from 0 to 1 (0 is off)");
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: u32,
    logit: f32,
}

/// Draws tokens; owns its random stream and the window of recent tokens.
///
/// Logits that are NaN are never chosen, infinite ones count as the largest finite number, and equal ones stand in the
/// order of their tokens, so any input has one answer.
///
/// ```
/// use craftsman_model::{Sampler, SamplingOptions};
/// let mut sampler = Sampler::new(SamplingOptions::greedy())?;
/// assert_eq!(sampler.sample(&[0.0, 2.0, f32::NAN, 2.0]), 1);
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplingOptions,
    random: Pcg64,
    recent: VecDeque<u32>,
    candidates: Vec<Candidate>,
    weights: Vec<f32>,
}

impl Sampler {
    /// A sampler at the start of its random stream; an option out of range is an error that names it.
    pub fn new(options: SamplingOptions) -> Result<Self, ModelError> {
        options.check()?;
        Ok(Self {
            options,
            random: Pcg64::seed_from_u64(options.seed),
            recent: VecDeque::new(),
            candidates: Vec::new(),
            weights: Vec::new(),
        })
    }

    /// Lets the repetition penalty see `token`: call it for the prompt's tokens and for every token drawn.
    pub fn accept(&mut self, token: u32) {
        if self.options.repetition_window == 0 || self.options.repetition_penalty == 1.0 {
            return;
        }
        if self.recent.len() == self.options.repetition_window {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// The next token for `logits`, one a token of the vocabulary. Of an empty vocabulary it is token 0.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        self.gather(logits);
        self.penalise();
        if self.options.temperature == 0.0 {
            return self.candidates.iter().copied().min_by(likelier).map_or(0, |best| best.token);
        }
        self.sort_top_k();
        self.keep_top_p();
        self.keep_min_p();
        self.draw()
    }

    fn gather(&mut self, logits: &[f32]) {
        self.candidates.clear();
        self.candidates.extend((0..).zip(logits).map(|(token, &logit)| Candidate {
            token,
            logit: if logit.is_nan() { f32::MIN } else { logit.clamp(f32::MIN, f32::MAX) },
        }));
    }

    fn penalise(&mut self) {
        let penalty = self.options.repetition_penalty;
        for (index, token) in self.recent.iter().enumerate() {
            let seen = self.recent.iter().take(index).any(|earlier| earlier == token);
            let Some(candidate) = self.candidates.get_mut(*token as usize).filter(|_| !seen) else {
                continue;
            };
            let logit =
                if candidate.logit > 0.0 { candidate.logit / penalty } else { candidate.logit * penalty };
            candidate.logit = logit.clamp(f32::MIN, f32::MAX);
        }
    }

    /// Likeliest first; only the kept ones are sorted.
    fn sort_top_k(&mut self) {
        let keep = self.options.top_k;
        if keep > 0 && keep < self.candidates.len() {
            self.candidates.select_nth_unstable_by(keep - 1, likelier);
            self.candidates.truncate(keep);
        }
        self.candidates.sort_unstable_by(likelier);
    }

    fn keep_top_p(&mut self) {
        if self.options.top_p >= 1.0 {
            return;
        }
        let total = self.weigh(1.0);
        let limit = total * f64::from(self.options.top_p);
        let mut sum = 0.0;
        let reached = self.weights.iter().position(|&weight| {
            sum += f64::from(weight);
            sum >= limit
        });
        if let Some(last) = reached {
            self.candidates.truncate(last + 1);
        }
    }

    fn keep_min_p(&mut self) {
        let Some(best) = self.candidates.first().copied().filter(|_| self.options.min_p > 0.0) else {
            return;
        };
        let min_p = self.options.min_p;
        let kept = self.candidates.partition_point(|candidate| exp(candidate.logit - best.logit) >= min_p);
        self.candidates.truncate(kept.max(1));
    }

    fn draw(&mut self) -> u32 {
        let total = self.weigh(self.options.temperature);
        // 53 random bits: a uniform number in [0, 1).
        let uniform = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut left = uniform * total;
        for (candidate, &weight) in self.candidates.iter().zip(&self.weights) {
            left -= f64::from(weight);
            if left < 0.0 {
                return candidate.token;
            }
        }
        self.candidates.first().map_or(0, |best| best.token)
    }

    /// `weights = exp((logit - best) / temperature)` of the sorted candidates; answers their sum.
    fn weigh(&mut self, temperature: f32) -> f64 {
        let best = self.candidates.first().map_or(0.0, |best| best.logit);
        self.weights.clear();
        self.weights
            .extend(self.candidates.iter().map(|candidate| exp((candidate.logit - best) / temperature)));
        self.weights.iter().copied().map(f64::from).sum()
    }
}

/// The order of candidates: larger logit first, then the lower token.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that sorting wants")]
fn likelier(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(options: SamplingOptions) -> Sampler {
        Sampler::new(options).unwrap()
    }

    #[test]
    fn filters_leave_what_they_promise() {
        let plain = SamplingOptions { temperature: 1.0, ..SamplingOptions::greedy() };
        let logits = [1.0, 3.0, 2.0, 3.0];
        let drawn = |options| {
            let mut sampler = sampler(options);
            let mut seen: Vec<u32> = (0..400).map(|_| sampler.sample(&logits)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(drawn(plain), [0, 1, 2, 3]);
        assert_eq!(drawn(SamplingOptions { top_k: 1, ..plain }), [1]);
        assert_eq!(drawn(SamplingOptions { top_k: 3, ..plain }), [1, 2, 3]);
        assert_eq!(drawn(SamplingOptions { min_p: 0.3, ..plain }), [1, 2, 3]);
        assert_eq!(drawn(SamplingOptions { top_p: 0.5, ..plain }), [1, 3]);
        assert_eq!(drawn(SamplingOptions { top_p: 0.0, ..plain }), [1]);
    }

    #[test]
    fn the_penalty_forgets_beyond_its_window() {
        let options =
            SamplingOptions { repetition_penalty: 2.0, repetition_window: 1, ..SamplingOptions::greedy() };
        let mut sampler = sampler(options);
        sampler.accept(0);
        assert_eq!(sampler.sample(&[1.5, 1.0]), 1);
        sampler.accept(1);
        assert_eq!(sampler.sample(&[1.5, 1.0]), 0);
        assert_eq!(sampler.sample(&[-1.5, -1.0]), 0);
    }

    #[test]
    fn options_out_of_range_are_named() {
        let plain = SamplingOptions::default();
        for (options, name) in [
            (SamplingOptions { temperature: f32::NAN, ..plain }, "temperature"),
            (SamplingOptions { repetition_penalty: 0.0, ..plain }, "repetition penalty"),
            (SamplingOptions { top_p: 1.5, ..plain }, "top-p"),
            (SamplingOptions { min_p: -0.1, ..plain }, "min-p"),
        ] {
            assert!(Sampler::new(options).unwrap_err().to_string().contains(name));
        }
    }

    proptest! {
        #[test]
        fn any_bits_give_a_token_and_the_same_one(
            bits in prop::collection::vec(any::<u32>(), 1..50),
            temperature in prop_oneof![Just(0.0_f32), 1e-30_f32..2.0],
            top_k in 0_usize..60, top_p in 0.0_f32..=1.0, min_p in 0.0_f32..=1.0, seed: u64,
        ) {
            let logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let options = SamplingOptions {
                temperature, top_k, top_p, min_p, seed, repetition_penalty: 1.3, repetition_window: 4,
            };
            let (mut one, mut two) = (sampler(options), sampler(options));
            for _ in 0..5 {
                let token = one.sample(&logits);
                prop_assert!((token as usize) < logits.len());
                prop_assert_eq!(token, two.sample(&logits));
                one.accept(token);
                two.accept(token);
            }
        }
    }
}
