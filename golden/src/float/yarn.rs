//! `YaRN`: a context made longer by slowing the long waves of a rotary embedding (Peng et al., "`YaRN`: Efficient
//! Context Window Extension of Large Language Models", 2023; Hugging Face `_compute_yarn_parameters`).

use std::f64::consts::TAU;

use super::elementary::ln;

/// The parameters of `YaRN`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// The divisor of the long waves.
    pub factor: f64,
    /// Context length of the training.
    pub original_context: f64,
    /// Waves that turn more often than this within the training's context are kept.
    pub beta_fast: f64,
    /// Waves that turn less often are divided.
    pub beta_slow: f64,
    /// What sines and cosines are multiplied by.
    pub magnitude: f64,
}

impl Yarn {
    /// `1 + 0.1 multiplier ln(factor)`, and 1 where nothing is stretched: the usual magnitude, with a multiplier of 1.
    pub fn magnitude(factor: f64, multiplier: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * multiplier * ln(factor) + 1.0 }
    }

    /// Frequency number `i` of `dims / 2` to the base `theta`, stretched.
    pub(super) fn scale(&self, i: usize, frequency: f64, dims: usize, theta: f64) -> f64 {
        let low = self.index(self.beta_fast, dims, theta).floor().max(0.0);
        let high = self.index(self.beta_slow, dims, theta).ceil().min(dims as f64 - 1.0);
        // The step where both meet, as in the original: a width that is not zero.
        let width = if low == high { 0.001 } else { high - low };
        let stretched = ((i as f64 - low) / width).clamp(0.0, 1.0);
        frequency / self.factor * stretched + frequency * (1.0 - stretched)
    }

    /// Where among the frequencies the one lies that turns `turns` times within the training's context.
    fn index(&self, turns: f64, dims: usize, theta: f64) -> f64 {
        dims as f64 * ln(self.original_context / (turns * TAU)) / (2.0 * ln(theta))
    }
}
