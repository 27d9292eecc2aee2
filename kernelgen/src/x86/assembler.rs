//! The emitter of every x86 tier beyond 128 bits: walks a [`VectorIsa`] row and assembles with iced-x86.
//!
//! Register use (System V, leaf, nothing saved): `rdi` holds the arguments throughout, `rax` is the innermost counter
//! and the way constants come in, the other caller-saved registers hold pointers. On 256-bit tiers the last vector
//! register is kept for what one word of the vocabulary needs inside itself.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code as Op, Instruction, InstructionBlock, MemoryOperand, Register,
};

use super::isa::{VectorIsa, Width};
use crate::code::{Code, EmitError};
use crate::vocabulary::{Accumulation, Emitter, Field, Pointer, Vector};

/// Caller-saved registers that may hold pointers.
const POINTERS: [Register; 7] =
    [Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9, Register::R10, Register::R11];
/// The register of [`Emitter::begin_repeat`] and of constants on their way into vectors.
const COUNTER: Register = Register::RAX;
/// Where the kernel finds its arguments.
const ARGUMENTS: Register = Register::RDI;

/// A place in the code: the index of the instruction that follows it.
type Place = usize;

#[derive(Debug)]
struct While {
    field: Field,
    step: usize,
    head: Place,
    /// The branch that leaves the loop, to be pointed at its end.
    exit: Place,
}

/// Assembles one kernel.
#[derive(Debug)]
pub(super) struct Assembler<'a> {
    isa: &'a VectorIsa,
    code: Vec<Instruction>,
    labels: Vec<(Place, String)>,
    free: Vec<u32>,
    pointers: u32,
    whiles: Vec<While>,
    repeat: Option<Place>,
    error: Option<EmitError>,
}

impl<'a> Assembler<'a> {
    /// An assembler for the tier that `isa` describes.
    pub(super) fn new(isa: &'a VectorIsa) -> Self {
        let free = (0..isa.registers()).rev().collect();
        Self {
            isa,
            code: Vec::with_capacity(1024),
            labels: Vec::new(),
            free,
            pointers: 0,
            whiles: Vec::new(),
            repeat: None,
            error: None,
        }
    }

