//! AVX2 with FMA: 256-bit vectors, byte products summed in pairs to 16 bits.

use craftsman_isa::Feature;
use iced_x86::Code as Op;

use super::Tier;
use crate::vocabulary::{Accumulate, Accumulation, Binary, Shift, Unary};
use crate::x86::{VectorIsa, Width, X86Backend};

/// The tier's row.
pub static AVX2: X86Backend = X86Backend {
    tier: Tier {
        name: "avx2",
        summary: "256-bit, VPMADDUBSW; Haswell, Zen and later",
        requires: &[Feature::Avx2, Feature::Fma],
    },
    adds: &[],
    isa: ISA,
};

/// The words.
pub(super) const ISA: VectorIsa = VectorIsa {
    width: Width::Ymm,
    accumulation: Accumulation::Pairs,
    load: Op::VEX_Vmovdqu_ymm_ymmm256,
    store: Op::VEX_Vmovdqu_ymmm256_ymm,
    broadcast: Op::VEX_Vpbroadcastd_ymm_xmmm32,
    broadcast_block: Op::VEX_Vbroadcasti128_ymm_m128,
    from_general: Op::VEX_Vmovd_xmm_rm32,
    broadcast_lane: Op::VEX_Vpbroadcastd_ymm_xmmm32,
    unary: &[(Unary::ToFloat, Op::VEX_Vcvtdq2ps_ymm_ymmm256), (Unary::ToInt, Op::VEX_Vcvtps2dq_ymm_ymmm256)],
    binary: &[
        (Binary::And, Op::VEX_Vpand_ymm_ymm_ymmm256),
        (Binary::AndNot, Op::VEX_Vpandn_ymm_ymm_ymmm256),
        (Binary::Or, Op::VEX_Vpor_ymm_ymm_ymmm256),
        (Binary::Xor, Op::VEX_Vpxor_ymm_ymm_ymmm256),
        (Binary::Add8, Op::VEX_Vpaddb_ymm_ymm_ymmm256),
        (Binary::Sub8, Op::VEX_Vpsubb_ymm_ymm_ymmm256),
        (Binary::SubSaturate8, Op::VEX_Vpsubusb_ymm_ymm_ymmm256),
        (Binary::Average8, Op::VEX_Vpavgb_ymm_ymm_ymmm256),
        (Binary::Add16, Op::VEX_Vpaddw_ymm_ymm_ymmm256),
        (Binary::Sub16, Op::VEX_Vpsubw_ymm_ymm_ymmm256),
        (Binary::Add32, Op::VEX_Vpaddd_ymm_ymm_ymmm256),
        (Binary::Sub32, Op::VEX_Vpsubd_ymm_ymm_ymmm256),
        (Binary::Max32, Op::VEX_Vpmaxsd_ymm_ymm_ymmm256),
        (Binary::Shuffle8, Op::VEX_Vpshufb_ymm_ymm_ymmm256),
        (Binary::InterleaveLow8, Op::VEX_Vpunpcklbw_ymm_ymm_ymmm256),
        (Binary::InterleaveHigh8, Op::VEX_Vpunpckhbw_ymm_ymm_ymmm256),
        (Binary::Pack16, Op::VEX_Vpackuswb_ymm_ymm_ymmm256),
        (Binary::MulPairs, Op::VEX_Vpmaddubsw_ymm_ymm_ymmm256),
        (Binary::AddPairs, Op::VEX_Vpmaddwd_ymm_ymm_ymmm256),
        (Binary::AddFloat, Op::VEX_Vaddps_ymm_ymm_ymmm256),
        (Binary::SubFloat, Op::VEX_Vsubps_ymm_ymm_ymmm256),
        (Binary::MulFloat, Op::VEX_Vmulps_ymm_ymm_ymmm256),
        (Binary::DivFloat, Op::VEX_Vdivps_ymm_ymm_ymmm256),
        (Binary::MaxFloat, Op::VEX_Vmaxps_ymm_ymm_ymmm256),
    ],
    shifts: &[
        (Shift::Right16, Op::VEX_Vpsrlw_ymm_ymm_imm8),
        (Shift::Right32, Op::VEX_Vpsrad_ymm_ymm_imm8),
        (Shift::Left32, Op::VEX_Vpslld_ymm_ymm_imm8),
    ],
    accumulate: &[
        (Accumulate::MulAddFloat, Op::VEX_Vfmadd231ps_ymm_ymm_ymmm256),
        (Accumulate::MulSubFloat, Op::VEX_Vfnmadd231ps_ymm_ymm_ymmm256),
    ],
    ternary_logic: None,
    tiles: None,
};
