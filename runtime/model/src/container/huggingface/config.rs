//! `config.json` in GGUF's metadata keys.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::derived;
use crate::container::metadata::{ARCHITECTURE, Metadata};
use crate::container::value::Value;
use crate::{ErrorKind, ModelError};

/// Classes of their own whose `model_type` is another's, and GGUF's architecture.
const CLASSES: &[(&str, &str)] = &[(BIT_LLM, "bitnet")];

/// 1bitLLM's class.
const BIT_LLM: &str = "BitnetForCausalLM";

/// Hugging Face's `model_type` and GGUF's architecture.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("bitnet", "bitnet-b1.58"),
    ("deepseek_v2", "deepseek2"),
    ("glm4_moe_lite", "deepseek2"),
    ("lfm2", "lfm2"),
    ("llama", "llama"),
    ("maple", "maple"),
    ("mixtral", "llama"),
    ("qwen3", "qwen3"),
    ("qwen3_moe", "qwen3moe"),
    ("olmoe", "olmoe"),
];

/// How a number of `config.json` is stored.
#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Float,
    Boolean,
    Text,
}

/// One row a key: the path in `config.json`, GGUF's key behind the architecture's prefix, the kind. Of several rows
/// with one GGUF key the first that is present counts: current transformers write `rope_parameters`, older ones
/// `rope_theta` and `rope_scaling`; the count of experts has two names.
const KEYS: &[(&str, &str, Kind)] = &[
    ("vocab_size", "vocab_size", Kind::Integer),
    ("max_position_embeddings", "context_length", Kind::Integer),
    ("hidden_size", "embedding_length", Kind::Integer),
    ("num_hidden_layers", "block_count", Kind::Integer),
    ("block_ff_dim", "feed_forward_length", Kind::Integer),
    ("intermediate_size", "feed_forward_length", Kind::Integer),
    ("num_attention_heads", "attention.head_count", Kind::Integer),
    ("num_key_value_heads", "attention.head_count_kv", Kind::Integer),
    ("num_attention_heads", "attention.head_count_kv", Kind::Integer),
    ("q_lora_rank", "attention.q_lora_rank", Kind::Integer),
    ("kv_lora_rank", "attention.kv_lora_rank", Kind::Integer),
    ("v_head_dim", "attention.value_length_mla", Kind::Integer),
    ("qk_rope_head_dim", "rope.dimension_count", Kind::Integer),
    ("head_dim", "attention.key_length", Kind::Integer),
    ("head_dim", "attention.value_length", Kind::Integer),
    ("head_dim", "rope.dimension_count", Kind::Integer),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon", Kind::Float),
    ("norm_eps", "attention.layer_norm_rms_epsilon", Kind::Float),
    ("rope_parameters.rope_theta", "rope.freq_base", Kind::Float),
    ("rope_theta", "rope.freq_base", Kind::Float),
    ("theta", "rope.freq_base", Kind::Float),
    ("rope_parameters.rope_type", "rope.scaling.type", Kind::Text),
    ("rope_scaling.rope_type", "rope.scaling.type", Kind::Text),
    ("rope_scaling.type", "rope.scaling.type", Kind::Text),
    ("rope_parameters.factor", "rope.scaling.factor", Kind::Float),
    ("rope_scaling.factor", "rope.scaling.factor", Kind::Float),
    ("rope_parameters.low_freq_factor", "rope.scaling.low_freq_factor", Kind::Float),
    ("rope_scaling.low_freq_factor", "rope.scaling.low_freq_factor", Kind::Float),
    ("rope_parameters.high_freq_factor", "rope.scaling.high_freq_factor", Kind::Float),
    ("rope_scaling.high_freq_factor", "rope.scaling.high_freq_factor", Kind::Float),
    (
        "rope_parameters.original_max_position_embeddings",
        "rope.scaling.original_context_length",
        Kind::Integer,
    ),
    ("rope_scaling.original_max_position_embeddings", "rope.scaling.original_context_length", Kind::Integer),
    ("rope_parameters.beta_fast", "rope.scaling.yarn_beta_fast", Kind::Float),
    ("rope_scaling.beta_fast", "rope.scaling.yarn_beta_fast", Kind::Float),
    ("rope_parameters.beta_slow", "rope.scaling.yarn_beta_slow", Kind::Float),
    ("rope_scaling.beta_slow", "rope.scaling.yarn_beta_slow", Kind::Float),
    ("rope_parameters.attention_factor", "rope.scaling.attention_factor", Kind::Float),
    ("rope_scaling.attention_factor", "rope.scaling.attention_factor", Kind::Float),
    ("conv_L_cache", "shortconv.l_cache", Kind::Integer),
    ("n_routed_experts", "expert_count", Kind::Integer),
    ("num_experts", "expert_count", Kind::Integer),
    ("num_local_experts", "expert_count", Kind::Integer),
    ("num_experts_per_tok", "expert_used_count", Kind::Integer),
    ("moe_intermediate_size", "expert_feed_forward_length", Kind::Integer),
    ("norm_topk_prob", "expert_weights_norm", Kind::Boolean),
    ("routed_scaling_factor", "expert_weights_scale", Kind::Float),
    ("n_shared_experts", "expert_shared_count", Kind::Integer),
    ("n_group", "expert_group_count", Kind::Integer),
    ("topk_group", "expert_group_used_count", Kind::Integer),
    ("first_k_dense_replace", "leading_dense_block_count", Kind::Integer),
    ("num_nextn_predict_layers", "nextn_predict_layers", Kind::Integer),
    ("clip_qkv", "attention.clamp_kqv", Kind::Float),
    ("tie_word_embeddings", "tie_word_embeddings", Kind::Boolean),
    ("hidden_act", "hidden_act", Kind::Text),
];

