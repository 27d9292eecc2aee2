//! The emitter of every x86 tier beyond 128 bits: walks a [`VectorIsa`] row and assembles with iced-x86.
//!
//! Register use (System V, leaf, nothing saved): `rdi` holds the arguments throughout, `rax` is the innermost counter
//! and the way constants come in, the other caller-saved registers hold pointers. On 256-bit tiers the last vector
//! register is kept for what one word of the vocabulary needs inside itself; on 512-bit tiers `k1` is.

use iced_x86::{Code as Op, IcedError, Instruction, MemoryOperand, Register};

use super::encode::{Place, Program};
use super::isa::{VectorIsa, find};
use crate::code::{Code, EmitError};
use crate::vocabulary::{
    Accumulate, Accumulation, Binary, Compare, Emitter, Field, Pointer, Shift, TileEmitter, Unary, Vector,
};

/// Caller-saved registers that may hold pointers.
pub(super) const POINTERS: [Register; 7] =
    [Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9, Register::R10, Register::R11];
/// The register of [`Emitter::begin_repeat`] and of constants on their way into vectors.
const COUNTER: Register = Register::RAX;
/// Where the kernel finds its arguments.
const ARGUMENTS: Register = Register::RDI;

#[derive(Debug)]
struct While {
    field: Field,
    step: usize,
    /// Whether the last round may take less than a step.
    portions: bool,
    head: Place,
    /// The branch that leaves the loop, to be pointed at its end.
    exit: Place,
}

/// Assembles one kernel.
#[derive(Debug)]
pub(super) struct Assembler<'a> {
    pub(super) isa: &'a VectorIsa,
    program: Program,
    scratch: usize,
    free: Vec<u32>,
    pointers: u32,
    whiles: Vec<While>,
    repeat: Option<Place>,
    /// Whether tiles are configured, which takes the last pointer register and asks for a release.
    tiles_configured: bool,
    error: Option<EmitError>,
}

impl<'a> Assembler<'a> {
    /// An assembler for the tier that `isa` describes.
    pub(super) fn new(isa: &'a VectorIsa) -> Self {
        let free = (0..isa.registers()).rev().collect();
        Self {
            isa,
            program: Program::default(),
            scratch: 0,
            free,
            pointers: 0,
            whiles: Vec::new(),
            repeat: None,
            tiles_configured: false,
            error: None,
        }
    }

    /// Returns from the kernel and encodes it.
    pub(super) fn finish(mut self) -> Result<Code, EmitError> {
        self.label("return");
        if let Some(tiles) = self.isa.tiles.filter(|_| self.tiles_configured) {
            self.program.push(Instruction::with(tiles.release));
        }
        // Upper halves are cleared so that the caller's SSE code does not pay for them.
        self.program.push(Instruction::with(Op::VEX_Vzeroupper));
        self.program.push(Instruction::with(Op::Retnq));
        match self.error {
            Some(error) => Err(error),
            None => self.program.encode(self.scratch),
        }
    }

    pub(super) fn fail(&mut self, what: &str) {
        self.error.get_or_insert_with(|| EmitError::new(what));
    }

