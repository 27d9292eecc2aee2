//! AVX-512 with VNNI: 512-bit vectors, four byte products summed straight into 32 bits.

use craftsman_isa::Feature;
use iced_x86::Code as Op;

use super::{Tier, avx512bw};
use crate::vocabulary::{Accumulate, Accumulation};
use crate::x86::{VectorIsa, X86Backend};

/// The tier's row.
pub static AVX512_VNNI: X86Backend = X86Backend {
    tier: Tier {
        name: "avx512vnni",
        summary: "512-bit, VPDPBUSD; Ice Lake, Sapphire Rapids, Zen 4 and later",
        requires: &[Feature::Avx512F, Feature::Avx512Bw, Feature::Avx512Vnni],
    },
    adds: &[],
    isa: ISA,
};

/// The words.
pub(super) const ISA: VectorIsa = VectorIsa {
    accumulation: Accumulation::Direct,
    accumulate: &[
        (Accumulate::Dot, Op::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32),
        (Accumulate::MulAddFloat, Op::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er),
        (Accumulate::MulSubFloat, Op::EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er),
    ],
    ..avx512bw::ISA
};