/// What the scales of packed BitNet weights mean, and whether there are any (formats: "Hugging Face packing").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// No ternary weights.
    None,
    /// `W = t * weight_scale` (microsoft/bitnet-b1.58-2B-4T).
    Multiplies,
    /// `W = t / weight_scale` (`HF1BitLLM`, Falcon3, Falcon-E).
    Divides,
    /// No packed weights: float masters are quantised when they are loaded.
    Online,
}

/// What `config.json` says.
pub struct Config {
    pub metadata: Metadata,
    pub packing: Packing,
    /// The head is the embedding; a stored head is ignored.
    pub tied: bool,
    /// Modules that are not quantised.
    kept: Vec<String>,
}

impl Config {
    /// Whether the weights of this Hugging Face name are quantised when they are loaded: those of linear modules,
    /// but for the head and what the configuration excepts by a module's whole name or a part of its path.
    pub fn quantises(&self, tensor: &str) -> bool {
        let Some(module) = tensor.strip_suffix(".weight") else { return false };
        let dotted = format!(".{module}.");
        let kept = self.kept.iter().any(|kept| dotted.contains(&format!(".{kept}.")));
        let linear = ["_proj", ".w1", ".w2", ".w3"].iter().any(|suffix| module.ends_with(suffix));
        linear && !kept
    }

    /// Translates the text of `config.json` at `path`.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ModelError> {
        let in_file = |error: ModelError| error.in_file(path);
        let json: Json = serde_json::from_slice(text)
            .map_err(|error| in_file(ModelError::corrupt(format!("not JSON: {error}"))))?;
        let entries = translate(&json).map_err(in_file)?;
        Ok(Self {
            metadata: Metadata::new(path, entries),
            packing: packing(&json).map_err(in_file)?,
            kept: kept(&json),
            tied: json.get("tie_word_embeddings").and_then(Json::as_bool).unwrap_or(false),
        })
    }
}

/// The entry at a dotted path; absent and null are the same.
pub(super) fn at<'a>(json: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(json, |json, key| json.get(key)).filter(|json| !json.is_null())
}

/// The model's class in transformers or beside the weights.
fn class(json: &Json) -> Option<&str> {
    at(json, "architectures")?.get(0)?.as_str()
}

fn translate(json: &Json) -> Result<BTreeMap<String, Value>, ModelError> {
    let model_type = at(json, "model_type").and_then(Json::as_str).ok_or_else(|| {
        ModelError::new(ErrorKind::Missing, "is missing", "use the folder of a causal language model")
            .key("model_type")
    })?;
    let class = CLASSES.iter().find(|row| Some(row.0) == class(json));
    let row = class.or_else(|| ARCHITECTURES.iter().find(|row| row.0 == model_type));
    let architecture = row.map(|row| row.1).ok_or_else(|| unknown(model_type))?;
    let mut entries = BTreeMap::from([(ARCHITECTURE.to_owned(), Value::from(architecture))]);
    let mut put = |key: &str, value: Value| {
        entries.entry(format!("{architecture}.{key}")).or_insert(value);
    };
    for (key, value) in derived::said_otherwise(json, model_type)? {
        put(key, value);
    }
    for &(path, key, kind) in KEYS {
        if let Some(found) = at(json, path) {
            put(key, convert(found, kind).ok_or_else(|| wrong_type(path, found))?);
        }
    }
    for (key, value) in derived::implied(json, model_type) {
        put(key, value);
    }
    entries.extend(tokens(json));
    Ok(entries)
}