    pub(super) fn push(&mut self, instruction: Result<Instruction, IcedError>) {
        match instruction {
            Ok(instruction) => self.program.push(instruction),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// The register of `vector`, at the tier's width.
    pub(super) fn reg(&self, vector: Vector) -> Register {
        self.isa.width.register(vector.0)
    }

    /// The register that 256-bit tiers never hand out.
    pub(super) fn spare(&self) -> Register {
        self.isa.width.register(self.isa.width.registers() - 1)
    }

    pub(super) fn memory(&mut self, pointer: Pointer, offset: i64) -> MemoryOperand {
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

    /// The instruction that the tier has for a word, or the end of this attempt.
    fn word<W: Copy + PartialEq + std::fmt::Debug>(&mut self, words: &[(W, Op)], word: W) -> Op {
        find(words, word).unwrap_or_else(|| {
            self.fail(&format!("no instruction for {word:?}"));
            Op::Nopd
        })
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

    /// Loads `bytes` from behind the code.
    pub(super) fn load_constant(&mut self, op: Op, to: Register, bytes: &[u8]) {
        let memory = MemoryOperand::with_base_displ(Register::RIP, 0);
        self.push_with_constant(Instruction::with2(op, to, memory), bytes);
    }

    /// An instruction whose memory operand, relative to `rip`, is `bytes` behind the code.
    pub(super) fn push_with_constant(&mut self, instruction: Result<Instruction, IcedError>, bytes: &[u8]) {
        let constant = self.program.constant(bytes);
        match instruction {
            Ok(instruction) => self.program.push_with_constant(instruction, constant),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// `rax` = a constant; not inside a repeat, which counts there.
    pub(super) fn constant_in_counter(&mut self, value: usize) -> Register {
        if self.repeat.is_some() {
            self.fail("a constant inside a repeat");
        }
        match u32::try_from(value) {
            Ok(value) => self.push(Instruction::with2(Op::Mov_r32_imm32, Register::EAX, value)),
            Err(_) => self.fail("a constant beyond 2^32"),
        }
        COUNTER
    }

    /// Takes the last pointer register out of those that [`Emitter::pointer`] hands out, for tiles, which need a
    /// release from now on.
    pub(super) fn keep_last_pointer(&mut self) {
        if self.tiles_configured || self.pointers as usize == POINTERS.len() {
            self.fail("no register left for tiles, or tiles configured twice");
        }
        self.tiles_configured = true;
    }
}

impl Emitter for Assembler<'_> {
    fn lanes(&self) -> usize {
        self.isa.width.bytes() / 4
    }

    fn accumulation(&self) -> Accumulation {
        self.isa.accumulation
    }

    fn reserve_scratch(&mut self, bytes: usize) {
        self.scratch = self.scratch.max(bytes);
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
        if self.pointers as usize == POINTERS.len() - usize::from(self.tiles_configured) {
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
        let head = self.program.here();
        self.field_imm(Op::Cmp_rm64_imm32, field, step);
        let exit = self.program.here();
        self.program.branch(Op::Jb_rel32_64, exit);
        self.whiles.push(While { field, step, portions: false, head, exit });
    }

    fn begin_portions(&mut self, field: Field, here: Field, most: usize, name: &str) {
        self.begin_while(field, 1, name);
        self.constant_in_counter(most);
        self.push(Instruction::with2(Op::Cmp_r64_rm64, COUNTER, Self::field(field)));
        self.push(Instruction::with2(Op::Cmova_r64_rm64, COUNTER, Self::field(field)));
        self.push(Instruction::with2(Op::Mov_rm64_r64, Self::field(here), COUNTER));
        if let Some(innermost) = self.whiles.last_mut() {
            (innermost.step, innermost.portions) = (most, true);
        }
    }

    fn end_while(&mut self) {
        let Some(While { field, step, portions, head, exit }) = self.whiles.pop() else {
            return self.fail("end_while without begin_while");
        };
        self.field_imm(Op::Sub_rm64_imm32, field, step);
        self.program.branch(if portions { Op::Ja_rel32_64 } else { Op::Jmp_rel32_64 }, head);
        self.program.land(exit);
    }

    fn begin_repeat(&mut self, count: usize, name: &str) {
        match u32::try_from(count) {
            Ok(count) => self.push(Instruction::with2(Op::Mov_r32_imm32, Register::EAX, count)),
            Err(_) => self.fail("a count beyond 2^32"),
        }
        self.label(name);
        if self.repeat.replace(self.program.here()).is_some() {
            self.fail("nested repeat");
        }
    }

    fn end_repeat(&mut self) {
        let Some(head) = self.repeat.take() else {
            return self.fail("end_repeat without begin_repeat");
        };
        self.push(Instruction::with2(Op::Sub_rm64_imm8, COUNTER, 1));
        self.program.branch(Op::Jne_rel32_64, head);
    }

    fn splat(&mut self, to: Vector, pattern: u32) {
        if pattern == 0 {
            return self.zero(to);
        }
        let low = Register::XMM0 + to.0;
        self.push(Instruction::with2(Op::Mov_r32_imm32, Register::EAX, pattern));
        self.push(Instruction::with2(self.isa.from_general, low, Register::EAX));
        let to = self.reg(to);
        self.push(Instruction::with2(self.isa.broadcast_lane, to, low));
    }

    fn zero(&mut self, to: Vector) {
        self.binary(Binary::Xor, to, to, to);
    }

    fn constant(&mut self, to: Vector, bytes: &[u8]) {
        let to = self.reg(to);
        self.load_constant(self.isa.load, to, bytes);
    }

    fn load(&mut self, to: Vector, from: Pointer, offset: i64) {
        let (to, memory) = (self.reg(to), self.memory(from, offset));
        self.push(Instruction::with2(self.isa.load, to, memory));
    }

    fn load_lanes(&mut self, to: Vector, from: Pointer, offset: i64, lanes: usize) {
        if lanes == self.lanes() {
            return self.load(to, from, offset);
        }
        self.load_part(to, from, offset, lanes);
    }

    fn broadcast(&mut self, to: Vector, from: Pointer, offset: i64) {
        let (to, memory) = (self.reg(to), self.memory(from, offset));
        self.push(Instruction::with2(self.isa.broadcast, to, memory));
    }

    fn broadcast_block(&mut self, to: Vector, from: Pointer, offset: i64) {
        let (to, memory) = (self.reg(to), self.memory(from, offset));
        self.push(Instruction::with2(self.isa.broadcast_block, to, memory));
    }

    fn store(&mut self, to: Pointer, offset: i64, from: Vector) {
        let (memory, from) = (self.memory(to, offset), self.reg(from));
        self.push(Instruction::with2(self.isa.store, memory, from));
    }

    fn store_lanes(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize) {
        if lanes == self.lanes() {
            return self.store(to, offset, from);
        }
        self.store_part(to, offset, from, lanes);
    }

    fn store_narrow(&mut self, to: Pointer, offset: i64, from: Vector) {
        self.narrow(to, offset, from);
    }

    fn store_sign_bits(&mut self, to: Pointer, offset: i64, from: Vector) {
        self.sign_bits(to, offset, from);
    }

    fn prefetch(&mut self, from: Pointer, offset: i64) {
        let memory = self.memory(from, offset);
        self.push(Instruction::with1(Op::Prefetcht0_m8, memory));
    }

    fn unary(&mut self, word: Unary, to: Vector, a: Vector) {
        let op = self.word(self.isa.unary, word);
        let (to, a) = (self.reg(to), self.reg(a));
        self.push(Instruction::with2(op, to, a));
    }

    fn binary(&mut self, word: Binary, to: Vector, a: Vector, b: Vector) {
        let op = self.word(self.isa.binary, word);
        self.three(op, to, a, b);
    }

    fn shift(&mut self, word: Shift, to: Vector, a: Vector, bits: u8) {
        let op = self.word(self.isa.shifts, word);
        let (to, a) = (self.reg(to), self.reg(a));
        self.push(Instruction::with3(op, to, a, u32::from(bits)));
    }

    fn accumulate(&mut self, word: Accumulate, sum: Vector, a: Vector, b: Vector) {
        let op = self.word(self.isa.accumulate, word);
        self.three(op, sum, a, b);
    }

    fn compare(&mut self, word: Compare, to: Vector, a: Vector, b: Vector) {
        self.compared(word, to, a, b);
    }

    fn ternary_logic(&mut self, table: u8, to: Vector, a: Vector, b: Vector) {
        let (to, a, b) = (self.reg(to), self.reg(a), self.reg(b));
        match self.isa.ternary_logic {
            Some(op) => self.push(Instruction::with4(op, to, a, b, u32::from(table))),
            None => self.fail("no instruction for a function of three bits"),
        }
    }

    fn rotate_lanes(&mut self, to: Vector, a: Vector, by: usize) {
        self.rotated(to, a, by);
    }

    fn tiles(&mut self) -> Option<&mut dyn TileEmitter> {
        if self.isa.tiles.is_some() { Some(self) } else { None }
    }

    fn label(&mut self, name: &str) {
        self.program.label(name);
    }
}
