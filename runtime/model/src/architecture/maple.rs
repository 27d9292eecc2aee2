//! Maple (20B-A1B): three sliding layers, then one that sees everything and has no positions; norms on each head; experts
//! whose gated product is clamped.
//!
//! The window of its flash attention counts the positions before a token's own, so one more is seen than the metadata
//! say. Rope turns half of a head. Its experts are ternary, a scale a row, whether a file says so or has them written out.

use super::{Architecture, ExpertDefaults, PLAIN, QueryKeyNorms, Sliding};

pub(super) static ROW: Architecture = Architecture {
    names: &["maple"],
    query_key_norms: QueryKeyNorms::Head,
    ternary: true,
    experts: ExpertDefaults { limit: Some(7.0), ..PLAIN.experts },
    sliding: Some(Sliding { beyond: 1, global_positions: false }),
    ..PLAIN
};
