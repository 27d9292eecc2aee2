//! Words whose instructions depend on the width: parts of vectors, comparisons, lanes that change places. 512-bit tiers
//! have masks for them; 256-bit tiers go by halves and quarters, or by masks in memory.

use iced_x86::{Code as Op, IcedError, Instruction, Register};

use super::assembler::Assembler;
use super::isa::Width;
use crate::vocabulary::{Compare, Pointer, Vector};

impl Assembler<'_> {
    /// Narrow stores of the low `lanes` (below four) lanes of xmm register `from`, which is used up.
    fn store_few(&mut self, to: Pointer, mut offset: i64, from: Register, mut lanes: usize) {
        if lanes >= 2 {
            let memory = self.memory(to, offset);
            self.push(Instruction::with2(Op::VEX_Vmovq_xmmm64_xmm, memory, from));
            self.push(Instruction::with3(Op::VEX_Vpsrldq_xmm_xmm_imm8, from, from, 8));
            offset += 8;
            lanes -= 2;
        }
        if lanes == 1 {
            let memory = self.memory(to, offset);
            self.push(Instruction::with2(Op::VEX_Vmovd_rm32_xmm, memory, from));
        }
    }

    /// Stores the first lanes of a ymm register by halves and quarters; needs no mask in memory.
    fn store_lanes_ymm(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize) {
        let spare = Register::XMM0 + (self.isa.width.registers() - 1);
        let (low, mut offset, mut lanes) = (Register::XMM0 + from.0, offset, lanes);
        let high = lanes >= 4;
        if high {
            let memory = self.memory(to, offset);
            self.push(Instruction::with2(Op::VEX_Vmovdqu_xmmm128_xmm, memory, low));
            self.push(Instruction::with3(
                Op::VEX_Vextracti128_xmmm128_ymm_imm8,
                spare,
                Register::YMM0 + from.0,
                1,
            ));
            (offset, lanes) = (offset + 16, lanes - 4);
        } else {
            self.push(Instruction::with2(Op::VEX_Vmovdqa_xmm_xmmm128, spare, low));
        }
        self.store_few(to, offset, spare, lanes);
    }

    /// `k1` = the first `lanes` lanes.
    fn mask_lanes(&mut self, lanes: usize) {
        self.push(Instruction::with2(Op::Mov_r32_imm32, Register::EAX, (1_u32 << lanes) - 1));
        self.push(Instruction::with2(Op::VEX_Kmovw_kr_r32, Register::K1, Register::EAX));
    }

    /// As [`push`](Self::push), under `k1`; lanes that it leaves out become zero where `zeroing` says so.
    fn push_masked(&mut self, instruction: Result<Instruction, IcedError>, zeroing: bool) {
        self.push(instruction.map(|mut instruction| {
            instruction.set_op_mask(Register::K1);
            instruction.set_zeroing_masking(zeroing);
            instruction
        }));
    }

    /// `to` = all bits where `k1` is set, else none.
    fn lanes_from_mask(&mut self, to: Vector) {
        let to = self.reg(to);
        let ones = Instruction::with4(Op::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8, to, to, to, 0xFF_u32);
        self.push_masked(ones, true);
    }

    /// [`Emitter::load_lanes`] of fewer lanes than there are.
    pub(super) fn load_part(&mut self, to: Vector, from: Pointer, offset: i64, lanes: usize) {
        let (to, memory, spare) = (self.reg(to), self.memory(from, offset), self.spare());
        match self.isa.width {
            Width::Ymm => {
                let mask: Vec<u8> = (0..32).map(|byte| if byte < 4 * lanes { 0xFF } else { 0 }).collect();
                self.load_constant(self.isa.load, spare, &mask);
                self.push(Instruction::with3(Op::VEX_Vpmaskmovd_ymm_ymm_m256, to, spare, memory));
            }
            Width::Zmm => {
                self.mask_lanes(lanes);
                self.push_masked(Instruction::with2(self.isa.load, to, memory), true);
            }
        }
    }

    /// [`Emitter::store_lanes`] of fewer lanes than there are.
    pub(super) fn store_part(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize) {
        match self.isa.width {
            Width::Ymm => self.store_lanes_ymm(to, offset, from, lanes),
            Width::Zmm => {
                self.mask_lanes(lanes);
                let (memory, from) = (self.memory(to, offset), self.reg(from));
                self.push_masked(Instruction::with2(self.isa.store, memory, from), false);
            }
        }
    }

    /// [`Emitter::store_narrow`]
    pub(super) fn narrow(&mut self, to: Pointer, offset: i64, from: Vector) {
        let (memory, low) = (self.memory(to, offset), Register::XMM0 + from.0);
        let (from, spare) = (self.reg(from), self.spare());
        match self.isa.width {
            Width::Ymm => {
                // Packing works in halves: bytes 0-3 of each half, then the halves' first four bytes side by side.
                let high = Register::XMM0 + (self.isa.width.registers() - 1);
                self.push(Instruction::with3(Op::VEX_Vpackssdw_ymm_ymm_ymmm256, from, from, from));
                self.push(Instruction::with3(Op::VEX_Vpacksswb_ymm_ymm_ymmm256, from, from, from));
                self.push(Instruction::with3(Op::VEX_Vextracti128_xmmm128_ymm_imm8, high, from, 1));
                self.push(Instruction::with3(Op::VEX_Vpunpckldq_ymm_ymm_ymmm256, from, from, spare));
                self.push(Instruction::with2(Op::VEX_Vmovq_xmmm64_xmm, memory, low));
            }
            Width::Zmm => self.push(Instruction::with2(Op::EVEX_Vpmovsdb_xmmm128_k1z_zmm, memory, from)),
        }
    }

    /// [`Emitter::store_sign_bits`]
    pub(super) fn sign_bits(&mut self, to: Pointer, offset: i64, from: Vector) {
        let (memory, from) = (self.memory(to, offset), self.reg(from));
        match self.isa.width {
            Width::Ymm => {
                self.push(Instruction::with2(Op::VEX_Vpmovmskb_r32_ymm, Register::EAX, from));
                self.push(Instruction::with2(Op::Mov_rm32_r32, memory, Register::EAX));
            }
            Width::Zmm => {
                self.push(Instruction::with2(Op::EVEX_Vpmovb2m_kr_zmm, Register::K1, from));
                self.push(Instruction::with2(Op::VEX_Kmovq_m64_kr, memory, Register::K1));
            }
        }
    }

    /// [`Emitter::compare`]
    pub(super) fn compared(&mut self, word: Compare, to: Vector, a: Vector, b: Vector) {
        // Predicates LT_OQ and LE_OQ: ordered, and quiet about NaN.
        let predicate: u32 = match word {
            Compare::Less => 0x11,
            Compare::LessOrEqual => 0x12,
        };
        let (out, a, b) = (self.reg(to), self.reg(a), self.reg(b));
        match self.isa.width {
            Width::Ymm => {
                self.push(Instruction::with4(Op::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, out, a, b, predicate));
            }
            Width::Zmm => {
                let op = Op::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
                self.push(Instruction::with4(op, Register::K1, a, b, predicate));
                self.lanes_from_mask(to);
            }
        }
    }

    /// [`Emitter::rotate_lanes`]
    pub(super) fn rotated(&mut self, to: Vector, a: Vector, by: usize) {
        let (to, a, spare) = (self.reg(to), self.reg(a), self.spare());
        match self.isa.width {
            Width::Ymm => {
                let order: Vec<u8> =
                    (0..8_u32).flat_map(|lane| ((lane + by as u32) % 8).to_le_bytes()).collect();
                self.load_constant(self.isa.load, spare, &order);
                self.push(Instruction::with3(Op::VEX_Vpermd_ymm_ymm_ymmm256, to, spare, a));
            }
            Width::Zmm => {
                let op = Op::EVEX_Valignd_zmm_k1z_zmm_zmmm512b32_imm8;
                self.push(Instruction::with4(op, to, a, a, by as u32));
            }
        }
    }
}
