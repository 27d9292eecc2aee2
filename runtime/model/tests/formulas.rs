//! Agreement with the formulas, for architectures of which no other tool at hand makes a fixture: a random model, computed
//! in `f64` on a page that shares no code with the runtime (`plain`).

mod plain;
mod support;

use craftsman_model::container::{Checkpoint, Gguf, Value};
use craftsman_model::{LoadOptions, Model};
use plain::{Plain, Tensors, write};
use support::argmax;

const BASE: Plain = Plain {
    hidden: 64,
    ffn: 96,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    head_dim: 32,
    vocab: 120,
    theta: 1e6,
    rope_dims: 32,
    epsilon: 1e-6,
    head_norms: false,
    sub_norms: false,
    bit_linear: false,
    window: None,
    experts: None,
    limit: f64::INFINITY,
};

/// Hugging Face's names for those of GGUF.
const NAMES: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output", "lm_head"),
    ("output_norm", "model.norm"),
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_sub_norm", "self_attn.inner_attn_ln"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_sub_norm", "mlp.ffn_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_exps", "mlp.experts.E.gate_proj"),
    ("ffn_up_exps", "mlp.experts.E.up_proj"),
    ("ffn_down_exps", "mlp.experts.E.down_proj"),
];

/// Compares logits of every position with the formulas', and the greedy continuation with theirs.
fn check(plain: &Plain, tensors: &Tensors, checkpoint: &Checkpoint) {
    let model = Model::load(checkpoint, &LoadOptions::default()).unwrap();
    let mut tokens: Vec<u32> = (0..14).map(|i| (i * i * 7 + 3 * i) % plain.vocab as u32).collect();
    let found = model.session().logits_all(&tokens).unwrap();
    let expected = plain.logits(tensors, &tokens);
    let difference = found.iter().zip(expected.iter().flatten()).map(|(a, b)| (f64::from(*a) - b).abs());
    let worst = difference.fold(0.0, f64::max);
    println!("{}: max {worst:.2e}", checkpoint.path().display());
    assert!(worst <= 2e-3, "{worst}");

    let mut session = model.session();
    let mut next = argmax(session.prefill(&tokens).unwrap());
    for _ in 0..8 {
        let expected = plain.logits(tensors, &tokens);
        let last: Vec<f32> = expected[tokens.len() - 1].iter().map(|&logit| logit as f32).collect();
        assert_eq!(next, argmax(&last), "after {} tokens", tokens.len());
        tokens.push(next);
        next = argmax(session.decode(next).unwrap());
    }
}

fn check_gguf(plain: &Plain, architecture: &str, tensors: &Tensors, extra: &[(&str, Value)]) {
    let file = write::gguf(plain, architecture, tensors, extra);
    let gguf = Gguf::from_bytes(&format!("{architecture}.gguf"), file).unwrap();
    check(plain, tensors, &Checkpoint::from_gguf(gguf).unwrap());
}

fn check_folder(plain: &Plain, config: &str, tensors: &Tensors, names: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    write::folder(folder.path(), config, tensors, names);
    check(plain, tensors, &Checkpoint::open(folder.path()).unwrap());
}

#[test]
fn qwen3_has_norms_on_heads_wider_than_the_residual_stream() {
    let plain = Plain { head_norms: true, ..BASE };
    let tensors = plain.random(3);
    check_gguf(&plain, "qwen3", &tensors, &[]);
    let config = r#"{"model_type": "qwen3", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 120, "rope_theta": 1000000,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false,
        "sliding_window": null, "use_sliding_window": false}"#;
    check_folder(&plain, config, &tensors, NAMES);
}
