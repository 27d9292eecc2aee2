//! AVX-512 F and BW: 512-bit vectors, byte products summed in pairs to 16 bits.

use craftsman_isa::Feature;
use iced_x86::Code as Op;

use super::Tier;
use crate::vocabulary::{Accumulate, Accumulation, Binary, Shift, Unary};
use crate::x86::{VectorIsa, Width, X86Backend};

/// The tier's row.
pub static AVX512_BW: X86Backend = X86Backend {
    tier: Tier {
        name: "avx512bw",
        summary: "512-bit, VPMADDUBSW; Skylake-X and later",
        requires: &[Feature::Avx512F, Feature::Avx512Bw],
    },
    adds: &[],
    isa: ISA,
};

/// The words.
pub(super) const ISA: VectorIsa = VectorIsa {
    width: Width::Zmm,
    accumulation: Accumulation::Pairs,
    load: Op::EVEX_Vmovdqu32_zmm_k1z_zmmm512,
    store: Op::EVEX_Vmovdqu32_zmmm512_k1z_zmm,
    broadcast: Op::EVEX_Vpbroadcastd_zmm_k1z_xmmm32,
    broadcast_block: Op::EVEX_Vbroadcasti32x4_zmm_k1z_m128,
    from_general: Op::EVEX_Vmovd_xmm_rm32,
    broadcast_lane: Op::EVEX_Vpbroadcastd_zmm_k1z_xmmm32,
    unary: &[
        (Unary::ToFloat, Op::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er),
        (Unary::ToInt, Op::EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er),
    ],
    binary: &[
        (Binary::And, Op::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32),
        (Binary::AndNot, Op::EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32),
        (Binary::Or, Op::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32),
        (Binary::Xor, Op::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32),
        (Binary::Add8, Op::EVEX_Vpaddb_zmm_k1z_zmm_zmmm512),
        (Binary::Sub8, Op::EVEX_Vpsubb_zmm_k1z_zmm_zmmm512),
        (Binary::SubSaturate8, Op::EVEX_Vpsubusb_zmm_k1z_zmm_zmmm512),
        (Binary::Average8, Op::EVEX_Vpavgb_zmm_k1z_zmm_zmmm512),
        (Binary::Add16, Op::EVEX_Vpaddw_zmm_k1z_zmm_zmmm512),
        (Binary::Sub16, Op::EVEX_Vpsubw_zmm_k1z_zmm_zmmm512),
        (Binary::Add32, Op::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32),
        (Binary::Sub32, Op::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32),
        (Binary::Max32, Op::EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32),
        (Binary::Shuffle8, Op::EVEX_Vpshufb_zmm_k1z_zmm_zmmm512),
        (Binary::InterleaveLow8, Op::EVEX_Vpunpcklbw_zmm_k1z_zmm_zmmm512),
        (Binary::InterleaveHigh8, Op::EVEX_Vpunpckhbw_zmm_k1z_zmm_zmmm512),
        (Binary::Pack16, Op::EVEX_Vpackuswb_zmm_k1z_zmm_zmmm512),
        (Binary::MulPairs, Op::EVEX_Vpmaddubsw_zmm_k1z_zmm_zmmm512),
        (Binary::AddPairs, Op::EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512),
        (Binary::AddFloat, Op::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er),
        (Binary::SubFloat, Op::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er),
        (Binary::MulFloat, Op::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er),
        (Binary::DivFloat, Op::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er),
        (Binary::MaxFloat, Op::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae),
    ],
    shifts: &[
        (Shift::Right16, Op::EVEX_Vpsrlw_zmm_k1z_zmmm512_imm8),
        (Shift::Right32, Op::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8),
        (Shift::Left32, Op::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8),
    ],
    accumulate: &[
        (Accumulate::MulAddFloat, Op::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er),
        (Accumulate::MulSubFloat, Op::EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er),
    ],
    ternary_logic: Some(Op::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8),
    tiles: None,
};
