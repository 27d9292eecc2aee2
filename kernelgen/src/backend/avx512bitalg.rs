//! AVX-512 with VNNI and BITALG: counts of bits, for bit-sliced weights.

use craftsman_isa::Feature;
use iced_x86::Code as Op;

use super::{Tier, avx512vnni};
use crate::vocabulary::{Unary, Word};
use crate::x86::{VectorIsa, X86Backend};

/// The tier's row.
pub static AVX512_BITALG: X86Backend = X86Backend {
    tier: Tier {
        name: "avx512bitalg",
        summary: "512-bit, VPOPCNTB, VPTERNLOGD; Ice Lake, Zen 4 and later",
        requires: &[Feature::Avx512F, Feature::Avx512Bw, Feature::Avx512Vnni, Feature::Avx512Bitalg],
    },
    adds: &[Word::Unary(Unary::PopCount8)],
    isa: VectorIsa {
        unary: &[
            (Unary::ToFloat, Op::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er),
            (Unary::ToInt, Op::EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er),
            (Unary::PopCount8, Op::EVEX_Vpopcntb_zmm_k1z_zmmm512),
        ],
        ..avx512vnni::ISA
    },
};
