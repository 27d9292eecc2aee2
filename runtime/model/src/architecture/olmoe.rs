//! `OLMoE` (1B-7B): norms over the full width of queries and of keys, and experts whose weights keep the share of the
//! softmax that the others took.

use super::{Architecture, ExpertDefaults, PLAIN, QueryKeyNorms};

pub(super) static ROW: Architecture = Architecture {
    names: &["olmoe"],
    query_key_norms: QueryKeyNorms::Full,
    // llama.cpp's converter writes no `expert_weights_norm` for it: every published model has `norm_topk_prob` off.
    experts: ExpertDefaults { renormalise: false, ..PLAIN.experts },
    ..PLAIN
};
