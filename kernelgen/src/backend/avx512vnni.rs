//! AVX-512 with VNNI: 512-bit vectors, four byte products summed straight into 32 bits.

use craftsman_isa::Feature;
use iced_x86::Code as Op;

use crate::vocabulary::Accumulation;
use crate::x86::{VectorIsa, Width, X86Backend};

/// The tier's row.
pub static AVX512_VNNI: X86Backend = X86Backend {
    name: "avx512vnni",
    summary: "512-bit, VPDPBUSD; Ice Lake, Sapphire Rapids, Zen 4 and later",
    requires: &[Feature::Avx512F, Feature::Avx512Bw, Feature::Avx512Vnni],
    isa: VectorIsa {
        width: Width::Zmm,
        accumulation: Accumulation::Direct,
        load: Op::EVEX_Vmovdqu32_zmm_k1z_zmmm512,
        store: Op::EVEX_Vmovdqu32_zmmm512_k1z_zmm,
        broadcast: Op::EVEX_Vpbroadcastd_zmm_k1z_xmmm32,
        from_general: Op::EVEX_Vmovd_xmm_rm32,
        broadcast_lane: Op::EVEX_Vpbroadcastd_zmm_k1z_xmmm32,
        xor: Op::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
        and: Op::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
        shift_right_16: Op::EVEX_Vpsrlw_zmm_k1z_zmmm512_imm8,
        shift_right_32: Op::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8,
        add_32: Op::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32,
        add_16: Op::EVEX_Vpaddw_zmm_k1z_zmm_zmmm512,
        sub_32: Op::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32,
        dot: Some(Op::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32),
        multiply_pairs: Op::EVEX_Vpmaddubsw_zmm_k1z_zmm_zmmm512,
        add_pairs: Op::EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512,
        to_float: Op::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er,
        mul_float: Op::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
        div_float: Op::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er,
        fused_add: Op::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
    },
};
