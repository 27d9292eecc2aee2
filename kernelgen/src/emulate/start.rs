//! The emulated program: does what records from standard input say, one after the other, and answers each with a number
//! on standard output. A record asks for a system call, or for a call of a kernel, after which the program looks whether
//! the registers that belong to the caller came back.

use std::ops::RangeInclusive;

use aarchmrs_instructions::A64::control::{branch_reg, exception};
use aarchmrs_instructions::A64::dpreg::log_shift;
use aarchmrs_instructions::A64::simd_dp::float2int;
use aarchmrs_types::BitValue;

use crate::a64::encode::Program;
use crate::a64::general::{self as x, Condition, X};
use crate::a64::memory::{Access, Form, LOAD_X, STORE_X};
use crate::code::EmitError;

/// Eight words: what to do, and seven arguments.
pub(super) type Record = [u64; 8];
/// Bytes of a record.
pub(super) const RECORD: usize = size_of::<Record>();
/// Linux's numbers on aarch64.
pub(super) const OPEN_AT: u64 = 56;
const READ: u64 = 63;
const WRITE: u64 = 64;
const EXIT: u64 = 93;
pub(super) const UNMAP: u64 = 215;
pub(super) const MAP: u64 = 222;

/// A record that asks for system call `number`; the answer is its result.
pub(super) fn system_call(number: u64, arguments: [u64; 6]) -> Record {
    let [a, b, c, d, e, f] = arguments;
    [0, a, b, c, d, e, f, number]
}

/// A record that asks for a call of the kernel at `code`; the answer is zero, or the bits that were not restored.
pub(super) fn kernel_call(code: u64, arguments: u64) -> Record {
    [1, arguments, code, 0, 0, 0, 0, 0]
}

/// What AAPCS64 has a function preserve, besides the stack pointer, which is compared by way of x28.
const GENERAL: RangeInclusive<u32> = 19..=27;
const VECTOR: RangeInclusive<u32> = 8..=15;
const SAVED_STACK: X = X(28);
/// As a source of additions, the stack pointer.
const STACK: X = X(31);
const RECORD_ADDRESS: X = X(9);
const TEMPORARY: X = X(10);
const DIFFERENCES: X = X(11);

/// A number for a register that no kernel leaves there by chance.
fn pattern(register: u32) -> u64 {
    0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(u64::from(register) + 1)
}

fn bits(X(register): X) -> BitValue<5> {
    BitValue::new_u32(register)
}

/// The code, which keeps a record at `record`.
pub(super) fn start(record: u64) -> Result<Vec<u8>, EmitError> {
    let mut p = Program::default();
    let head = p.here();
    input_output(&mut p, READ, 0, record, RECORD as u64);
    p.push(x::subtract_and_compare(X::ZERO, X(0), RECORD as u64));
    let over = p.here();
    p.branch_if(x::branch_if(Condition::NotEqual), over);
    set(&mut p, RECORD_ADDRESS, record);
    word(&mut p, LOAD_X, TEMPORARY, 0);
    p.push(x::subtract_and_compare(X::ZERO, TEMPORARY, 0));
    let to_kernel = p.here();
    p.branch_if(x::branch_if(Condition::NotEqual), to_kernel);
    (0..6).for_each(|register| word(&mut p, LOAD_X, X(register), register as usize + 1));
    word(&mut p, LOAD_X, X(8), 7);
    service(&mut p);
    let to_answer = p.here();
    p.branch(x::branch(), to_answer);
    p.land(to_kernel);
    kernel(&mut p);
    p.land(to_answer);
    set(&mut p, RECORD_ADDRESS, record);
    word(&mut p, STORE_X, X(0), 0);
    input_output(&mut p, WRITE, 1, record, 8);
    p.branch(x::branch(), head);
    p.land(over);
    set(&mut p, X(0), 0);
    set(&mut p, X(8), EXIT);
    service(&mut p);
    Ok(p.encode(0)?.bytes)
}

fn set(p: &mut Program, to: X, value: u64) {
    x::set(to, value).for_each(|word| p.push(word));
}

/// Loads or stores word `index` of the record.
fn word(p: &mut Program, access: Access, register: X, index: usize) {
    if let Form::Immediate(word) = access.at(8 * index as i64) {
        p.push(word | RECORD_ADDRESS.0 << 5 | register.0);
    }
}

fn service(p: &mut Program) {
    p.push(exception::SVC_EX_exception::SVC_EX_exception(BitValue::new_u32(0)).unpack());
}

fn input_output(p: &mut Program, number: u64, file: u64, address: u64, length: u64) {
    for (register, value) in [(0, file), (1, address), (2, length), (8, number)] {
        set(p, X(register), value);
    }
    service(p);
}

/// Calls the kernel as C would; x0 = all bits in which a register that belongs to the caller differs.
fn kernel(p: &mut Program) {
    GENERAL.for_each(|register| set(p, X(register), pattern(register)));
    for register in VECTOR {
        set(p, TEMPORARY, pattern(100 + register));
        let to = BitValue::new_u32(register);
        p.push(float2int::FMOV_D64_float2int::FMOV_D64_float2int(bits(TEMPORARY), to).unpack());
    }
    p.push(x::add(SAVED_STACK, STACK, 0));
    word(p, LOAD_X, X(0), 1);
    word(p, LOAD_X, TEMPORARY, 2);
    p.push(branch_reg::BLR_64_branch_reg::BLR_64_branch_reg(bits(TEMPORARY)).unpack());
    p.push(x::add(TEMPORARY, STACK, 0));
    p.push(x::subtract_register(DIFFERENCES, TEMPORARY, SAVED_STACK));
    GENERAL.for_each(|register| compare(p, X(register), pattern(register)));
    for register in VECTOR {
        let from = BitValue::new_u32(register);
        p.push(float2int::FMOV_64D_float2int::FMOV_64D_float2int(from, bits(X(0))).unpack());
        compare(p, X(0), pattern(100 + register));
    }
    p.push(x::add(X(0), DIFFERENCES, 0));
}

/// Notes how `found` differs from `wanted`.
fn compare(p: &mut Program, found: X, wanted: u64) {
    set(p, TEMPORARY, wanted);
    p.push(x::subtract_register(TEMPORARY, TEMPORARY, found));
    let (unshifted, by) = (BitValue::new_u32(0), BitValue::new_u32(0));
    let [all, this] = [DIFFERENCES, TEMPORARY].map(bits);
    p.push(log_shift::ORR_64_log_shift::ORR_64_log_shift(unshifted, this, by, all, all).unpack());
}