    /// Returns from the kernel and encodes it.
    pub(super) fn finish(mut self) -> Result<Code, EmitError> {
        self.label("return");
        // Upper halves are cleared so that the caller's SSE code does not pay for them.
        self.push(Ok(Instruction::with(Op::VEX_Vzeroupper)));
        self.push(Ok(Instruction::with(Op::Retnq)));
        if let Some(error) = self.error {
            return Err(error);
        }
        for (number, instruction) in self.code.iter_mut().enumerate() {
            instruction.set_ip(number as u64 + 1);
        }
        // The block lies far above the instruction numbers that stand for branch targets.
        let block = InstructionBlock::new(&self.code, 1 << 32);
        let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)
            .map_err(EmitError::new)?;
        let offsets = encoded.new_instruction_offsets;
        let labels = self.labels.into_iter().map(|(place, name)| (offsets[place] as usize, name)).collect();
        Ok(Code { bytes: encoded.code_buffer, labels })
    }

    fn fail(&mut self, what: &str) {
        self.error.get_or_insert_with(|| EmitError::new(what));
    }

    fn push(&mut self, instruction: Result<Instruction, iced_x86::IcedError>) {
        match instruction {
            Ok(instruction) => self.code.push(instruction),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// The register of `vector`, at the tier's width.
    fn reg(&self, vector: Vector) -> Register {
        self.isa.width.register(vector.0)
    }

    /// The register that 256-bit tiers never hand out.
    fn spare(&self) -> Register {
        self.isa.width.register(self.isa.width.registers() - 1)
    }

    fn memory(&mut self, pointer: Pointer, offset: i64) -> MemoryOperand {
        if i32::try_from(offset).is_err() {
            self.fail("an offset beyond 2 GiB");
        }
        MemoryOperand::with_base_displ(POINTERS[pointer.0 as usize], offset)
    }

    /// `to = op(a, b)`
    fn three(&mut self, op: Op, to: Vector, a: Vector, b: Vector) {
        let (to, a, b) = (self.reg(to), self.reg(a), self.reg(b));
        self.push(Instruction::with3(op, to, a, b));
    }

    /// A branch whose target is `target`; targets are set as instruction numbers plus one and encoded in `finish`.
    fn branch(&mut self, op: Op, target: Place) {
        self.push(Instruction::with_branch(op, target as u64 + 1));
    }

    fn field(field: Field) -> MemoryOperand {
        MemoryOperand::with_base_displ(ARGUMENTS, i64::from(field.offset()))
    }

    /// `field op value`, for a value that fits 31 bits.
    fn field_imm(&mut self, op: Op, field: Field, value: usize) {
        match i32::try_from(value) {
            Ok(value) => self.push(Instruction::with2(op, Self::field(field), value)),
            Err(_) => self.fail("a count beyond 2^31"),
        }
    }

    /// Narrow stores of the low `lanes` (below four) lanes of xmm register `from`, which is used up.
    fn store_narrow(&mut self, to: Pointer, mut offset: i64, from: Register, mut lanes: usize) {
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
        self.store_narrow(to, offset, spare, lanes);
    }

    /// Stores the first lanes of a zmm register under a mask.
    fn store_lanes_zmm(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize) {
        self.push(Instruction::with2(Op::Mov_r32_imm32, Register::EAX, (1_u32 << lanes) - 1));
        self.push(Instruction::with2(Op::VEX_Kmovw_kr_r32, Register::K1, Register::EAX));
        let (memory, from) = (self.memory(to, offset), self.reg(from));
        let store = Instruction::with2(Op::EVEX_Vmovdqu32_zmmm512_k1z_zmm, memory, from);
        self.push(store.map(|mut store| {
            store.set_op_mask(Register::K1);
            store
        }));
    }
}

impl Emitter for Assembler<'_> {
    fn lanes(&self) -> usize {
        self.isa.width.bytes() / 4
    }

    fn accumulation(&self) -> Accumulation {
        self.isa.accumulation
    }

    fn vector(&mut self) -> Vector {
        let index = self.free.pop().unwrap_or_else(|| {
            self.fail("out of vector registers");
            0
        });
        Vector(index)
    }

    fn release(&mut self, vector: Vector) {
        self.free.push(vector.0);
    }

    fn pointer(&mut self, field: Field) -> Pointer {
        let pointer = Pointer(self.pointers.min(POINTERS.len() as u32 - 1));
        if self.pointers as usize == POINTERS.len() {
            self.fail("out of pointer registers");
        }
        self.pointers += 1;
        self.reload(pointer, field);
        pointer
    }

    fn reload(&mut self, pointer: Pointer, field: Field) {
        self.push(Instruction::with2(Op::Mov_r64_rm64, POINTERS[pointer.0 as usize], Self::field(field)));
    }

    fn advance(&mut self, pointer: Pointer, bytes: i64) {
        match i32::try_from(bytes) {
            Ok(0) => {}
            Ok(bytes) => {
                self.push(Instruction::with2(Op::Add_rm64_imm32, POINTERS[pointer.0 as usize], bytes));
            }
            Err(_) => self.fail("a stride beyond 2 GiB"),
        }
    }

    fn set_field(&mut self, field: Field, value: usize) {
        self.field_imm(Op::Mov_rm64_imm32, field, value);
    }

    fn copy_field(&mut self, to: Field, from: Field) {
        self.push(Instruction::with2(Op::Mov_r64_rm64, COUNTER, Self::field(from)));
        self.push(Instruction::with2(Op::Mov_rm64_r64, Self::field(to), COUNTER));
    }

    fn add_field(&mut self, field: Field, value: usize) {
        self.field_imm(Op::Add_rm64_imm32, field, value);
    }

    fn begin_while(&mut self, field: Field, step: usize, name: &str) {
        self.label(name);
        let head = self.code.len();
        self.field_imm(Op::Cmp_rm64_imm32, field, step);
        let exit = self.code.len();
        self.branch(Op::Jb_rel32_64, exit);
        self.whiles.push(While { field, step, head, exit });
    }

    fn end_while(&mut self) {
        let Some(While { field, step, head, exit }) = self.whiles.pop() else {
            return self.fail("end_while without begin_while");
        };
        self.field_imm(Op::Sub_rm64_imm32, field, step);
        self.branch(Op::Jmp_rel32_64, head);
        let end = self.code.len() as u64 + 1;
        if let Some(exit) = self.code.get_mut(exit) {
            exit.set_near_branch64(end);
        }
    }

    fn begin_repeat(&mut self, count: usize, name: &str) {
        match u32::try_from(count) {
            Ok(count) => self.push(Instruction::with2(Op::Mov_r32_imm32, Register::EAX, count)),
            Err(_) => self.fail("a count beyond 2^32"),
        }
        self.label(name);
        if self.repeat.replace(self.code.len()).is_some() {
            self.fail("nested repeat");
        }
    }

    fn end_repeat(&mut self) {
        let Some(head) = self.repeat.take() else {
            return self.fail("end_repeat without begin_repeat");
        };
        self.push(Instruction::with2(Op::Sub_rm64_imm8, COUNTER, 1));
        self.branch(Op::Jne_rel32_64, head);
    }

    fn splat(&mut self, to: Vector, pattern: u32) {
        let low = Register::XMM0 + to.0;
        self.push(Instruction::with2(Op::Mov_r32_imm32, Register::EAX, pattern));
        self.push(Instruction::with2(self.isa.from_general, low, Register::EAX));
        let to = self.reg(to);
        self.push(Instruction::with2(self.isa.broadcast_lane, to, low));
    }

    fn zero(&mut self, to: Vector) {
        self.three(self.isa.xor, to, to, to);
    }

    fn load(&mut self, to: Vector, from: Pointer, offset: i64) {
        let (to, memory) = (self.reg(to), self.memory(from, offset));
        self.push(Instruction::with2(self.isa.load, to, memory));
    }

    fn broadcast(&mut self, to: Vector, from: Pointer, offset: i64) {
        let (to, memory) = (self.reg(to), self.memory(from, offset));
        self.push(Instruction::with2(self.isa.broadcast, to, memory));
    }

    fn store(&mut self, to: Pointer, offset: i64, from: Vector) {
        let (memory, from) = (self.memory(to, offset), self.reg(from));
        self.push(Instruction::with2(self.isa.store, memory, from));
    }

    fn store_lanes(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize) {
        if lanes == self.lanes() {
            return self.store(to, offset, from);
        }
        match self.isa.width {
            Width::Ymm => self.store_lanes_ymm(to, offset, from, lanes),
            Width::Zmm => self.store_lanes_zmm(to, offset, from, lanes),
        }
    }

    fn prefetch(&mut self, from: Pointer, offset: i64) {
        let memory = self.memory(from, offset);
        self.push(Instruction::with1(Op::Prefetcht0_m8, memory));
    }

    fn and(&mut self, to: Vector, a: Vector, b: Vector) {
        self.three(self.isa.and, to, a, b);
    }

    fn shift_right_16(&mut self, to: Vector, a: Vector, bits: u8) {
        let (to, a) = (self.reg(to), self.reg(a));
        self.push(Instruction::with3(self.isa.shift_right_16, to, a, u32::from(bits)));
    }

    fn shift_right_32(&mut self, to: Vector, a: Vector, bits: u8) {
        let (to, a) = (self.reg(to), self.reg(a));
        self.push(Instruction::with3(self.isa.shift_right_32, to, a, u32::from(bits)));
    }

    fn add(&mut self, to: Vector, a: Vector, b: Vector) {
        self.three(self.isa.add_32, to, a, b);
    }

    fn sub(&mut self, to: Vector, a: Vector, b: Vector) {
        self.three(self.isa.sub_32, to, a, b);
    }

    fn dot(&mut self, sum: Vector, w: Vector, x: Vector) {
        match self.isa.dot {
            Some(dot) => self.three(dot, sum, w, x),
            None => self.fail("no four-byte dot product"),
        }
    }

    fn dot_pairs(&mut self, sum: Vector, w: Vector, x: Vector) {
        let (spare, sum, w, x) = (self.spare(), self.reg(sum), self.reg(w), self.reg(x));
        self.push(Instruction::with3(self.isa.multiply_pairs, spare, w, x));
        self.push(Instruction::with3(self.isa.add_16, sum, sum, spare));
    }

    fn widen_pairs(&mut self, to: Vector, a: Vector, ones: Vector) {
        self.three(self.isa.add_pairs, to, a, ones);
    }

    fn to_float(&mut self, to: Vector, a: Vector) {
        let (to, a) = (self.reg(to), self.reg(a));
        self.push(Instruction::with2(self.isa.to_float, to, a));
    }

    fn mul_float(&mut self, to: Vector, a: Vector, b: Vector) {
        self.three(self.isa.mul_float, to, a, b);
    }

    fn div_float(&mut self, to: Vector, a: Vector, b: Vector) {
        self.three(self.isa.div_float, to, a, b);
    }

    fn fused_add(&mut self, sum: Vector, a: Vector, b: Vector) {
        self.three(self.isa.fused_add, sum, a, b);
    }

    fn label(&mut self, name: &str) {
        self.labels.push((self.code.len(), name.to_owned()));
    }
}
