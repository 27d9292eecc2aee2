//! Qwen3 with experts (Qwen3-30B-A3B): norms on each query and key head, softmax router.

use craftsman_golden::float::RopePairing;

use super::{Activation, Architecture, ExpertDefaults, Pairings};

pub(super) static ROW: Architecture = Architecture {
    names: &["qwen3moe"],
    rope: Pairings { gguf: RopePairing::Neox, hugging_face: RopePairing::Neox },
    activation: Activation::Silu,
    sub_norms: false,
    head_norms: true,
    ternary: false,
    // llama.cpp's converter writes no `expert_weights_norm` for it: every published model has `norm_topk_prob`.
    experts: ExpertDefaults { renormalise: true },
};
