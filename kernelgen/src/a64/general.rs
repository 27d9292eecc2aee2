//! Instructions on general registers: constants, pointers, counters.

use aarchmrs_instructions::A64::control::{branch_imm, branch_reg, condbranch};
use aarchmrs_instructions::A64::dpimm::{addsub_imm, movewide};
use aarchmrs_instructions::A64::dpreg::{addsub_shift, condsel};
use aarchmrs_types::BitValue;

use super::instructions::{NO, YES};

/// A general register by number; 31 is the zero register where an instruction says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct X(pub(crate) u32);

impl X {
    /// Reads as zero, forgets what is written.
    pub(crate) const ZERO: X = X(31);
    /// The stack pointer, where an instruction says so.
    pub(crate) const STACK: X = X(31);

    fn bits(self) -> BitValue<5> {
        BitValue::new_u32(self.0)
    }
}

/// Whether the unsigned difference of a comparison was below zero, not zero, or above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Condition {
    NotEqual = 0b0001,
    Lower = 0b0011,
    Higher = 0b1000,
}

impl Condition {
    fn bits(self) -> BitValue<4> {
        BitValue::new_u32(self as u32)
    }
}

/// `to = value`, two bytes an instruction.
pub(crate) fn set(to: X, value: u64) -> impl Iterator<Item = u32> {
    let halves = (0..4_u32).map(move |half| (half, (value >> (16 * half)) as u32 & 0xFFFF));
    let first = move |(half, bits): (u32, u32)| {
        let (half, bits) = (BitValue::new_u32(half), BitValue::new_u32(bits));
        movewide::MOVZ_64_movewide::MOVZ_64_movewide(half, bits, to.bits()).unpack()
    };
    let next = move |(half, bits): (u32, u32)| {
        let (half, bits) = (BitValue::new_u32(half), BitValue::new_u32(bits));
        movewide::MOVK_64_movewide::MOVK_64_movewide(half, bits, to.bits()).unpack()
    };
    let rest = halves.clone().skip(1).filter(|&(_, bits)| bits != 0).map(next);
    halves.take(1).map(first).chain(rest)
}

/// Immediates of additions have twelve bits, or twelve bits twelve places up.
pub(crate) const IMMEDIATE: u64 = 1 << 12;

fn immediate(value: u64) -> (BitValue<1>, BitValue<12>) {
    let (shifted, value) = if value < IMMEDIATE { (NO, value) } else { (YES, value / IMMEDIATE) };
    (shifted, BitValue::new_u32(value as u32))
}

/// `to = from + value`; `value` is below 4096, or below 2^24 and a multiple of 4096.
pub(crate) fn add(to: X, from: X, value: u64) -> u32 {
    let (shifted, value) = immediate(value);
    addsub_imm::ADD_64_addsub_imm::ADD_64_addsub_imm(shifted, value, from.bits(), to.bits()).unpack()
}

/// `to = from - value`, as [`add`].
pub(crate) fn subtract(to: X, from: X, value: u64) -> u32 {
    let (shifted, value) = immediate(value);
    addsub_imm::SUB_64_addsub_imm::SUB_64_addsub_imm(shifted, value, from.bits(), to.bits()).unpack()
}

/// `to = from - value`, and compares; `value` is below 4096.
pub(crate) fn subtract_and_compare(to: X, from: X, value: u64) -> u32 {
    let (_, value) = immediate(value);
    addsub_imm::SUBS_64S_addsub_imm::SUBS_64S_addsub_imm(NO, value, from.bits(), to.bits()).unpack()
}

const UNSHIFTED: BitValue<2> = BitValue::new_u32(0);
const BY_NOTHING: BitValue<6> = BitValue::new_u32(0);

/// `to = a + b`
pub(crate) fn add_register(to: X, a: X, b: X) -> u32 {
    addsub_shift::ADD_64_addsub_shift::ADD_64_addsub_shift(
        UNSHIFTED,
        b.bits(),
        BY_NOTHING,
        a.bits(),
        to.bits(),
    )
    .unpack()
}

/// `to = a - b`
pub(crate) fn subtract_register(to: X, a: X, b: X) -> u32 {
    addsub_shift::SUB_64_addsub_shift::SUB_64_addsub_shift(
        UNSHIFTED,
        b.bits(),
        BY_NOTHING,
        a.bits(),
        to.bits(),
    )
    .unpack()
}

/// `to = a - b`, and compares.
pub(crate) fn subtract_register_and_compare(to: X, a: X, b: X) -> u32 {
    addsub_shift::SUBS_64_addsub_shift::SUBS_64_addsub_shift(
        UNSHIFTED,
        b.bits(),
        BY_NOTHING,
        a.bits(),
        to.bits(),
    )
    .unpack()
}

/// `to = if condition { a } else { b }`
pub(crate) fn select(to: X, condition: Condition, a: X, b: X) -> u32 {
    condsel::CSEL_64_condsel::CSEL_64_condsel(b.bits(), condition.bits(), a.bits(), to.bits()).unpack()
}

/// A branch whose distance is filled in later: instructions, 19 bits from bit 5.
pub(crate) fn branch_if(condition: Condition) -> u32 {
    condbranch::B_only_condbranch::B_only_condbranch(BitValue::new_u32(0), condition.bits()).unpack()
}

/// A branch whose distance is filled in later: instructions, 26 bits from bit 0.
pub(crate) fn branch() -> u32 {
    branch_imm::B_only_branch_imm::B_only_branch_imm(BitValue::new_u32(0)).unpack()
}

/// Returns to the caller.
pub(crate) fn return_() -> u32 {
    branch_reg::RET_64R_branch_reg::RET_64R_branch_reg(X(30).bits()).unpack()
}
