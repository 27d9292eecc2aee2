//! AVX2 with FMA: 256-bit vectors, byte products summed in pairs to 16 bits.

use craftsman_isa::Feature;
use iced_x86::Code as Op;

use crate::vocabulary::Accumulation;
use crate::x86::{VectorIsa, Width, X86Backend};

/// The tier's row.
pub static AVX2: X86Backend = X86Backend {
    name: "avx2",
    summary: "256-bit, VPMADDUBSW; Haswell, Zen and later",
    requires: &[Feature::Avx2, Feature::Fma],
    isa: VectorIsa {
        width: Width::Ymm,
        accumulation: Accumulation::Pairs,
        load: Op::VEX_Vmovdqu_ymm_ymmm256,
        store: Op::VEX_Vmovdqu_ymmm256_ymm,
        broadcast: Op::VEX_Vpbroadcastd_ymm_xmmm32,
        from_general: Op::VEX_Vmovd_xmm_rm32,
        broadcast_lane: Op::VEX_Vpbroadcastd_ymm_xmmm32,
        xor: Op::VEX_Vpxor_ymm_ymm_ymmm256,
        and: Op::VEX_Vpand_ymm_ymm_ymmm256,
        shift_right_16: Op::VEX_Vpsrlw_ymm_ymm_imm8,
        shift_right_32: Op::VEX_Vpsrad_ymm_ymm_imm8,
        add_32: Op::VEX_Vpaddd_ymm_ymm_ymmm256,
        add_16: Op::VEX_Vpaddw_ymm_ymm_ymmm256,
        sub_32: Op::VEX_Vpsubd_ymm_ymm_ymmm256,
        dot: None,
        multiply_pairs: Op::VEX_Vpmaddubsw_ymm_ymm_ymmm256,
        add_pairs: Op::VEX_Vpmaddwd_ymm_ymm_ymmm256,
        to_float: Op::VEX_Vcvtdq2ps_ymm_ymmm256,
        mul_float: Op::VEX_Vmulps_ymm_ymm_ymmm256,
        div_float: Op::VEX_Vdivps_ymm_ymm_ymmm256,
        fused_add: Op::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
    },
};
