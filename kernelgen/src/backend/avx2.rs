//! AVX2 with FMA: 256-bit vectors, byte products summed in pairs to 16 bits.

use craftsman_isa::{Feature, HardwareCaps};
use iced_x86::Code as Op;

use super::Backend;
use crate::code::{Code, EmitError};
use crate::vocabulary::{Accumulation, Emitter};
use crate::x86::{Assembler, VectorIsa, Width};

static ISA: VectorIsa = VectorIsa {
    name: "avx2",
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
};

/// See the module's introduction.
#[derive(Debug)]
pub struct Avx2;

impl Backend for Avx2 {
    fn name(&self) -> &'static str {
        ISA.name
    }

    fn summary(&self) -> &'static str {
        "256-bit, VPMADDUBSW; Haswell, Zen and later"
    }

    fn requires(&self) -> &'static [Feature] {
        &[Feature::Avx2, Feature::Fma]
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
