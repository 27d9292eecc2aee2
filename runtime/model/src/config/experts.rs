//! Experts and how tokens are routed to them.

use craftsman_golden::float::{Gate, Groups, Routing};

use super::{optional_size, size, unsupported};
use crate::ModelError;
use crate::architecture::Architecture;
use crate::container::{Checkpoint, Metadata, Value};

/// Experts of a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertConfig {
    /// Experts a layer.
    pub count: usize,
    /// Experts a token uses.
    pub used: usize,
    /// Groups that experts are chosen from.
    pub groups: Option<Groups>,
    /// Inner width of one.
    pub ffn: usize,
    /// Inner width of the experts that every token uses, all together; 0 where there are none.
    pub shared: usize,
    /// What makes the router's logits scores.
    pub gate: Gate,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub renormalise: bool,
    /// What the weights are multiplied by afterwards.
    pub scale: f32,
    /// What the factors of the gated product are clamped to.
    pub limit: Option<f32>,
}

impl ExpertConfig {
    /// How the router weighs experts.
    pub fn routing(&self) -> Routing {
        let Self { gate, used, groups, renormalise, scale, .. } = *self;
        Routing { gate, top_k: used, groups, renormalise, scale }
    }

    pub(super) fn read(checkpoint: &Checkpoint, row: &Architecture) -> Result<Option<Self>, ModelError> {
        let metadata = checkpoint.metadata();
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
        Ok(Some(Self {
            count,
            used,
            groups: groups(metadata, count, used)?,
            ffn,
            shared: shared(metadata, ffn)?,
            gate: gate(checkpoint)?,
            renormalise: metadata.arch_get_bool("expert_weights_norm")?.unwrap_or(row.experts.renormalise),
            scale: scale(metadata)?,
            limit: limit(metadata)?.or(row.experts.limit),
        }))
    }
}

/// Absent and 0 mean softmax, but for a router with a selection bias: the sigmoid is what has one, and the converter
/// left the key out for GLM-4.7-Flash (llama.cpp tells that model by its counts of layers and tokens).
fn gate(checkpoint: &Checkpoint) -> Result<Gate, ModelError> {
    let metadata = checkpoint.metadata();
    let key = "expert_gating_func";
    match metadata.arch_get_u32(key)?.unwrap_or(0) {
        0 if checkpoint.tensors().any(|tensor| tensor.name.ends_with(".exp_probs_b.bias")) => {
            Ok(Gate::Sigmoid)
        }
        0 | 1 => Ok(Gate::Softmax),
        2 => Ok(Gate::Sigmoid),
        other => Err(unsupported(metadata, key, format!("router function {other} cannot run"))),
    }
}

/// Groups of which a token uses all are none.
fn groups(metadata: &Metadata, experts: usize, used: usize) -> Result<Option<Groups>, ModelError> {
    let key = "expert_group_count";
    let count = metadata.arch_get_u32(key)?.unwrap_or(0) as usize;
    if count <= 1 {
        return Ok(None);
    }
    if !experts.is_multiple_of(count) {
        let problem = format!("{experts} experts do not divide into {count} groups");
        return Err(ModelError::shape(problem).key(&metadata.arch_key(key)));
    }
    let groups = Groups { count, used: size(metadata, "expert_group_used_count")? };
    if groups.used > count || groups.used * (experts / count) < used {
        let problem = format!("{} of {count} groups of experts do not hold {used} experts", groups.used);
        return Err(ModelError::shape(problem).key(&metadata.arch_key("expert_group_used_count")));
    }
    Ok(Some(groups).filter(|groups| groups.used < count))
}

fn shared(metadata: &Metadata, ffn: usize) -> Result<usize, ModelError> {
    let key = "expert_shared_count";
    let count = metadata.arch_get_u32(key)?.unwrap_or(0) as usize;
    match optional_size(metadata, "expert_shared_feed_forward_length")? {
        Some(width) if count > 0 => Ok(width),
        _ => count.checked_mul(ffn).ok_or_else(|| {
            ModelError::shape(format!("{count} shared experts of {ffn}")).key(&metadata.arch_key(key))
        }),
    }
}

fn scale(metadata: &Metadata) -> Result<f32, ModelError> {
    let key = "expert_weights_scale";
    let scale = metadata.arch_get_f32(key)?.filter(|&scale| scale != 0.0).unwrap_or(1.0);
    if !scale.is_finite() {
        let problem = format!("{scale} cannot scale a weight");
        return Err(ModelError::shape(problem).key(&metadata.arch_key(key)));
    }
    Ok(scale)
}

/// One limit, or one a layer if they are all the same; 0 means none.
fn limit(metadata: &Metadata) -> Result<Option<f32>, ModelError> {
    let key = "swiglu_clamp_exp";
    let limit = match metadata.get(&metadata.arch_key(key)) {
        Some(Value::Array(limits)) => {
            let mut limits = limits.scalars().map(|limit| limit.as_f32());
            let first = limits.next().flatten();
            if !limits.all(|limit| limit == first) {
                let problem = "limits that differ between layers cannot run".to_owned();
                return Err(unsupported(metadata, key, problem));
            }
            first
        }
        _ => metadata.arch_get_f32(key)?,
    };
    Ok(limit.filter(|&limit| limit > 0.0))
}
