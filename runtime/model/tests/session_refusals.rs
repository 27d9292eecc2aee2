//! Models that contradict themselves, or that the graph has no place for: a typed error each, which names the key or
//! tensor, and never a panic or an allocation of a size that only the metadata claims.

mod support;

use std::sync::Arc;

use craftsman_model::container::{Array, Checkpoint, Gguf, GgufWriter, TensorData, Value};
use craftsman_model::{ErrorKind, LoadOptions, Model, ModelError};
use support::{bits, fixture};

/// What to change in a file.
enum Change {
    Set(&'static str, Value),
    Remove(&'static str),
    RemoveTensor(&'static str),
    RenameTensor(&'static str, &'static str),
    CopyTensor(&'static str, &'static str),
}

fn load_changed(model: &str, changes: &[Change]) -> Result<Arc<Model>, ModelError> {
    let gguf = Gguf::open(&fixture(model)).unwrap();
    let data: Vec<_> = gguf.tensors().iter().map(|tensor| gguf.data(tensor)).collect();
    let mut writer = GgufWriter::new();
    let replaced = |key: &str| {
        changes.iter().any(|change| matches!(change, Change::Set(k, _) | Change::Remove(k) if *k == key))
    };
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| !replaced(key)) {
        writer = writer.metadata(key, value.clone());
    }
    for change in changes {
        if let Change::Set(key, value) = change {
            writer = writer.metadata(key, value.clone());
        }
    }
    for (tensor, data) in gguf.tensors().iter().zip(&data) {
        if changes.iter().any(|change| matches!(change, Change::RemoveTensor(name) if *name == tensor.name()))
        {
            continue;
        }
        let renamed = changes.iter().find_map(|change| match change {
            Change::RenameTensor(from, to) if *from == tensor.name() => Some(*to),
            _ => None,
        });
        let name = renamed.unwrap_or(tensor.name());
        writer = writer.tensor(name, tensor.shape(), tensor.kind(), TensorData::Bytes(data));
        for change in changes {
            if let Change::CopyTensor(from, to) = change
                && *from == tensor.name()
            {
                writer = writer.tensor(to, tensor.shape(), tensor.kind(), TensorData::Bytes(data));
            }
        }
    }
    let gguf = Gguf::from_bytes("changed.gguf", writer.into_bytes()?)?;
    Model::load(&Checkpoint::from_gguf(gguf)?, &LoadOptions::default())
}

fn refused(model: &str, changes: &[Change], kind: ErrorKind, subject: &str) {
    let error = load_changed(model, changes).expect_err(subject);
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.subject(), Some(subject), "{error}");
    assert!(error.to_string().starts_with("changed.gguf: "), "{error}");
}

#[test]
fn an_unchanged_copy_loads() {
    for model in
        ["arch/llama/model-f16.gguf", "arch/qwen3_moe/model-f16.gguf", "ternary/containers/model-tq2_0.gguf"]
    {
        load_changed(model, &[]).unwrap();
    }
}

/// Multi-token prediction: its block stands behind the others, and the count of blocks may include it or not.
#[test]
fn blocks_that_predict_further_tokens_are_skipped() {
    use Change::{CopyTensor, Set};
    let glm = "arch/glm4_moe_lite/model-f16.gguf";
    let logits = |changes: &[Change]| {
        bits(&load_changed(glm, changes).unwrap().session().logits_all(&[1, 2, 3]).unwrap())
    };
    let added = || {
        vec![
            CopyTensor("blk.2.attn_norm.weight", "blk.3.attn_norm.weight"),
            CopyTensor("blk.2.attn_output.weight", "blk.3.nextn.eh_proj.weight"),
            CopyTensor("blk.2.attn_norm.weight", "blk.3.nextn.enorm.weight"),
            Set("deepseek2.nextn_predict_layers", Value::from(1_u32)),
        ]
    };
    let expected = logits(&[]);
    assert!(logits(&added()) == expected);
    let mut counted = added();
    counted.push(Set("deepseek2.block_count", Value::from(4_u32)));
    assert!(logits(&counted) == expected);
    let stray = "blk.3.attn_norm.weight";
    refused(glm, &[CopyTensor("blk.2.attn_norm.weight", stray)], ErrorKind::Unsupported, stray);
}

#[test]
fn metadata_that_contradicts_the_tensors_is_named() {
    use Change::{Remove, Set};
    let llama = "arch/llama/model-f16.gguf";
    let number = |value: u32| Value::from(value);
    for (key, value) in [
        ("llama.block_count", 0),
        ("llama.block_count", u32::MAX),
        ("llama.embedding_length", 0),
        ("llama.attention.head_count", 0),
        ("llama.attention.head_count_kv", 3),
        ("llama.attention.key_length", 0),
        ("llama.context_length", 0),
        ("llama.rope.dimension_count", 7),
        ("llama.rope.dimension_count", u32::MAX),
    ] {
        refused(llama, &[Set(key, number(value))], ErrorKind::Shape, key);
    }
    for (key, value, tensor) in [
        ("llama.block_count", 3, "blk.2.attn_norm.weight"),
        ("llama.embedding_length", u32::MAX, "token_embd.weight"),
        ("llama.feed_forward_length", u32::MAX, "blk.0.ffn_gate.weight"),
        ("llama.attention.head_count", u32::MAX - 1, "blk.0.attn_q.weight"),
    ] {
        let kind = if tensor.starts_with("blk.2") { ErrorKind::Missing } else { ErrorKind::Shape };
        refused(llama, &[Set(key, number(value))], kind, tensor);
    }
    for key in ["llama.block_count", "llama.context_length", "llama.attention.layer_norm_rms_epsilon"] {
        refused(llama, &[Remove(key)], ErrorKind::Missing, key);
    }
    let base = "llama.rope.freq_base";
    refused(llama, &[Set(base, Value::from(0.0_f32))], ErrorKind::Shape, base);
    refused(llama, &[Set(base, Value::from("fast"))], ErrorKind::WrongType, base);
}

#[test]
fn experts_that_do_not_fit_are_named() {
    use Change::Set;
    let qwen = "arch/qwen3_moe/model-f16.gguf";
    let set = |key, value: u32| [Set(key, Value::from(value))];
    let used = "qwen3moe.expert_used_count";
    refused(qwen, &set(used, 9), ErrorKind::Shape, used);
    refused(qwen, &set(used, 0), ErrorKind::Shape, used);
    refused(qwen, &set("qwen3moe.expert_count", u32::MAX), ErrorKind::Shape, "blk.0.ffn_gate_inp.weight");
    refused(
        qwen,
        &set("qwen3moe.expert_feed_forward_length", 63),
        ErrorKind::Shape,
        "blk.0.ffn_gate_exps.weight",
    );
    let gating = "qwen3moe.expert_gating_func";
    refused(qwen, &set(gating, 3), ErrorKind::Unsupported, gating);
}

#[test]
fn layers_that_do_not_fit_are_named() {
    use Change::{Remove, RemoveTensor, Set};
    let set = |key, value: u32| [Set(key, Value::from(value))];
    let glm = "arch/glm4_moe_lite/model-f16.gguf";
    for (key, value) in [
        ("deepseek2.attention.kv_lora_rank", 0),
        ("deepseek2.attention.key_length_mla", 32),
        ("deepseek2.rope.dimension_count", 96),
        ("deepseek2.rope.dimension_count", 31),
        ("deepseek2.attention.value_length_mla", 0),
    ] {
        let subject = if key.ends_with("key_length_mla") { "deepseek2.rope.dimension_count" } else { key };
        refused(glm, &set(key, value), ErrorKind::Shape, subject);
    }
    for (key, value, tensor) in [
        ("deepseek2.attention.kv_lora_rank", u32::MAX, "blk.0.attn_k_b.weight"),
        ("deepseek2.attention.q_lora_rank", u32::MAX, "blk.0.attn_q_a.weight"),
        ("deepseek2.attention.value_length_mla", u32::MAX, "blk.0.attn_v_b.weight"),
        ("deepseek2.expert_shared_count", u32::MAX, "blk.1.ffn_gate_shexp.weight"),
    ] {
        refused(glm, &set(key, value), ErrorKind::Shape, tensor);
    }
    let groups = "deepseek2.expert_group_count";
    refused(glm, &set(groups, 8), ErrorKind::Shape, groups);
    let used = "deepseek2.expert_group_used_count";
    for (count, number) in [(2_u32, 3_u32), (3, 0), (6, 1)] {
        let changes = [Set(groups, Value::from(count)), Set(used, Value::from(number))];
        refused(glm, &changes, ErrorKind::Shape, used);
    }
    let leading = set("deepseek2.leading_dense_block_count", 0);
    refused(glm, &leading, ErrorKind::Missing, "blk.0.ffn_gate_inp.weight");
    for name in ["blk.1.attn_v_b.weight", "blk.2.ffn_up_shexp.weight"] {
        refused(glm, &[RemoveTensor(name)], ErrorKind::Missing, name);
    }

    let lfm = "arch/lfm2/model-f16.gguf";
    let (heads, taps) = ("lfm2.attention.head_count_kv", "lfm2.shortconv.l_cache");
    let list = |numbers: &[u32]| {
        let numbers: Vec<Value> = numbers.iter().map(|&number| Value::from(number)).collect();
        [Set(heads, Value::Array(Array::of_scalars(&numbers).unwrap()))]
    };
    refused(lfm, &list(&[0, 2, 0]), ErrorKind::Shape, heads);
    refused(lfm, &list(&[0; 4]), ErrorKind::Unsupported, heads);
    refused(lfm, &list(&[0, 2, 0, 1]), ErrorKind::Unsupported, heads);
    refused(lfm, &list(&[2, 2, 0, 2]), ErrorKind::Missing, "blk.0.attn_q.weight");
    refused(lfm, &[Remove(taps)], ErrorKind::Missing, taps);
    refused(lfm, &set(taps, u32::MAX), ErrorKind::Shape, "blk.0.shortconv.conv.weight");
}

#[test]
fn tensors_missing_or_without_a_place_are_named() {
    use Change::{RemoveTensor, RenameTensor, Set};
    let llama = "arch/llama/model-f16.gguf";
    let qwen = "arch/qwen3_moe/model-f16.gguf";
    for name in ["token_embd.weight", "output_norm.weight", "blk.1.attn_v.weight", "blk.0.ffn_norm.weight"] {
        refused(llama, &[RemoveTensor(name)], ErrorKind::Missing, name);
    }
    for name in ["blk.1.attn_q_norm.weight", "blk.0.ffn_up_exps.weight"] {
        refused(qwen, &[RemoveTensor(name)], ErrorKind::Missing, name);
    }
    let bias = "blk.0.attn_q.bias";
    refused(llama, &[RenameTensor("rope_freqs.weight", bias)], ErrorKind::Unsupported, bias);
    let architecture = "general.architecture";
    refused(llama, &[Set(architecture, Value::from("mamba"))], ErrorKind::Unsupported, architecture);
    let scaling = "llama.rope.scaling.type";
    refused(llama, &[Set(scaling, Value::from("longrope"))], ErrorKind::Unsupported, scaling);
}
