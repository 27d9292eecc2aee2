//! The emitter of every aarch64 tier.
//!
//! Register use (AAPCS64, leaf): `x0` holds the arguments throughout, `x17` is the innermost counter, `x16` and `x8` are for
//! the moment, the other caller-saved registers but `x18` hold pointers. `v29` to `v31` are for what a word needs inside
//! itself. `v8` to `v15`, whose lower halves belong to the caller, come last, and are kept on the stack where they are used.

use super::encode::{Place, Program};
use super::general::{self as x, Condition, X};
use super::instructions::{self as op, Three, Two};
use super::isa::{self, NeonIsa};
use super::memory::{self, Access, Form};
use crate::code::{Code, EmitError};
use crate::vocabulary::{
    Accumulate, Accumulation, Binary, Compare, Emitter, Field, MatrixEmitter, Pointer, Shift, Unary, Vector,
};

pub(super) const POINTERS: [X; 14] =
    [X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(9), X(10), X(11), X(12), X(13), X(14), X(15)];
/// Vectors of which a caller wants the lower half back: those from this one on.
const KEPT: u32 = 21;
const ARGUMENTS: X = X(0);
const COUNTER: X = X(17);
pub(super) const TEMPORARY: X = X(16);
const OTHER: X = X(8);

/// A vector register by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct V(pub(super) u32);

/// For what a word needs inside itself.
pub(super) const SPARE: [V; 3] = [V(29), V(30), V(31)];

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
pub(super) struct Assembler {
    pub(super) isa: NeonIsa,
    pub(super) program: Program,
    scratch: usize,
    free: Vec<u32>,
    /// Whether vectors were handed out that the caller wants back.
    keeps: bool,
    pointers: usize,
    whiles: Vec<While>,
    repeat: Option<Place>,
    error: Option<EmitError>,
}

impl Assembler {
    /// An assembler for the tier that `isa` describes.
    pub(super) fn new(isa: NeonIsa) -> Self {
        let free = (0..isa::REGISTERS).rev().collect();
        Self {
            isa,
            program: Program::default(),
            scratch: 0,
            free,
            keeps: false,
            pointers: 0,
            whiles: Vec::new(),
            repeat: None,
            error: None,
        }
    }

    /// Returns from the kernel and encodes it.
    pub(super) fn finish(mut self) -> Result<Code, EmitError> {
        self.label("return");
        if self.keeps {
            self.program.begin_with("the caller's registers", memory::keep());
            memory::give_back().for_each(|word| self.program.push(word));
        }
        self.program.push(x::return_());
        match self.error {
            Some(error) => Err(error),
            None => self.program.encode(self.scratch),
        }
    }

    fn fail(&mut self, what: &str) {
        self.error.get_or_insert_with(|| EmitError::new(what));
    }

    pub(super) fn three(&mut self, Three(code): Three, V(to): V, V(a): V, V(b): V) {
        self.program.push(code | b << 16 | a << 5 | to);
    }

    pub(super) fn two(&mut self, Two(code): Two, V(to): V, V(a): V) {
        self.program.push(code | a << 5 | to);
    }

    /// `to = from`
    pub(super) fn copy(&mut self, to: V, from: V) {
        if to != from {
            self.three(op::ORR, to, from, from);
        }
    }

    pub(super) fn set(&mut self, to: X, value: u64) {
        x::set(to, value).for_each(|word| self.program.push(word));
    }

    /// `to = from + offset`
    pub(super) fn sum(&mut self, to: X, from: X, offset: i64) {
        let (magnitude, down) = (offset.unsigned_abs(), offset < 0);
        if magnitude >= x::IMMEDIATE * x::IMMEDIATE {
            self.set(TEMPORARY, magnitude);
            let register = if down { x::subtract_register } else { x::add_register };
            return self.program.push(register(to, from, TEMPORARY));
        }
        let immediate = if down { x::subtract } else { x::add };
        let (low, high) = (magnitude % x::IMMEDIATE, magnitude - magnitude % x::IMMEDIATE);
        if high > 0 {
            self.program.push(immediate(to, from, high));
        }
        if low > 0 || high == 0 {
            self.program.push(immediate(to, if high > 0 { to } else { from }, low));
        }
    }

    /// An access at `base + offset` of register `register`.
    fn access(&mut self, access: Access, register: u32, base: X, offset: i64) {
        match access.at(offset) {
            Form::Immediate(word) => self.program.push(word | base.0 << 5 | register),
            Form::Indexed(word) => {
                self.set(TEMPORARY, offset.cast_unsigned());
                self.program.push(word | TEMPORARY.0 << 16 | base.0 << 5 | register);
            }
        }
    }

