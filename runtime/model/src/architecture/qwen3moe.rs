//! Qwen3 with experts (Qwen3-30B-A3B): norms on each query and key head, softmax router.
//!
//! llama.cpp's converter writes no `expert_weights_norm` for it: every published model has `norm_topk_prob`.

use super::{Architecture, PLAIN, QueryKeyNorms};

pub(super) static ROW: Architecture =
    Architecture { names: &["qwen3moe"], query_key_norms: QueryKeyNorms::Head, ..PLAIN };
