//! NEON: what every `ARMv8` processor has. Products of bytes are widened and summed in pairs.

use craftsman_isa::Feature;

use super::Tier;
use crate::a64::{A64Backend, Dot, NeonIsa};

/// The tier's row.
pub static NEON: A64Backend = A64Backend {
    tier: Tier { name: "neon", summary: "128-bit, SMULL; any ARMv8", requires: &[Feature::Neon] },
    isa: NeonIsa { dot: Dot::Widening, matrices: false },
};
