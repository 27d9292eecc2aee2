//! Words that take several instructions: parts of vectors, and products that only some processors have.

use super::assembler::{Assembler, POINTERS, SPARE, TEMPORARY, V};
use super::instructions as op;
use super::memory;
use crate::vocabulary::Pointer;

impl Assembler {
    /// Lane 2, by one of the accesses that take no offset.
    fn lane_2(&mut self, word: u32, V(register): V, pointer: Pointer, offset: i64) {
        self.sum(TEMPORARY, POINTERS[pointer.0 as usize], offset + 8);
        self.program.push(word | TEMPORARY.0 << 5 | register);
    }

    /// The first lanes; the others become zero.
    pub(super) fn load_part(&mut self, to: V, from: Pointer, offset: i64, lanes: usize) {
        match lanes {
            0 => self.three(op::EOR, to, to, to),
            1 => self.at(memory::LOAD_S, to, from, offset),
            2 => self.at(memory::LOAD_D, to, from, offset),
            3 => {
                self.at(memory::LOAD_D, to, from, offset);
                self.lane_2(memory::LOAD_LANE_2, to, from, offset);
            }
            _ => self.at(memory::LOAD_Q, to, from, offset),
        }
    }

    /// The first lanes.
    pub(super) fn store_part(&mut self, to: Pointer, offset: i64, from: V, lanes: usize) {
        match lanes {
            0 => {}
            1 => self.at(memory::STORE_S, from, to, offset),
            2 => self.at(memory::STORE_D, from, to, offset),
            3 => {
                self.at(memory::STORE_D, from, to, offset);
                self.lane_2(memory::STORE_LANE_2, from, to, offset);
            }
            _ => self.at(memory::STORE_Q, from, to, offset),
        }
    }

    /// [`Emitter::store_narrow`](crate::vocabulary::Emitter::store_narrow)
    pub(super) fn narrow(&mut self, to: Pointer, offset: i64, from: V) {
        let [narrow, ..] = SPARE;
        self.two(op::XTN_S, narrow, from);
        self.two(op::XTN_H, narrow, narrow);
        self.at(memory::STORE_S, narrow, to, offset);
    }

    /// [`Emitter::store_sign_bits`](crate::vocabulary::Emitter::store_sign_bits)
    pub(super) fn sign_bits(&mut self, to: Pointer, offset: i64, from: V) {
        let [signs, bits, _] = SPARE;
        self.two(op::CMLT_B, signs, from);
        let each: [u8; 16] = std::array::from_fn(|byte| 1 << (byte % 8));
        self.program.load_constant(memory::LOAD_CONSTANT | bits.0, each);
        self.three(op::AND, signs, signs, bits);
        // Bits of eight bytes in one, by adding neighbours three times.
        for _ in 0..3 {
            self.three(op::ADDP_B, signs, signs, signs);
        }
        self.at(memory::STORE_H, signs, to, offset);
    }

    /// `to` = 32-bit sums of the products of 8-bit lanes, four a lane, onto `sum`.
    pub(super) fn dot(&mut self, sum: V, a: V, b: V) {
        if let Some(instruction) = self.isa.dot_instruction() {
            return self.three(instruction, sum, a, b);
        }
        let [low, high, _] = SPARE;
        self.three(op::SMULL_B, low, a, b);
        self.three(op::SMULL2_B, high, a, b);
        self.three(op::ADDP_H, low, low, high);
        self.two(op::SADALP_H, sum, low);
    }

    /// [`Binary::MulPairs`](crate::vocabulary::Binary::MulPairs): bytes of `a` may have any value, so both are widened first.
    pub(super) fn multiply_pairs(&mut self, to: V, a: V, b: V) {
        let [low, high, other] = SPARE;
        self.two(op::UXTL, low, a);
        self.two(op::SXTL, other, b);
        self.three(op::MUL_H, low, low, other);
        self.two(op::UXTL2, high, a);
        self.two(op::SXTL2, other, b);
        self.three(op::MUL_H, high, high, other);
        self.three(op::ADDP_H, to, low, high);
    }

    /// [`Binary::AddPairs`](crate::vocabulary::Binary::AddPairs)
    pub(super) fn add_pairs(&mut self, to: V, a: V, b: V) {
        let [low, high, _] = SPARE;
        self.three(op::SMULL_H, low, a, b);
        self.three(op::SMULL2_H, high, a, b);
        self.three(op::ADDP_S, to, low, high);
    }

    /// [`Binary::MaxFloat`](crate::vocabulary::Binary::MaxFloat): not `fmax`, which has its own mind about NaN and the sign of zero.
    pub(super) fn larger(&mut self, to: V, a: V, b: V) {
        let [greater, ..] = SPARE;
        self.three(op::FCMGT, greater, a, b);
        self.three(op::BSL, greater, a, b);
        self.copy(to, greater);
    }
}
