//! AVX2 with AVX-VNNI: 256-bit vectors, four byte products summed straight into 32 bits.

use craftsman_isa::Feature;
use iced_x86::Code as Op;

use super::{Tier, avx2};
use crate::vocabulary::{Accumulate, Accumulation};
use crate::x86::{VectorIsa, X86Backend};

/// The tier's row.
pub static AVX_VNNI: X86Backend = X86Backend {
    tier: Tier {
        name: "avxvnni",
        summary: "256-bit, VPDPBUSD; Alder Lake, Zen 5 and later",
        requires: &[Feature::Avx2, Feature::Fma, Feature::AvxVnni],
    },
    adds: &[],
    isa: VectorIsa {
        accumulation: Accumulation::Direct,
        accumulate: &[
            (Accumulate::Dot, Op::VEX_Vpdpbusd_ymm_ymm_ymmm256),
            (Accumulate::MulAddFloat, Op::VEX_Vfmadd231ps_ymm_ymm_ymmm256),
            (Accumulate::MulSubFloat, Op::VEX_Vfnmadd231ps_ymm_ymm_ymmm256),
        ],
        ..avx2::ISA
    },
};
