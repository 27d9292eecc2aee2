//! Hugging Face's tensor names in GGUF's: one row a module.

/// What is outside the layers.
const OUTSIDE: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    // maple.
    ("model.word_embeddings", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    // lfm2: the norm before the head.
    ("model.embedding_norm", "token_embd_norm"),
];

/// What is inside `model.layers.N.`; `E` stands for an expert's number.
const INSIDE: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    // qwen3_moe: a norm of each head; olmoe: of the whole width.
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    // bitnet; the second name is 1bitLLM's.
    ("self_attn.attn_sub_norm", "attn_sub_norm"),
    ("self_attn.inner_attn_ln", "attn_sub_norm"),
    ("mlp.ffn_sub_norm", "ffn_sub_norm"),
    ("mlp.ffn_layernorm", "ffn_sub_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    // qwen3_moe, olmoe.
    ("mlp.gate", "ffn_gate_inp"),
    ("mlp.experts.E.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.E.up_proj", "ffn_up_exps"),
    ("mlp.experts.E.down_proj", "ffn_down_exps"),
    // deepseek_v2, glm4_moe_lite: latent attention, shared experts, and what predicts further tokens.
    ("self_attn.q_a_proj", "attn_q_a"),
    ("self_attn.q_a_layernorm", "attn_q_a_norm"),
    ("self_attn.q_b_proj", "attn_q_b"),
    ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    ("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    ("self_attn.kv_b_proj", "attn_kv_b"),
    ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
    ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
    ("eh_proj", "nextn.eh_proj"),
    ("enorm", "nextn.enorm"),
    ("hnorm", "nextn.hnorm"),
    ("embed_tokens", "nextn.embed_tokens"),
    ("shared_head.head", "nextn.shared_head_head"),
    ("shared_head.norm", "nextn.shared_head_norm"),
    // lfm2.
    ("operator_norm", "attn_norm"),
    ("ffn_norm", "ffn_norm"),
    ("self_attn.out_proj", "attn_output"),
    ("self_attn.q_layernorm", "attn_q_norm"),
    ("self_attn.k_layernorm", "attn_k_norm"),
    ("conv.conv", "shortconv.conv"),
    ("conv.in_proj", "shortconv.in_proj"),
    ("conv.out_proj", "shortconv.out_proj"),
    ("feed_forward.w1", "ffn_gate"),
    ("feed_forward.w3", "ffn_up"),
    ("feed_forward.w2", "ffn_down"),
    // mixtral.
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("block_sparse_moe.experts.E.w1", "ffn_gate_exps"),
    ("block_sparse_moe.experts.E.w3", "ffn_up_exps"),
    ("block_sparse_moe.experts.E.w2", "ffn_down_exps"),
];

/// Tensors inside a layer whose last part GGUF calls otherwise.
const LEAVES: &[(&str, &str)] = &[("mlp.gate.e_score_correction_bias", "exp_probs_b.bias")];

/// A tensor's place: GGUF's name, and which expert of that stack it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// GGUF's name, with its `.weight` or `.bias`.
    pub name: String,
    /// The number of the expert, for a part of a stack.
    pub expert: Option<usize>,
}

/// Where a tensor of this Hugging Face name belongs, if the tables know it.
pub fn place(name: &str) -> Option<Place> {
    let (module, leaf) = name.rsplit_once('.')?;
    if let Some(row) = OUTSIDE.iter().find(|row| row.0 == module) {
        return Some(Place { name: format!("{}.{leaf}", row.1), expert: None });
    }
    let (layer, inside) = module.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let named = LEAVES.iter().find(|row| row.0.rsplit_once('.') == Some((inside, leaf)));
    if let Some(row) = named {
        return Some(Place { name: format!("blk.{layer}.{}", row.1), expert: None });
    }
    let (inside, expert) = generic(inside);
    let row = INSIDE.iter().find(|row| row.0 == inside)?;
    Some(Place { name: format!("blk.{layer}.{}.{leaf}", row.1), expert })
}

/// The module with `E` in place of the number of its expert, and that number.
fn generic(module: &str) -> (String, Option<usize>) {
    let split = module.split_once(".experts.").and_then(|(before, after)| {
        let (expert, after) = after.split_once('.')?;
        Some((format!("{before}.experts.E.{after}"), expert.parse().ok()?))
    });
    split.map_or_else(|| (module.to_owned(), None), |(module, expert)| (module, Some(expert)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_places() {
        let cases = [
            ("model.embed_tokens.weight", "token_embd.weight", None),
            ("lm_head.weight", "output.weight", None),
            ("model.layers.12.self_attn.q_proj.bias", "blk.12.attn_q.bias", None),
            ("model.layers.0.self_attn.inner_attn_ln.weight", "blk.0.attn_sub_norm.weight", None),
            ("model.layers.3.mlp.gate.weight", "blk.3.ffn_gate_inp.weight", None),
            ("model.layers.3.mlp.experts.17.down_proj.weight", "blk.3.ffn_down_exps.weight", Some(17)),
            ("model.layers.7.mlp.gate.e_score_correction_bias", "blk.7.exp_probs_b.bias", None),
            ("model.layers.47.shared_head.norm.weight", "blk.47.nextn.shared_head_norm.weight", None),
            ("model.layers.0.conv.conv.weight", "blk.0.shortconv.conv.weight", None),
            ("model.layers.1.block_sparse_moe.experts.2.w2.weight", "blk.1.ffn_down_exps.weight", Some(2)),
        ];
        for (name, expected, expert) in cases {
            assert_eq!(place(name), Some(Place { name: expected.to_owned(), expert }), "{name}");
        }
        for unknown in ["model.layers.x.mlp.gate.weight", "model.layers.0.rotary_emb.inv_freq", "weight", ""]
        {
            assert_eq!(place(unknown), None, "{unknown}");
        }
    }
}