    pub(super) fn at(&mut self, access: Access, V(register): V, pointer: Pointer, offset: i64) {
        self.access(access, register, POINTERS[pointer.0 as usize], offset);
    }

    fn load_field(&mut self, to: X, field: Field) {
        self.access(memory::LOAD_X, to.0, ARGUMENTS, field.offset().into());
    }

    fn store_field(&mut self, field: Field, from: X) {
        self.access(memory::STORE_X, from.0, ARGUMENTS, field.offset().into());
    }

    /// `to = from - value`, and compares.
    fn minus(&mut self, to: X, from: X, value: usize) {
        if (value as u64) < x::IMMEDIATE {
            return self.program.push(x::subtract_and_compare(to, from, value as u64));
        }
        self.set(OTHER, value as u64);
        self.program.push(x::subtract_register_and_compare(to, from, OTHER));
    }
}

/// First those that nobody wants back.
pub(super) fn v(vector: Vector) -> V {
    V(match vector.0 {
        index @ ..8 => index,
        index @ 8..21 => index + 8,
        index => index - 13,
    })
}

impl Emitter for Assembler {
    fn lanes(&self) -> usize {
        4
    }

    fn accumulation(&self) -> Accumulation {
        self.isa.accumulation()
    }

    fn reserve_scratch(&mut self, bytes: usize) {
        self.scratch = self.scratch.max(bytes);
    }

    fn vector(&mut self) -> Vector {
        let index = self.free.pop().unwrap_or_else(|| {
            self.fail("out of vector registers");
            0
        });
        self.keeps |= index >= KEPT;
        Vector(index)
    }

    fn release(&mut self, vector: Vector) {
        self.free.push(vector.0);
    }

    fn pointer(&mut self, field: Field) -> Pointer {
        if self.pointers == POINTERS.len() {
            self.fail("out of pointer registers");
            self.pointers -= 1;
        }
        let pointer = Pointer(self.pointers as u32);
        self.pointers += 1;
        self.reload(pointer, field);
        pointer
    }

    fn reload(&mut self, pointer: Pointer, field: Field) {
        self.load_field(POINTERS[pointer.0 as usize], field);
    }

    fn advance(&mut self, pointer: Pointer, bytes: i64) {
        if bytes != 0 {
            let pointer = POINTERS[pointer.0 as usize];
            self.sum(pointer, pointer, bytes);
        }
    }

    fn set_field(&mut self, field: Field, value: usize) {
        self.set(TEMPORARY, value as u64);
        self.store_field(field, TEMPORARY);
    }

    fn copy_field(&mut self, to: Field, from: Field) {
        self.load_field(TEMPORARY, from);
        self.store_field(to, TEMPORARY);
    }

    fn add_field(&mut self, field: Field, value: usize) {
        self.load_field(OTHER, field);
        self.sum(OTHER, OTHER, value as i64);
        self.store_field(field, OTHER);
    }

    fn begin_while(&mut self, field: Field, step: usize, name: &str) {
        self.label(name);
        let head = self.program.here();
        self.load_field(TEMPORARY, field);
        self.minus(X::ZERO, TEMPORARY, step);
        let exit = self.program.here();
        self.program.branch_if(x::branch_if(Condition::Lower), exit);
        self.whiles.push(While { field, step, portions: false, head, exit });
    }

    fn begin_portions(&mut self, field: Field, here: Field, most: usize, name: &str) {
        self.begin_while(field, 1, name);
        self.set(OTHER, most as u64);
        self.program.push(x::subtract_register_and_compare(X::ZERO, OTHER, TEMPORARY));
        self.program.push(x::select(OTHER, Condition::Lower, OTHER, TEMPORARY));
        self.store_field(here, OTHER);
        if let Some(innermost) = self.whiles.last_mut() {
            (innermost.step, innermost.portions) = (most, true);
        }
    }

    fn end_while(&mut self) {
        let Some(While { field, step, portions, head, exit }) = self.whiles.pop() else {
            return self.fail("end_while without begin_while");
        };
        self.load_field(TEMPORARY, field);
        self.minus(TEMPORARY, TEMPORARY, step);
        self.store_field(field, TEMPORARY);
        if portions {
            self.program.branch_if(x::branch_if(Condition::Higher), head);
        } else {
            self.program.branch(x::branch(), head);
        }
        self.program.land(exit);
    }

    fn begin_repeat(&mut self, count: usize, name: &str) {
        self.set(COUNTER, count as u64);
        self.label(name);
        if self.repeat.replace(self.program.here()).is_some() {
            self.fail("nested repeat");
        }
    }

