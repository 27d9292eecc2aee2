//! Rotary position embedding.
//!
//! Frequencies and angles are `f64`; sine and cosine are rounded once to `f32`; the rotation itself is `f32`
//! without contraction.

use super::Yarn;
use super::elementary::{power, sin_cos};

/// Which two elements of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopePairing {
    /// `i` with `i + dims / 2`: GPT-NeoX, Hugging Face.
    Neox,
    /// `2 i` with `2 i + 1`: the original paper, and GGUF `llama` files, whose rows are permuted for it.
    Norm,
}

/// How the frequencies are stretched for contexts longer than the training's.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3 (Hugging Face `_compute_llama3_parameters`): long waves divided by `factor`, short ones kept,
    /// a smooth passage between.
    Llama3 {
        /// The divisor of the long waves.
        factor: f64,
        /// Waves longer than `original_context / low_frequency_factor` are divided.
        low_frequency_factor: f64,
        /// Waves shorter than `original_context / high_frequency_factor` are kept.
        high_frequency_factor: f64,
        /// Context length of the training.
        original_context: f64,
    },
    /// Long waves divided, short ones kept, by how often they turn within the training's context.
    Yarn(Yarn),
    /// Each frequency divided by its own number: the tensor `rope_freqs.weight` of a GGUF file, `[dims / 2]`.
    /// Missing numbers count as 1.
    Divisors(Vec<f32>),
}

impl RopeScaling {
    /// The scaled form of frequency number `i` of `dims / 2` to the base `theta`.
    fn scale(&self, i: usize, frequency: f64, dims: usize, theta: f64) -> f64 {
        match self {
            Self::Yarn(yarn) => yarn.scale(i, frequency, dims, theta),
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Divisors(divisors) => frequency / f64::from(divisors.get(i).copied().unwrap_or(1.0)),
            Self::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_context,
            } => {
                let wavelength = std::f64::consts::TAU / frequency;
                if wavelength < original_context / high {
                    frequency
                } else if wavelength > original_context / low {
                    frequency / factor
                } else {
                    let smooth = (original_context / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}

/// The frequencies of a rotary embedding over the first `dims` elements of a head.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    frequencies: Vec<f64>,
    /// What sines and cosines are multiplied by.
    magnitude: f64,
}

impl RopeTable {
    /// Frequency `i` is `theta^(-2 i / dims)`, then scaled; `dims` is rounded down to an even number.
    pub fn new(dims: usize, theta: f64, scaling: &RopeScaling) -> Self {
        let dims = dims & !1;
        let frequency = |i: usize| {
            let plain = power(theta, -((2 * i) as f64) / dims as f64);
            scaling.scale(i, plain, dims, theta)
        };
        let magnitude = match scaling {
            RopeScaling::Yarn(yarn) => yarn.magnitude,
            _ => 1.0,
        };
        Self { frequencies: (0..dims / 2).map(frequency).collect(), magnitude }
    }

    /// How many elements of a head turn.
    pub fn dims(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// The frequencies in radians a position, `[dims / 2]`.
    pub fn frequencies(&self) -> &[f64] {
        &self.frequencies
    }

    /// Sines and cosines of one position, to be used for all heads and layers.
    pub fn rotation(&self, position: usize) -> Rotation {
        let angles = self.frequencies.iter().map(|f| sin_cos(position as f64 * f));
        let rounded = |x: f64| (x * self.magnitude) as f32;
        let (sin, cos) = angles.map(|(sin, cos)| (rounded(sin), rounded(cos))).unzip();
        Rotation { sin, cos }
    }

    /// Turns the first `dims` elements of one head `x` to `position`; further elements stay.
    ///
    /// # Panics
    /// When `x` is shorter than `dims`.
    pub fn apply(&self, pairing: RopePairing, position: usize, x: &mut [f32]) {
        self.rotation(position).apply(pairing, x);
    }
}

/// The sines and cosines of one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    sin: Vec<f32>,
    cos: Vec<f32>,
}

impl Rotation {
    /// Turns one head: a pair `(a, b)` becomes `(a cos - b sin, b cos + a sin)`.
    ///
    /// # Panics
    /// When `x` is shorter than the table's `dims`.
    pub fn apply(&self, pairing: RopePairing, x: &mut [f32]) {
        let half = self.sin.len();
        let turn = |a: f32, b: f32, sin: f32, cos: f32| (a * cos - b * sin, b * cos + a * sin);
        let angles = self.sin.iter().zip(&self.cos);
        match pairing {
            RopePairing::Neox => {
                let (low, high) = x[..2 * half].split_at_mut(half);
                for ((a, b), (&sin, &cos)) in low.iter_mut().zip(high).zip(angles) {
                    (*a, *b) = turn(*a, *b, sin, cos);
                }
            }
            RopePairing::Norm => {
                for (pair, (&sin, &cos)) in x[..2 * half].chunks_exact_mut(2).zip(angles) {
                    (pair[0], pair[1]) = turn(pair[0], pair[1], sin, cos);
                }
            }
        }
    }
}
