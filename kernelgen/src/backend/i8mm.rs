//! NEON with products of unsigned and signed bytes (`FEAT_I8MM`): dot products, and of matrices for several tokens.

use craftsman_isa::Feature;

use super::Tier;
use crate::a64::{A64Backend, Dot, NeonIsa};

/// The tier's row.
pub static I8MM: A64Backend = A64Backend {
    tier: Tier {
        name: "i8mm",
        summary: "128-bit, USDOT and USMMLA; Neoverse V1, Apple M2 and later",
        requires: &[Feature::Neon, Feature::Dotprod, Feature::I8mm],
    },
    isa: NeonIsa { dot: Dot::Mixed, matrices: true },
};
