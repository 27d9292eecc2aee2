//! Rotary positions.

use craftsman_golden::float::{RopePairing, RopeScaling, Yarn};

use super::{optional_size, size, unsupported};
use crate::ModelError;
use crate::container::Metadata;

/// The rotary embedding of queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies: `theta^(-2 i / dims)`.
    pub theta: f64,
    /// Dimensions of a head that are rotated: the first ones.
    pub dims: usize,
    /// Which dimensions are rotated together.
    pub pairing: RopePairing,
    /// How the frequencies are stretched. Divisors that a GGUF file keeps in `rope_freqs.weight` take its place.
    pub scaling: RopeScaling,
}

impl RopeConfig {
    /// `latent` attention answers a stretched context with its scale, and turns by sines and cosines as they are.
    pub(super) fn read(
        metadata: &Metadata,
        head_dim: usize,
        pairing: RopePairing,
        latent: bool,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            theta: f64::from(metadata.arch_get_f32("rope.freq_base")?.unwrap_or(10_000.0)),
            dims: optional_size(metadata, "rope.dimension_count")?.unwrap_or(head_dim),
            pairing,
            scaling: scaling(metadata, latent)?,
        })
    }
}

/// What the attention's scale is multiplied by where latent attention meets `YaRN`: the square of
/// `1 + multiplier ln(factor)` (`DeepseekV3Attention` of transformers; `yarn_log_multiplier` is `0.1 mscale_all_dim`).
pub(super) fn score_scale(metadata: &Metadata) -> Result<f64, ModelError> {
    let multiplier = metadata.arch_get_f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
    match kind(metadata)? {
        "yarn" => {
            let magnitude =
                Yarn::magnitude(positive(metadata, "rope.scaling.factor")?, f64::from(multiplier) * 10.0);
            Ok(magnitude * magnitude)
        }
        _ => Ok(1.0),
    }
}

fn kind(metadata: &Metadata) -> Result<&str, ModelError> {
    Ok(metadata.arch_get_str("rope.scaling.type")?.unwrap_or("none"))
}

fn scaling(metadata: &Metadata, latent: bool) -> Result<RopeScaling, ModelError> {
    let number = |key: &str| positive(metadata, key);
    match kind(metadata)? {
        "none" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: number("rope.scaling.factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: number("rope.scaling.factor")?,
            low_frequency_factor: number("rope.scaling.low_freq_factor")?,
            high_frequency_factor: number("rope.scaling.high_freq_factor")?,
            original_context: size(metadata, "rope.scaling.original_context_length")? as f64,
        }),
        "yarn" => yarn(metadata, latent).map(RopeScaling::Yarn),
        other => {
            Err(unsupported(metadata, "rope.scaling.type", format!("`{}` cannot run", other.escape_debug())))
        }
    }
}

fn yarn(metadata: &Metadata, latent: bool) -> Result<Yarn, ModelError> {
    let number = |key: &str| positive(metadata, key);
    let optional = |key: &str, default: f64| match metadata.arch_get_f32(key)? {
        Some(_) => number(key),
        None => Ok(default),
    };
    let factor = number("rope.scaling.factor")?;
    let usual = if latent { 1.0 } else { Yarn::magnitude(factor, 1.0) };
    Ok(Yarn {
        factor,
        original_context: size(metadata, "rope.scaling.original_context_length")? as f64,
        beta_fast: optional("rope.scaling.yarn_beta_fast", 32.0)?,
        beta_slow: optional("rope.scaling.yarn_beta_slow", 1.0)?,
        magnitude: optional("rope.scaling.attention_factor", usual)?,
    })
}

fn positive(metadata: &Metadata, key: &str) -> Result<f64, ModelError> {
    let value = f64::from(metadata.arch_f32(key)?);
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    let problem = format!("is {value}, expected a positive number");
    Err(ModelError::shape(problem).key(&metadata.arch_key(key)))
}
