//! The sizes and constants of one model, read from its metadata and checked.

use craftsman_golden::float::{RopePairing, RopeScaling};

use crate::architecture::{Activation, Architecture};
use crate::container::{Checkpoint, Metadata};
use crate::{ErrorKind, ModelError};

/// What a model is made of. Every size was checked to be positive, and the tensors are checked against them on loading.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The architecture's usual name.
    pub architecture: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Inner width of the dense feed-forward part.
    pub ffn: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of a head.
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
}

/// The rotary embedding of queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies: `theta^(-2 i / dims)`.
    pub theta: f64,
    /// Leading dimensions of a head that are rotated.
    pub dims: usize,
    /// Which dimensions are rotated together.
    pub pairing: RopePairing,
    /// How the frequencies are stretched. Divisors that a GGUF file keeps in `rope_freqs.weight` take its place.
    pub scaling: RopeScaling,
}

/// Experts of a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertConfig {
    /// Experts a layer.
    pub count: usize,
    /// Experts a token uses.
    pub used: usize,
    /// Inner width of one.
    pub ffn: usize,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub renormalise: bool,
    /// What the weights are multiplied by afterwards.
    pub scale: f32,
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
        let kv_heads = optional_size(metadata, "attention.head_count_kv")?.unwrap_or(heads);
        let head_dim = optional_size(metadata, "attention.key_length")?.unwrap_or(hidden / heads);
        let experts = ExpertConfig::read(metadata, row)?;
        let ffn = match experts {
            Some(experts) => optional_size(metadata, "feed_forward_length")?.unwrap_or(experts.ffn),
            None => size(metadata, "feed_forward_length")?,
        };
        Ok(Self {
            architecture: row.name(),
            hidden,
            ffn,
            layers: size(metadata, "block_count")?,
            heads,
            kv_heads,
            head_dim,
            vocab: checkpoint.shape("token_embd.weight")?.first().copied().unwrap_or(0),
            context: size(metadata, "context_length")?,
            epsilon: metadata.arch_f32("attention.layer_norm_rms_epsilon")?,
            activation: activation(metadata)?.unwrap_or(row.activation),
            rope: RopeConfig::read(metadata, head_dim, row.pairing(checkpoint.kind()))?,
            experts,
        })
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
        if let Some(width) =
            optional_size(metadata, "attention.value_length")?.filter(|&w| w != self.head_dim)
        {
            let problem =
                format!("values of width {width} beside keys of width {} cannot run", self.head_dim);
            return refuse("attention.value_length", problem);
        }
        if let Some(window) = metadata.arch_get_u32("attention.sliding_window")?.filter(|&w| w != 0) {
            return refuse("attention.sliding_window", format!("a sliding window of {window} cannot run"));
        }
        if let Some(limit) = metadata.arch_get_f32("attention.clamp_kqv")?.filter(|&limit| limit != 0.0) {
            return refuse("attention.clamp_kqv", format!("queries and keys clamped at {limit} cannot run"));
        }
        // 0 and 1 are softmax; absent means the architecture's own, which is softmax in every row of the table.
        if let Some(function) = metadata.arch_get_u32("expert_gating_func")?.filter(|&f| f > 1) {
            return refuse("expert_gating_func", format!("router function {function} cannot run"));
        }
        if let Some(shared) = metadata.arch_get_u32("expert_shared_count")?.filter(|&s| s != 0) {
            return refuse("expert_shared_count", format!("{shared} shared experts cannot run"));
        }
        Ok(())
    }
}

impl RopeConfig {
    fn read(metadata: &Metadata, head_dim: usize, pairing: RopePairing) -> Result<Self, ModelError> {
        Ok(Self {
            theta: f64::from(metadata.arch_get_f32("rope.freq_base")?.unwrap_or(10_000.0)),
            dims: optional_size(metadata, "rope.dimension_count")?.unwrap_or(head_dim),
            pairing,
            scaling: scaling(metadata)?,
        })
    }
}

impl ExpertConfig {
    fn read(metadata: &Metadata, row: &Architecture) -> Result<Option<Self>, ModelError> {
        let count = metadata.arch_get_u32("expert_count")?.unwrap_or(0) as usize;
        if count == 0 {
            return Ok(None);
        }
        let used = size(metadata, "expert_used_count")?;
        if used > count {
            let problem = format!("{used} experts used of {count}");
            return Err(ModelError::shape(problem).key(&metadata.arch_key("expert_used_count")));
        }
        let ffn = match optional_size(metadata, "expert_feed_forward_length")? {
            Some(ffn) => ffn,
            None => size(metadata, "feed_forward_length")?,
        };
        let scale =
            metadata.arch_get_f32("expert_weights_scale")?.filter(|&scale| scale != 0.0).unwrap_or(1.0);
        if !scale.is_finite() {
            let problem = format!("{scale} cannot scale a weight");
            return Err(ModelError::shape(problem).key(&metadata.arch_key("expert_weights_scale")));
        }
        let renormalise = metadata.arch_get_bool("expert_weights_norm")?.unwrap_or(row.experts.renormalise);
        Ok(Some(Self { count, used, ffn, renormalise, scale }))
    }
}

fn scaling(metadata: &Metadata) -> Result<RopeScaling, ModelError> {
    let number = |key: &str| {
        let value = f64::from(metadata.arch_f32(key)?);
        if value > 0.0 && value.is_finite() {
            return Ok(value);
        }
        let problem = format!("is {value}, expected a positive number");
        Err(ModelError::shape(problem).key(&metadata.arch_key(key)))
    };
    match metadata.arch_get_str("rope.scaling.type")?.unwrap_or("none") {
        "none" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: number("rope.scaling.factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: number("rope.scaling.factor")?,
            low_frequency_factor: number("rope.scaling.low_freq_factor")?,
            high_frequency_factor: number("rope.scaling.high_freq_factor")?,
            original_context: size(metadata, "rope.scaling.original_context_length")? as f64,
        }),
        other => {
            Err(unsupported(metadata, "rope.scaling.type", format!("`{}` cannot run", other.escape_debug())))
        }
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
