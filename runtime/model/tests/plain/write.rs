//! The same tensors as a GGUF file and as a Hugging Face folder.

use std::path::Path;

use craftsman_model::container::{GgufWriter, TensorType, Value};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::{Plain, Tensors};

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A GGUF file of `architecture` with f32 weights; `extra` keys are without the architecture's prefix.
pub fn gguf(plain: &Plain, architecture: &str, tensors: &Tensors, extra: &[(&str, Value)]) -> Vec<u8> {
    let number = |value: usize| Value::from(value as u32);
    let mut keys = vec![
        ("block_count", number(plain.layers)),
        ("context_length", number(512)),
        ("embedding_length", number(plain.hidden)),
        ("feed_forward_length", number(plain.ffn)),
        ("attention.head_count", number(plain.heads)),
        ("attention.head_count_kv", number(plain.kv_heads)),
        ("attention.key_length", number(plain.head_dim)),
        ("attention.value_length", number(plain.head_dim)),
        ("rope.dimension_count", number(plain.rope_dims)),
        ("rope.freq_base", Value::from(plain.theta as f32)),
        ("attention.layer_norm_rms_epsilon", Value::from(plain.epsilon as f32)),
    ];
    if let Some((count, used)) = plain.experts {
        keys.push(("expert_count", number(count)));
        keys.push(("expert_used_count", number(used)));
        keys.push(("expert_feed_forward_length", number(plain.ffn)));
    }
    keys.extend_from_slice(extra);
    let mut writer = GgufWriter::new().metadata("general.architecture", architecture);
    for (key, value) in keys {
        writer = writer.metadata(&format!("{architecture}.{key}"), value);
    }
    let kind = TensorType::named("F32").unwrap();
    for (name, (shape, values)) in tensors {
        writer = writer.tensor(name, shape, kind, bytes(values));
    }
    writer.into_bytes().unwrap()
}

/// A folder with `config`, and tensors under the names that `rename` gives for GGUF's, stacks of experts taken apart.
pub fn folder(path: &Path, config: &str, tensors: &Tensors, rename: &[(&str, &str)]) {
    let mut parts: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, (shape, values)) in tensors {
        let (layer, part) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, part)) => (format!("model.layers.{layer}."), part),
            None => (String::new(), name.as_str()),
        };
        let part = part.strip_suffix(".weight").unwrap();
        let part = rename.iter().find(|row| row.0 == part).unwrap_or_else(|| panic!("{name} has no row")).1;
        if let [count, m, k] = shape[..] {
            for (expert, values) in values.chunks(m * k).enumerate().take(count) {
                let part = part.replace('E', &expert.to_string());
                parts.push((format!("{layer}{part}.weight"), vec![m, k], bytes(values)));
            }
        } else {
            parts.push((format!("{layer}{part}.weight"), shape.clone(), bytes(values)));
        }
    }
    let views = parts.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path.join("config.json"), config).unwrap();
    std::fs::write(path.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}
