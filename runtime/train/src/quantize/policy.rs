//! Which tensors become ternary.

use craftsman_model::container::TensorInfo;
use wildmatch::WildMatch;

/// The projections of a block: what is worth being ternary. All else keeps its type: norms, routers, embeddings and heads,
/// convolutions' kernels, the halves of latent attention that are multiplied in f32, blocks that predict further tokens.
const PROJECTIONS: &[&str] = &[
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "attn_q_a",
    "attn_q_b",
    "attn_kv_a_mqa",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "ffn_gate_exps",
    "ffn_up_exps",
    "ffn_gate_up_exps",
    "ffn_down_exps",
    "ffn_gate_shexp",
    "ffn_up_shexp",
    "ffn_down_shexp",
    "shortconv.in_proj",
    "shortconv.out_proj",
];

/// A tensor within a block: its block and the name of the part.
pub(super) fn part(tensor: &str) -> Option<(usize, &str)> {
    let (block, part) = tensor.strip_prefix("blk.")?.strip_suffix(".weight")?.split_once('.')?;
    Some((block.parse().ok()?, part))
}

/// Which tensors become ternary: the projections of the blocks, but for those that are to be kept.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    kept: Vec<WildMatch>,
}

impl Policy {
    /// Keeps tensors whose GGUF name fits `pattern`, in which `*` stands for any characters and `?` for one.
    #[must_use]
    pub fn keeping(mut self, pattern: &str) -> Self {
        self.kept.push(WildMatch::new(pattern));
        self
    }

    /// Whether a tensor becomes ternary.
    pub fn takes(&self, tensor: &TensorInfo) -> bool {
        self.takes_named(&tensor.name)
    }

    fn takes_named(&self, name: &str) -> bool {
        let Some((_, part)) = part(name) else { return false };
        // Files from before there were stacks have a tensor for each expert: `ffn_gate.7`.
        let is_number = |number: &str| number.parse::<u32>().is_ok();
        let part =
            part.rsplit_once('.').filter(|(_, number)| is_number(number)).map_or(part, |(part, _)| part);
        PROJECTIONS.contains(&part) && !self.kept.iter().any(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;

    #[test]
    fn projections_become_ternary_and_nothing_else() {
        let policy = Policy::default().keeping("blk.3.*").keeping("*.attn_v.weight");
        for name in ["blk.0.attn_q.weight", "blk.12.ffn_down_exps.weight", "blk.1.ffn_up.7.weight"] {
            assert!(policy.takes_named(name), "{name}");
        }
        for name in [
            "token_embd.weight",
            "output.weight",
            "blk.0.attn_norm.weight",
            "blk.0.ffn_gate_inp.weight",
            "blk.0.attn_k_b.weight",
            "blk.0.attn_q.bias",
            "blk.2.nextn.eh_proj.weight",
            "blk.3.attn_q.weight",
            "blk.0.attn_v.weight",
        ] {
            assert!(!policy.takes_named(name), "{name}");
        }
    }
}