fn unknown(model_type: &str) -> ModelError {
    let known: Vec<&str> = ARCHITECTURES.iter().map(|row| row.0).collect();
    ModelError::new(
        ErrorKind::Unsupported,
        format!("the model type `{}` is unknown", model_type.escape_debug()),
        format!("use a model of one of the types {}", known.join(", ")),
    )
    .key("model_type")
}

pub(super) fn wrong_type(path: &str, found: &Json) -> ModelError {
    let found: String = found.to_string().chars().take(40).collect();
    ModelError::new(ErrorKind::WrongType, format!("holds {found}"), "correct config.json").key(path)
}

fn convert(json: &Json, kind: Kind) -> Option<Value> {
    Some(match kind {
        Kind::Integer => Value::U32(u32::try_from(json.as_u64()?).ok()?),
        Kind::Float => Value::F32(json.as_f64()? as f32),
        Kind::Boolean => Value::Bool(json.as_bool()?),
        // GGUF calls it `none` when rope is not scaled.
        Kind::Text => Value::from(json.as_str().map(|text| if text == "default" { "none" } else { text })?),
    })
}

/// The ids of the special tokens, under the tokenizer's keys. `eos_token_id` may be a list: its first is the end of
/// the text, the others end a turn.
fn tokens(json: &Json) -> Vec<(String, Value)> {
    let id = |json: &Json| json.as_u64().and_then(|id| u32::try_from(id).ok()).map(Value::U32);
    let eos = at(json, "eos_token_id").map(|eos| match eos {
        Json::Array(list) => list.iter().filter_map(id).collect(),
        one => Vec::from_iter(id(one)),
    });
    let mut eos = eos.unwrap_or_default().into_iter();
    let rows = [
        ("bos_token_id", at(json, "bos_token_id").and_then(id)),
        ("eos_token_id", eos.next()),
        ("eot_token_id", eos.next()),
        ("padding_token_id", at(json, "pad_token_id").and_then(id)),
    ];
    let present = rows.into_iter().filter_map(|(key, value)| Some((format!("tokenizer.ggml.{key}"), value?)));
    present.collect()
}

/// `modules_to_not_convert`.
fn kept(json: &Json) -> Vec<String> {
    let list = at(json, "quantization_config.modules_to_not_convert").and_then(Json::as_array);
    list.into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
}

fn packing(json: &Json) -> Result<Packing, ModelError> {
    let Some(quantization) = at(json, "quantization_config") else {
        let online = class(json) == Some(BIT_LLM);
        return Ok(if online { Packing::Online } else { Packing::None });
    };
    let text = |key, default| at(quantization, key).and_then(Json::as_str).unwrap_or(default);
    match (text("quant_method", ""), text("linear_class", "bitlinear"), text("quantization_mode", "offline"))
    {
        ("bitnet", "bitlinear", _) => Ok(Packing::Divides),
        ("bitnet", "autobitlinear", "offline") => Ok(Packing::Multiplies),
        ("bitnet", "autobitlinear", "online") => Ok(Packing::Online),
        (method, class, mode) => Err(ModelError::new(
            ErrorKind::Unsupported,
            format!("quantisation `{method}` with linear class `{class}` and mode `{mode}` is unknown"),
            "use BitNet packing (bitlinear, or autobitlinear offline or online) or unquantised weights",
        )
        .key("quantization_config")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ModelError> {
        Config::parse(Path::new("config.json"), text.as_bytes())
    }

    #[test]
    fn keys_old_and_new_are_translated() {
        let old = parse(
            r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 5e5,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "eos_token_id": [7, 9], "head_dim": null}"#,
        )
        .unwrap();
        let metadata = old.metadata;
        assert_eq!(metadata.architecture(), "llama");
        assert_eq!(metadata.arch_u32("attention.key_length").unwrap(), 16);
        assert_eq!(metadata.arch_u32("attention.head_count_kv").unwrap(), 4);
        assert_eq!(metadata.arch_f32("rope.freq_base").unwrap(), 5e5);
        assert_eq!(metadata.arch_str("rope.scaling.type").unwrap(), "llama3");
        assert_eq!(metadata.u32("tokenizer.ggml.eot_token_id").unwrap(), 9);
        assert_eq!((old.packing, old.tied), (Packing::None, false));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let message = |text| parse(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message("{").contains("config.json: not JSON"));
        assert!(message("{}").contains("key `model_type`"));
        assert!(message(r#"{"model_type": "mamba"}"#).contains("`mamba` is unknown"));
        assert!(
            message(r#"{"model_type": "llama", "vocab_size": -1}"#).contains("key `vocab_size`: holds -1")
        );
        let awq = r#"{"model_type": "llama", "quantization_config": {"quant_method": "awq"}}"#;
        assert!(message(awq).contains("quantisation `awq`"));
    }
}
