//! Qwen3 without experts (and Ternary-Bonsai): norms on each query and key head.

use super::{Architecture, PLAIN, QueryKeyNorms};

pub(super) static ROW: Architecture =
    Architecture { names: &["qwen3"], query_key_norms: QueryKeyNorms::Head, ..PLAIN };
