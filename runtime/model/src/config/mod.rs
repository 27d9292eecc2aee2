//! The sizes and constants of one model, read from its metadata and checked.

mod experts;
mod layers;
mod rope;

pub use experts::ExpertConfig;
pub use layers::{LatentConfig, LayerKind, Mixing};
pub use rope::RopeConfig;

use crate::architecture::{Activation, Architecture};
use crate::container::{Checkpoint, Metadata};
use crate::{ErrorKind, ModelError};
use layers::Plan;
pub(crate) use layers::first_predicting;

/// What a model is made of. Every size was checked to be positive, and the tensors are checked against them on loading.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The architecture's usual name.
    pub architecture: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Inner width of the dense feed-forward part.
    pub ffn: usize,
    /// Blocks, without those that only predict further tokens.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads of a layer with attention; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of a query head.
    pub head_dim: usize,
    /// Tokens that exist: rows of the embedding.
    pub vocab: usize,
    /// Positions that the model was made for.
    pub context: usize,
    /// Added to the mean square in every RMS norm.
    pub epsilon: f32,
    /// What the feed-forward part does between its first and second product.
    pub activation: Activation,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// Experts, if the model has any.
    pub experts: Option<ExpertConfig>,
    plan: Plan,
}

impl ModelConfig {
    /// Reads and checks the configuration of `checkpoint`, whose architecture is `row`.
    pub fn read(checkpoint: &Checkpoint, row: &Architecture) -> Result<Self, ModelError> {
        let config = Self::parse(checkpoint, row);
        let checked = config.and_then(|config| config.check(checkpoint.metadata()).map(|()| config));
        checked.map_err(|error| error.in_file(checkpoint.path()))
    }

    fn parse(checkpoint: &Checkpoint, row: &Architecture) -> Result<Self, ModelError> {
        let metadata = checkpoint.metadata();
        let hidden = size(metadata, "embedding_length")?;
        let heads = size(metadata, "attention.head_count")?;
        let layers = layers::count(checkpoint)?;
        let key_heads = layers::key_heads(metadata, layers)?;
        let plan = Plan::read(metadata, row, layers, &key_heads)?;
        let head_dim = match &plan.latent {
            Some(latent) => latent.head_dim(),
            None => optional_size(metadata, "attention.key_length")?.unwrap_or(hidden / heads),
        };
        let experts = ExpertConfig::read(checkpoint, row)?;
        let ffn = match experts {
            Some(experts) => optional_size(metadata, "feed_forward_length")?.unwrap_or(experts.ffn),
            None => size(metadata, "feed_forward_length")?,
        };
        Ok(Self {
            architecture: row.name(),
            hidden,
            ffn,
            layers,
            heads,
            kv_heads: key_heads.most().unwrap_or(heads),
            head_dim,
            vocab: checkpoint.shape("token_embd.weight")?.first().copied().unwrap_or(0),
            context: size(metadata, "context_length")?,
            epsilon: metadata.arch_f32("attention.layer_norm_rms_epsilon")?,
            activation: activation(metadata)?.unwrap_or(row.activation),
            rope: RopeConfig::read(
                metadata,
                head_dim,
                row.pairing(checkpoint.kind()),
                plan.latent.is_some(),
            )?,
            experts,
            plan,
        })
    }

    /// What layer number `index` consists of.
    pub fn layer(&self, index: usize) -> LayerKind {
        let experts = self.experts.is_some() && self.plan.mixes_experts(index);
        LayerKind { mixing: self.plan.mixing(index), experts }
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads together; values are as wide.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn check(&self, metadata: &Metadata) -> Result<(), ModelError> {
        let wrong = |key: &str, problem: String| Err(ModelError::shape(problem).key(&metadata.arch_key(key)));
        if self.vocab == 0 || u32::try_from(self.vocab).is_err() {
            return Err(ModelError::shape(format!("{} tokens", self.vocab)).tensor("token_embd.weight"));
        }
        if self.head_dim == 0 || self.heads.checked_mul(self.head_dim).is_none() {
            return wrong("attention.key_length", format!("{} heads of {}", self.heads, self.head_dim));
        }
        if let Some(latent) = self.plan.latent
            && latent.straight.checked_add(latent.value).and_then(|w| w.checked_mul(self.heads)).is_none()
        {
            let problem = format!("{} heads with values of {}", self.heads, latent.value);
            return wrong("attention.value_length_mla", problem);
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let problem = format!("{} query heads cannot share {} key heads", self.heads, self.kv_heads);
            return wrong("attention.head_count_kv", problem);
        }
        if !self.rope.dims.is_multiple_of(2) || self.rope.dims > self.head_dim {
            let problem = format!("{} rotated of {} dimensions of a head", self.rope.dims, self.head_dim);
            return wrong("rope.dimension_count", problem);
        }
        if !(self.rope.theta > 0.0 && self.rope.theta.is_finite()) {
            return wrong("rope.freq_base", format!("{} is no base of frequencies", self.rope.theta));
        }
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return wrong("attention.layer_norm_rms_epsilon", format!("{} is no epsilon", self.epsilon));
        }
        self.refuse_unsupported(metadata)
    }

    /// What the layer code cannot do, rather than doing something else silently.
    fn refuse_unsupported(&self, metadata: &Metadata) -> Result<(), ModelError> {
        let refuse = |key, problem| Err(unsupported(metadata, key, problem));
        let width = optional_size(metadata, "attention.value_length")?;
        if let Some(width) = width.filter(|&width| width != self.head_dim && self.plan.latent.is_none()) {
            let problem =
                format!("values of width {width} beside keys of width {} cannot run", self.head_dim);
            return refuse("attention.value_length", problem);
        }
        if let Some(limit) = metadata.arch_get_f32("attention.clamp_kqv")?.filter(|&limit| limit != 0.0) {
            return refuse("attention.clamp_kqv", format!("queries and keys clamped at {limit} cannot run"));
        }
        Ok(())
    }
}

/// The activation, where the container names it: a GGUF file does not.
fn activation(metadata: &Metadata) -> Result<Option<Activation>, ModelError> {
    match metadata.arch_get_str("hidden_act")? {
        None => Ok(None),
        Some("silu") => Ok(Some(Activation::Silu)),
        Some("relu2") => Ok(Some(Activation::Relu2)),
        Some(other) => {
            Err(unsupported(metadata, "hidden_act", format!("`{}` cannot run", other.escape_debug())))
        }
    }
}

fn unsupported(metadata: &Metadata, key: &str, problem: String) -> ModelError {
    ModelError::new(ErrorKind::Unsupported, problem, "this model needs a newer version")
        .key(&metadata.arch_key(key))
}

/// A required positive size of the architecture.
fn size(metadata: &Metadata, key: &str) -> Result<usize, ModelError> {
    positive(metadata, key, metadata.arch_u32(key)?)
}

/// An optional positive size of the architecture.
fn optional_size(metadata: &Metadata, key: &str) -> Result<Option<usize>, ModelError> {
    metadata.arch_get_u32(key)?.map(|value| positive(metadata, key, value)).transpose()
}

fn positive(metadata: &Metadata, key: &str, value: u32) -> Result<usize, ModelError> {
    match value {
        0 => Err(ModelError::shape("is 0, expected a positive size").key(&metadata.arch_key(key))),
        _ => Ok(value as usize),
    }
}