    fn end_repeat(&mut self) {
        let Some(head) = self.repeat.take() else {
            return self.fail("end_repeat without begin_repeat");
        };
        self.minus(COUNTER, COUNTER, 1);
        self.program.branch_if(x::branch_if(Condition::NotEqual), head);
    }

    fn splat(&mut self, to: Vector, pattern: u32) {
        let [byte, rest @ ..] = pattern.to_le_bytes();
        let V(to) = v(to);
        if rest == [byte; 3] {
            return self.program.push(op::movi(byte) | to);
        }
        self.set(TEMPORARY, pattern.into());
        self.two(op::DUP_WORD, V(to), V(TEMPORARY.0));
    }

    fn constant(&mut self, to: Vector, bytes: &[u8]) {
        let V(to) = v(to);
        match bytes.try_into() {
            Ok(bytes) => self.program.load_constant(memory::LOAD_CONSTANT | to, bytes),
            Err(_) => self.fail("a constant of another length"),
        }
    }

    fn load(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.load_part(v(to), from, offset, 4);
    }

    fn load_lanes(&mut self, to: Vector, from: Pointer, offset: i64, lanes: usize) {
        self.load_part(v(to), from, offset, lanes);
    }

    fn broadcast(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.at(memory::LOAD_S, v(to), from, offset);
        self.two(op::DUP_LANE, v(to), v(to));
    }

    fn broadcast_block(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.load(to, from, offset);
    }

    fn store(&mut self, to: Pointer, offset: i64, from: Vector) {
        self.store_part(to, offset, v(from), 4);
    }

    fn store_lanes(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize) {
        self.store_part(to, offset, v(from), lanes);
    }

    fn store_narrow(&mut self, to: Pointer, offset: i64, from: Vector) {
        self.narrow(to, offset, v(from));
    }

    fn store_sign_bits(&mut self, to: Pointer, offset: i64, from: Vector) {
        self.sign_bits(to, offset, v(from));
    }

    fn prefetch(&mut self, from: Pointer, offset: i64) {
        self.at(memory::PREFETCH, V(0), from, offset);
    }

    fn unary(&mut self, word: Unary, to: Vector, a: Vector) {
        let instruction = match word {
            Unary::ToFloat => op::SCVTF,
            Unary::ToInt => op::FCVTNS,
            Unary::PopCount8 => op::CNT,
        };
        self.two(instruction, v(to), v(a));
    }

    fn binary(&mut self, word: Binary, to: Vector, a: Vector, b: Vector) {
        let [to, a, b] = [to, a, b].map(v);
        match (word, isa::binary(word)) {
            (Binary::AndNot, Some(instruction)) => self.three(instruction, to, b, a),
            (_, Some(instruction)) => self.three(instruction, to, a, b),
            (Binary::MulPairs, _) => self.multiply_pairs(to, a, b),
            (Binary::AddPairs, _) => self.add_pairs(to, a, b),
            _ => self.larger(to, a, b),
        }
    }

    fn shift(&mut self, word: Shift, to: Vector, a: Vector, bits: u8) {
        let instruction = match word {
            Shift::Right16 => op::USHR_H,
            Shift::Right32 => op::SSHR_S,
            Shift::Left32 => op::SHL_S,
        };
        match instruction.by(bits) {
            Some(instruction) => self.two(instruction, v(to), v(a)),
            None if bits == 0 => self.copy(v(to), v(a)),
            None => self.fail("a shift beyond the lane"),
        }
    }

    fn accumulate(&mut self, word: Accumulate, sum: Vector, a: Vector, b: Vector) {
        let [sum, a, b] = [sum, a, b].map(v);
        match word {
            Accumulate::Dot => self.dot(sum, a, b),
            Accumulate::MulAddFloat => self.three(op::FMLA, sum, a, b),
            Accumulate::MulSubFloat => self.three(op::FMLS, sum, a, b),
        }
    }

    fn compare(&mut self, word: Compare, to: Vector, a: Vector, b: Vector) {
        let instruction = match word {
            Compare::Less => op::FCMGT,
            Compare::LessOrEqual => op::FCMGE,
        };
        self.three(instruction, v(to), v(b), v(a));
    }

    fn ternary_logic(&mut self, _: u8, _: Vector, _: Vector, _: Vector) {
        self.fail("no instruction for a function of three bits");
    }

    fn rotate_lanes(&mut self, to: Vector, a: Vector, by: usize) {
        self.three(op::ext(4 * by), v(to), v(a), v(a));
    }

    fn matrices(&mut self) -> Option<&mut dyn MatrixEmitter> {
        if self.isa.matrices { Some(self) } else { None }
    }

    fn label(&mut self, name: &str) {
        self.program.label(name);
    }
}
