//! Agreement with the formulas, for architectures of which no other tool at hand makes a fixture: a random model, computed
//! in `f64` on a page that shares no code with the runtime (`plain`).

mod plain;
mod support;

use std::num::NonZeroUsize;

use craftsman_isa::{HardwareCaps, Tier};
use craftsman_model::container::{Array, Checkpoint, Gguf, Value};
use craftsman_model::{LoadOptions, Model};
use plain::{Plain, Tensors, write};
use support::{argmax, bits};

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

    same_bits(checkpoint, &tokens, &found);

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

/// One token at a time, three threads, portable kernels and experts packed at load answer the same bits.
fn same_bits(checkpoint: &Checkpoint, tokens: &[u32], expected: &[f32]) {
    let caps = HardwareCaps::detect().with_max_tier(Tier::Portable);
    let threads = NonZeroUsize::new(3);
    let options = LoadOptions { threads, caps: Some(caps), resident: true, ..LoadOptions::default() };
    let model = Model::load(checkpoint, &options).unwrap();
    assert!(bits(&model.session().logits_all(tokens).unwrap()) == bits(expected), "all at once");
    let mut session = model.session();
    for (&token, expected) in tokens.iter().zip(expected.chunks(model.config().vocab)) {
        assert!(bits(session.decode(token).unwrap()) == bits(expected), "at {}", session.position());
    }
}

fn check_gguf(plain: &Plain, architecture: &str, tensors: &Tensors, extra: &[(&str, Value)]) {
    check_stored(plain, architecture, tensors, tensors, extra);
}

/// As [`check_gguf`], of a file that stores the tensors in another form.
fn check_stored(
    plain: &Plain,
    architecture: &str,
    tensors: &Tensors,
    stored: &Tensors,
    extra: &[(&str, Value)],
) {
    let file = write::gguf(plain, architecture, stored, extra);
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

#[test]
fn experts_are_read_stacked_fused_and_apart() {
    let plain = Plain { head_norms: true, experts: Some((4, 2)), ..BASE };
    let tensors = plain.random(7);
    check_gguf(&plain, "qwen3moe", &tensors, &[]);
    let (mut apart, mut fused) = (tensors.clone(), tensors.clone());
    for (name, (shape, values)) in &tensors {
        let Some((stem, _)) = name.split_once("_exps.") else { continue };
        apart.remove(name);
        for (expert, values) in values.chunks(shape[1] * shape[2]).enumerate() {
            apart.insert(format!("{stem}.{expert}.weight"), (shape[1..].to_vec(), values.to_vec()));
        }
    }
    check_stored(&plain, "qwen3moe", &tensors, &apart, &[]);
    for layer in 0..plain.layers {
        let take = |part: &str| fused.remove(&format!("blk.{layer}.ffn_{part}_exps.weight")).unwrap();
        let [(shape, gates), (_, ups)] = ["gate", "up"].map(take);
        let size = shape[1] * shape[2];
        let both = gates.chunks(size).zip(ups.chunks(size)).flat_map(|(gate, up)| [gate, up].concat());
        let shape = vec![shape[0], 2 * shape[1], shape[2]];
        fused.insert(format!("blk.{layer}.ffn_gate_up_exps.weight"), (shape, both.collect()));
    }
    check_stored(&plain, "qwen3moe", &tensors, &fused, &[]);
}

/// What 1bitLLM's converters make of its masters: trits times their mean, or bare trits and the mean beside them.
fn quantised(masters: &Tensors, bare: bool) -> Tensors {
    let mut out = masters.clone();
    for (name, (_, values)) in masters {
        let Some(stem) = name.strip_suffix(".weight").filter(|_| name.starts_with("blk.")) else { continue };
        if stem.ends_with("norm") {
            continue;
        }
        let sum: f64 = values.iter().map(|&w| f64::from(w.abs())).sum();
        let mean = (sum / values.len() as f64) as f32;
        let unit = if bare { 1.0 } else { mean };
        let trits = values.iter().map(|w| (w / mean).round_ties_even().clamp(-1.0, 1.0) * unit);
        out.get_mut(name).unwrap().1 = trits.collect();
        if bare {
            out.insert(format!("{stem}.scale"), (vec![1], vec![mean]));
        }
    }
    out
}

#[test]
fn bitnet_of_1bit_llm_from_masters_and_from_trits() {
    // Widths that no block length of a format divides, as 3200 and 8640 of the 3B model.
    let plain = Plain {
        hidden: 200,
        ffn: 344,
        heads: 2,
        kv_heads: 2,
        head_dim: 100,
        rope_dims: 100,
        theta: 1e4,
        epsilon: 1e-5,
        sub_norms: true,
        bit_linear: true,
        ..BASE
    };
    let masters = plain.random(11);
    let config = r#"{"model_type": "llama", "architectures": ["BitnetForCausalLM"], "hidden_size": 200,
        "intermediate_size": 344, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "vocab_size": 120, "rope_theta": 10000.0, "rope_scaling": null, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-05, "hidden_act": "silu", "input_bits": 8, "weight_bits": 1, "tie_word_embeddings": false}"#;
    check_folder(&plain, config, &masters, NAMES);
    for bare in [false, true] {
        check_stored(&plain, "bitnet", &masters, &quantised(&masters, bare), &[]);
    }
}

