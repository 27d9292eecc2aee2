//! What `config.json` says in other words than GGUF's metadata, and what transformers assume where it is silent.

use serde_json::Value as Json;

use super::config::{at, wrong_type};
use crate::ModelError;
use crate::container::value::{Array, Value};

/// More layers than any model has: a count that nothing has checked yet must cost nothing.
const MOST_LAYERS: u32 = 4096;

type Entries = Vec<(&'static str, Value)>;

/// Values that several entries make together, or an entry of another form. They come before those of the table.
pub fn said_otherwise(json: &Json, model_type: &str) -> Result<Entries, ModelError> {
    let mut out = Vec::new();
    // The turned dimensions of latent attention have an entry of their own.
    if at(json, "kv_lora_rank").is_some() {
        latent(json, &mut out)?;
    } else if let Some(turned) = turned_dimensions(json)? {
        out.push(("rope.dimension_count", Value::U32(turned)));
    }
    match model_type {
        "lfm2" => convolutions(json, &mut out)?,
        "maple" => sliding(json, &mut out)?,
        _ => {}
    }
    // A choice that is not limited to groups, whatever groups the configuration counts.
    if at(json, "topk_method").and_then(Json::as_str) == Some("greedy") {
        out.push(("expert_group_count", Value::U32(1)));
    }
    if let Some(function) = at(json, "scoring_func") {
        let number = match function.as_str() {
            Some("softmax") => 1,
            Some("sigmoid") => 2,
            _ => return Err(wrong_type("scoring_func", function)),
        };
        out.push(("expert_gating_func", Value::U32(number)));
    }
    Ok(out)
}

/// `partial_rotary_factor` of a head.
fn turned_dimensions(json: &Json) -> Result<Option<u32>, ModelError> {
    let factor = ["rope_parameters.partial_rotary_factor", "partial_rotary_factor"];
    let Some(factor) = factor.iter().find_map(|path| at(json, path)).and_then(Json::as_f64) else {
        return Ok(None);
    };
    let head = match number(json, "head_dim")? {
        Some(head) => Some(head),
        None => number(json, "hidden_size")?
            .zip(number(json, "num_attention_heads")?)
            .and_then(|(hidden, heads)| hidden.checked_div(heads)),
    };
    Ok(head.map(|head| (f64::from(head) * factor) as u32))
}

/// What transformers assume where `config.json` is silent.
pub fn implied(json: &Json, model_type: &str) -> Entries {
    let number = |key| at(json, key).and_then(Json::as_u64);
    let mut out = Vec::new();
    if let (Some(hidden), Some(heads @ 1..)) = (number("hidden_size"), number("num_attention_heads"))
        && let Ok(head) = u32::try_from(hidden / heads)
    {
        let keys = ["attention.key_length", "attention.value_length", "rope.dimension_count"];
        out.extend(keys.map(|key| (key, Value::U32(head))));
    }
    // `rope_theta` of LlamaConfig, MixtralConfig and OlmoeConfig before it was always written.
    out.push(("rope.freq_base", Value::F32(10_000.0)));
    match model_type {
        // Mixtral's router has no switch: it renormalises.
        "mixtral" => out.push(("expert_weights_norm", Value::Bool(true))),
        "qwen3_moe" | "olmoe" | "deepseek_v2" => out.push(("expert_weights_norm", Value::Bool(false))),
        _ => {}
    }
    out
}

fn number(json: &Json, path: &str) -> Result<Option<u32>, ModelError> {
    let Some(found) = at(json, path) else { return Ok(None) };
    let number = found.as_u64().and_then(|number| u32::try_from(number).ok());
    number.map(Some).ok_or_else(|| wrong_type(path, found))
}

/// Latent attention: GGUF counts one key head of the width of the compressed row.
fn latent(json: &Json, out: &mut Entries) -> Result<(), ModelError> {
    out.push(("attention.head_count_kv", Value::U32(1)));
    let [rank, straight, turned] =
        ["kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"].map(|path| number(json, path));
    if let (Some(rank), Some(straight), Some(turned)) = (rank?, straight?, turned?) {
        out.push(("attention.key_length", Value::U32(rank.saturating_add(turned))));
        out.push(("attention.value_length", Value::U32(rank)));
        out.push(("attention.key_length_mla", Value::U32(straight.saturating_add(turned))));
    }
    if at(json, "first_k_dense_replace").is_none()
        && let Some(types) = at(json, "mlp_layer_types").and_then(Json::as_array)
    {
        let dense = types.iter().take_while(|kind| kind.as_str() == Some("dense")).count();
        out.push(("leading_dense_block_count", Value::U32(dense as u32)));
    }
    yarn(json, out);
    Ok(())
}

/// `YaRN` of the `DeepSeek` classes: `mscale_all_dim` scales the scores, and sines and cosines are multiplied by how far
/// `mscale` differs from it.
fn yarn(json: &Json, out: &mut Entries) {
    let setting = |key: &str| {
        let paths = [format!("rope_parameters.{key}"), format!("rope_scaling.{key}")];
        paths.iter().find_map(|path| at(json, path)).and_then(Json::as_f64).filter(|&value| value != 0.0)
    };
    let Some(factor) = setting("factor") else { return };
    let magnitude = |multiplier| craftsman_golden::float::Yarn::magnitude(factor, multiplier);
    let turning = match (setting("mscale"), setting("mscale_all_dim")) {
        (Some(mscale), Some(all)) => magnitude(mscale) / magnitude(all),
        _ => magnitude(1.0),
    };
    out.push(("rope.scaling.attention_factor", Value::F32(turning as f32)));
    let multiplier = 0.1 * setting("mscale_all_dim").unwrap_or(0.0);
    out.push(("rope.scaling.yarn_log_multiplier", Value::F32(multiplier as f32)));
}

/// Maple: which layers slide, and how far they see.
fn sliding(json: &Json, out: &mut Entries) -> Result<(), ModelError> {
    if let Some(window) = number(json, "sliding_window")? {
        out.push(("attention.sliding_window", Value::U32(window)));
    }
    let types = at(json, "layer_types").and_then(Json::as_array).into_iter().flatten();
    let slides: Vec<Value> =
        types.map(|kind| Value::Bool(kind.as_str() == Some("sliding_attention"))).collect();
    if let Some(array) = Array::of_scalars(&slides).filter(|array| !array.is_empty()) {
        out.push(("attention.sliding_window_pattern", Value::Array(array)));
    }
    Ok(())
}

/// LFM2: which layers have key heads, and the adjusted width of the feed-forward part.
fn convolutions(json: &Json, out: &mut Entries) -> Result<(), ModelError> {
    let heads = number(json, "num_key_value_heads")?.or(number(json, "num_attention_heads")?).unwrap_or(0);
    let count = number(json, "num_hidden_layers")?.unwrap_or(0);
    let list = |path| at(json, path).and_then(Json::as_array);
    let attends: Vec<bool> = match (list("layer_types"), list("full_attn_idxs")) {
        (Some(types), _) => types.iter().map(|kind| kind.as_str() == Some("full_attention")).collect(),
        (None, Some(indices)) => {
            let attends = |layer| indices.iter().any(|index| index.as_u64() == Some(u64::from(layer)));
            (0..count.min(MOST_LAYERS)).map(attends).collect()
        }
        (None, None) => Vec::new(),
    };
    let heads: Vec<Value> =
        attends.iter().map(|&attends| Value::U32(if attends { heads } else { 0 })).collect();
    if let Some(array) = Array::of_scalars(&heads).filter(|array| !array.is_empty()) {
        out.push(("attention.head_count_kv", Value::Array(array)));
    }
    let width = number(json, "block_ff_dim")?.or(number(json, "intermediate_size")?);
    let adjusts = at(json, "block_auto_adjust_ff_dim").and_then(Json::as_bool).unwrap_or(true);
    if let Some(width) = width.filter(|_| adjusts) {
        let multiplier = at(json, "block_ffn_dim_multiplier").and_then(Json::as_f64).unwrap_or(1.0);
        let step = number(json, "block_multiple_of")?.unwrap_or(256).max(1);
        // Lfm2MLP of transformers.
        let scaled = (multiplier * f64::from((2 * u64::from(width) / 3) as u32)) as u32;
        out.push(("feed_forward_length", Value::U32(scaled.div_ceil(step).saturating_mul(step))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::config::Config;
    use crate::container::metadata::Metadata;
    use crate::container::value::Value;

    fn parse(text: &str) -> Metadata {
        Config::parse(Path::new("config.json"), text.as_bytes()).expect("a good configuration").metadata
    }

    fn list(metadata: &Metadata, key: &str) -> Vec<Value> {
        metadata.arch_array(key).unwrap().scalars().collect()
    }

    /// The sizes and settings of DeepSeek-V2-Lite.
    #[test]
    fn latent_attention_has_the_sizes_of_gguf() {
        let metadata = parse(
            r#"{"model_type": "deepseek_v2", "num_attention_heads": 16, "num_key_value_heads": 16,
                "q_lora_rank": null, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
                "v_head_dim": 128, "hidden_size": 2048, "partial_rotary_factor": 1.0, "scoring_func": "softmax",
                "mlp_layer_types": ["dense", "sparse", "sparse"],
                "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707,
                    "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096, "type": "yarn"}}"#,
        );
        for (key, expected) in [
            ("attention.head_count_kv", 1),
            ("attention.key_length", 576),
            ("attention.value_length", 512),
            ("attention.key_length_mla", 192),
            ("attention.value_length_mla", 128),
            ("rope.dimension_count", 64),
            ("leading_dense_block_count", 1),
            ("expert_gating_func", 1),
        ] {
            assert_eq!(metadata.arch_u32(key).unwrap(), expected, "{key}");
        }
        assert_eq!(metadata.arch_get_u32("attention.q_lora_rank").unwrap(), None);
        assert_eq!(metadata.arch_f32("rope.scaling.attention_factor").unwrap(), 1.0);
        assert_eq!(metadata.arch_f32("rope.scaling.yarn_log_multiplier").unwrap(), 0.0707);
        assert_eq!(metadata.arch_str("rope.scaling.type").unwrap(), "yarn");
    }

    /// LFM2-1.2B says its layers by numbers and its width before adjustment.
    #[test]
    fn convolutions_are_layers_without_key_heads() {
        let metadata = parse(
            r#"{"model_type": "lfm2", "num_hidden_layers": 5, "num_attention_heads": 32, "num_key_value_heads": 8,
                "full_attn_idxs": [2, 4], "block_ff_dim": 12288, "block_auto_adjust_ff_dim": true,
                "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256, "conv_L_cache": 3, "norm_eps": 1e-05}"#,
        );
        assert_eq!(list(&metadata, "attention.head_count_kv"), [0, 0, 8, 0, 8].map(Value::U32));
        assert_eq!(metadata.arch_u32("feed_forward_length").unwrap(), 8192);
        let hostile =
            parse(r#"{"model_type": "lfm2", "num_hidden_layers": 4294967295, "full_attn_idxs": [1]}"#);
        assert_eq!(list(&hostile, "attention.head_count_kv").len(), super::MOST_LAYERS as usize);
    }

    #[test]
    fn sliding_layers_are_listed() {
        let metadata = parse(
            r#"{"model_type": "maple", "hidden_size": 2048, "num_attention_heads": 16, "partial_rotary_factor": 0.5, "sliding_window": 512,
                "layer_types": ["sliding_attention", "full_attention"]}"#,
        );
        assert_eq!(metadata.arch_u32("rope.dimension_count").unwrap(), 64);
        assert_eq!(metadata.arch_u32("attention.sliding_window").unwrap(), 512);
        assert_eq!(list(&metadata, "attention.sliding_window_pattern"), [true, false].map(Value::Bool));
    }
}
