//! AVX-512 with VNNI: 512-bit vectors, four byte products summed straight into 32 bits.

use craftsman_isa::{Feature, HardwareCaps};
use iced_x86::Code as Op;

use super::Backend;
use crate::code::{Code, EmitError};
use crate::vocabulary::{Accumulation, Emitter};
use crate::x86::{Assembler, VectorIsa, Width};

static ISA: VectorIsa = VectorIsa {
    name: "avx512vnni",
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
};

/// See the module's introduction.
#[derive(Debug)]
pub struct Avx512Vnni;

impl Backend for Avx512Vnni {
    fn name(&self) -> &'static str {
        ISA.name
    }

    fn summary(&self) -> &'static str {
        "512-bit, VPDPBUSD; Ice Lake, Sapphire Rapids, Zen 4 and later"
    }

    fn requires(&self) -> &'static [Feature] {
        &[Feature::Avx512F, Feature::Avx512Bw, Feature::Avx512Vnni]
    }

    fn lanes(&self) -> usize {
        ISA.width.bytes() / 4
    }

    fn accumulation(&self) -> Accumulation {
        ISA.accumulation
    }

    fn registers(&self) -> usize {
        ISA.registers() as usize
    }

    fn compile(&self, _: &HardwareCaps, say: &mut dyn FnMut(&mut dyn Emitter)) -> Result<Code, EmitError> {
        Assembler::assemble(&ISA, say)
    }
}