/// A folder whose experts are trits times a scale a row runs on ternary kernels; that of the masters does not.
fn written_out_experts_are_ternary(config: &str, masters: &Tensors, names: &[(&str, &str)]) {
    let mut stored = masters.clone();
    let experts = stored.iter_mut().filter(|(name, _)| name.contains("_exps."));
    for (_, (shape, values)) in experts {
        for row in values.chunks_mut(shape[2]) {
            let mean = row.iter().map(|w| w.abs()).sum::<f32>() / row.len() as f32;
            for w in row {
                *w = (*w / mean).round_ties_even().clamp(-1.0, 1.0) * mean;
            }
        }
    }
    let kernels = |tensors: &Tensors| {
        let folder = tempfile::tempdir().unwrap();
        write::folder(folder.path(), config, tensors, names);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let model = Model::load(&checkpoint, &LoadOptions::default()).unwrap();
        assert!(model.session().prefill(&[1, 2, 3]).unwrap().iter().all(|logit| logit.is_finite()));
        model.kernels().len()
    };
    assert_eq!((kernels(masters), kernels(&stored) > 0), (0, true));
}

#[test]
fn maple_slides_without_positions_between_and_clamps() {
    let plain = Plain {
        layers: 5,
        rope_dims: 16,
        theta: 1e4,
        head_norms: true,
        window: Some(4),
        experts: Some((6, 2)),
        limit: 7.0,
        ..BASE
    };
    let mut tensors = plain.random(5);
    for (name, (_, values)) in &mut tensors {
        // Large enough for the limit to matter.
        if name.ends_with("ffn_gate_exps.weight") || name.ends_with("ffn_up_exps.weight") {
            for value in values {
                *value *= 6.0;
            }
        }
    }
    let config = r#"{"model_type": "maple", "architectures": ["MapleForCausalLM"], "hidden_size": 64,
        "intermediate_size": 4096, "moe_intermediate_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32, "partial_rotary_factor": 0.5, "vocab_size": 120, "rope_theta": 10000,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-06, "hidden_act": "silu", "num_experts": 6,
        "num_experts_per_tok": 2, "norm_topk_prob": true, "sliding_window": 4, "nope_on_global_attention": true,
        "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
            "sliding_attention"], "tie_word_embeddings": false}"#;
    let names: Vec<_> = NAMES
        .iter()
        .map(|&(gguf, name)| (gguf, if gguf == "token_embd" { "model.word_embeddings" } else { name }))
        .collect();
    check_folder(&plain, config, &tensors, &names);
    written_out_experts_are_ternary(config, &tensors, &names);
    let slides: Vec<_> = (0..5).map(|layer| Value::from(layer % 4 != 3)).collect();
    let keys = [
        ("attention.sliding_window", Value::from(4_u32)),
        ("attention.sliding_window_pattern", Value::Array(Array::of_scalars(&slides).unwrap())),
        ("swiglu_clamp_exp", Value::Array(Array::of_scalars(&vec![Value::from(7.0_f32); 5]).unwrap())),
    ];
    check_gguf(&plain, "maple", &tensors, &keys);
    let file = write::gguf(&plain, "maple", &tensors, &keys);
    gives_pages_back(&Checkpoint::from_gguf(Gguf::from_bytes("maple.gguf", file).unwrap()).unwrap());
    let other = Plain { limit: 3.0, ..plain };
    let keys = [keys[0].clone(), keys[1].clone(), ("swiglu_clamp_exp", Value::from(3.0_f32))];
    check_gguf(&other, "maple", &tensors, &keys);
}

/// A long text, token by token: layers with a window give their pages back, and a cut far behind is computed again.
fn gives_pages_back(checkpoint: &Checkpoint) {
    let model = Model::load(checkpoint, &LoadOptions::default()).unwrap();
    let tokens: Vec<u32> = (0..300).map(|i| (i * i + 5 * i) % 120).collect();
    let expected = model.session().logits_all(&tokens).unwrap();
    let mut session = model.session();
    for (&token, expected) in tokens.iter().zip(expected.chunks(120)) {
        assert!(bits(session.decode(token).unwrap()) == bits(expected), "at {}", session.position());
    }
    let (kept, all) = (session.cache().bytes(), session.cache().bytes_per_position() * 320);
    assert!(kept < all * 2 / 3, "{kept} of {all} bytes: four of five layers slide");
    for cut in [290, 20] {
        session.truncate(cut);
        let last = bits(session.prefill(&tokens[cut..]).unwrap());
        assert!(last == bits(&expected[299 * 120..]), "after a cut at {cut}");
    }
}
