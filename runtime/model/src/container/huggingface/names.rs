//! Hugging Face's tensor names in GGUF's: one row a module.

/// What is outside the layers.
const OUTSIDE: &[(&str, &str)] =
    &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

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
    // mixtral.
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("block_sparse_moe.experts.E.w1", "ffn_gate_exps"),
    ("block_sparse_moe.experts.E.w3", "ffn_up_exps"),
    ("block_sparse_moe.experts.E.w2", "ffn_down_exps"),
];

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
