//! NEON with dot products of signed bytes (`FEAT_DotProd`).

use craftsman_isa::Feature;

use super::Tier;
use crate::a64::{A64Backend, Dot, NeonIsa};

/// The tier's row.
pub static NEON_DOT: A64Backend = A64Backend {
    tier: Tier {
        name: "neondot",
        summary: "128-bit, SDOT; Cortex-A75, Apple A11 and later",
        requires: &[Feature::Neon, Feature::Dotprod],
    },
    isa: NeonIsa { dot: Dot::Signed, matrices: false },
};
