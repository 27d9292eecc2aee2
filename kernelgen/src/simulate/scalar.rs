//! General registers, flags and branches.
//!
//! Flags that the manual leaves undefined are whatever is easiest here; code must not read them.

use super::bits::{lane, low_bits, set_lane};
use super::core::{Core, STACK_POINTER};
use super::fault::FaultKind;
use super::flags::Flags;
use super::float::float;
use super::operand::check_rounding;
use super::operation::Row;
use iced_x86::{Instruction, Mnemonic as M, OpKind};
use std::cmp::Ordering;

type Done = Result<(), FaultKind>;

#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    (&[M::Mov, M::Movzx], |core, i| { let value = core.integer(i, 1)?; core.set_integer(i, 0, value) }),
    (&[M::Movsx, M::Movsxd], sign_extend),
    (&[M::Lea], |core, i| { let value = core.address(i)?; core.set_integer(i, 0, value) }),
    (&[M::Add], |core, i| arithmetic(core, i, |a, b, _, size| Flags::add(a, b, false, size))),
    (&[M::Adc], |core, i| arithmetic(core, i, Flags::add)),
    (&[M::Sub], |core, i| arithmetic(core, i, |a, b, _, size| Flags::sub(a, b, false, size))),
    (&[M::Sbb], |core, i| arithmetic(core, i, Flags::sub)),
    (&[M::And], |core, i| arithmetic(core, i, |a, b, _, size| (a & b, Flags::of(a & b, size)))),
    (&[M::Or], |core, i| arithmetic(core, i, |a, b, _, size| (a | b, Flags::of(a | b, size)))),
    (&[M::Xor], |core, i| arithmetic(core, i, |a, b, _, size| (a ^ b, Flags::of(a ^ b, size)))),
    (&[M::Cmp], |core, i| flags_of(core, i, |a, b, size| Flags::sub(a, b, false, size).1)),
    (&[M::Test], |core, i| flags_of(core, i, |a, b, size| Flags::of(a & b, size))),
    (&[M::Inc], |core, i| step(core, i, |a, size| Flags::add(a, 1, false, size))),
    (&[M::Dec], |core, i| step(core, i, |a, size| Flags::sub(a, 1, false, size))),
    (&[M::Neg], |core, i| unary(core, i, |a, size| Flags::sub(0, a, false, size))),
    (&[M::Not], |core, i| { let value = !core.integer(i, 0)?; core.set_integer(i, 0, value) }),
    (&[M::Imul], multiply),
    (&[M::Mul], multiply_wide),
    (&[M::Div], divide),
    (&[M::Shl, M::Sal], |core, i| shift(core, i, |a, _, count| a << count)),
    (&[M::Shr], |core, i| shift(core, i, |a, _, count| a >> count)),
    (&[M::Sar], |core, i| shift(core, i, |a, size, count| (signed(a, size) >> count) as u64)),
    (&[M::Shlx], |core, i| shift_by_register(core, i, |a, _, count| a << count)),
    (&[M::Shrx], |core, i| shift_by_register(core, i, |a, _, count| a >> count)),
    (&[M::Sarx], |core, i| shift_by_register(core, i, |a, size, count| (signed(a, size) >> count) as u64)),
    (&[M::Andn], and_not),
    (&[M::Vucomiss, M::Vcomiss, M::Ucomiss, M::Comiss], compare_floats),
    (&[M::Vcvtsi2ss, M::Cvtsi2ss], to_float),
    (&[M::Vcvtss2si, M::Cvtss2si], |core, i| from_float(core, i, f32::round_ties_even)),
    (&[M::Vcvttss2si, M::Cvttss2si], |core, i| from_float(core, i, f32::trunc)),
    (&[M::Bzhi], bits_below),
    (&[M::Popcnt], |core, i| counted(core, i, |a, _| a.count_ones())),
    (&[M::Lzcnt], |core, i| counted(core, i, |a, bits| a.leading_zeros() - (64 - bits))),
    (&[M::Tzcnt], |core, i| counted(core, i, |a, bits| a.trailing_zeros().min(bits))),
    (&[M::Xchg], exchange),
    (&[M::Push], push),
    (&[M::Pop], pop),
    (&[M::Leave], leave),
    (&[M::Call], |core, i| { let target = target(core, i)?; core.push(core.ip)?; core.ip = target; Ok(()) }),
    (&[M::Ret], ret),
    (&[M::Jmp, M::Jo, M::Jno, M::Jb, M::Jae, M::Je, M::Jne, M::Jbe, M::Ja, M::Js, M::Jns, M::Jp, M::Jnp, M::Jl,
       M::Jge, M::Jle, M::Jg], jump),
    (&[M::Seto, M::Setno, M::Setb, M::Setae, M::Sete, M::Setne, M::Setbe, M::Seta, M::Sets, M::Setns, M::Setp,
       M::Setnp, M::Setl, M::Setge, M::Setle, M::Setg], set),
    (&[M::Cmovo, M::Cmovno, M::Cmovb, M::Cmovae, M::Cmove, M::Cmovne, M::Cmovbe, M::Cmova, M::Cmovs, M::Cmovns,
       M::Cmovp, M::Cmovnp, M::Cmovl, M::Cmovge, M::Cmovle, M::Cmovg], move_if),
    // A prefetch of an address that does not exist is no fault.
    (&[M::Nop, M::Endbr64, M::Pause, M::Lfence, M::Mfence, M::Sfence, M::Prefetcht0, M::Prefetcht1, M::Prefetcht2,
       M::Prefetchnta, M::Prefetchw, M::Prefetchwt1], |_, _| Ok(())),
];

/// `a` of `size` bytes as a signed number.
fn signed(a: u64, size: usize) -> i64 {
    let unused = 64 - 8 * size;
    ((a << unused) as i64) >> unused
}

fn sign_extend(core: &mut Core, instruction: &Instruction) -> Done {
    let value = core.integer(instruction, 1)?;
    core.set_integer(instruction, 0, signed(value, Core::operand_size(instruction, 1)) as u64)
}

/// `operand 0 = function(operand 0, operand 1, carry)`
fn arithmetic(
    core: &mut Core,
    instruction: &Instruction,
    function: fn(u64, u64, bool, usize) -> (u64, Flags),
) -> Done {
    let (a, b) = (core.integer(instruction, 0)?, core.integer(instruction, 1)?);
    let size = Core::operand_size(instruction, 0);
    let (value, flags) = function(a, b, core.flags.carry, size);
    core.set_integer(instruction, 0, value)?;
    core.flags = flags;
    Ok(())
}

fn flags_of(core: &mut Core, instruction: &Instruction, function: fn(u64, u64, usize) -> Flags) -> Done {
    let (a, b) = (core.integer(instruction, 0)?, core.integer(instruction, 1)?);
    core.flags = function(a, b, Core::operand_size(instruction, 0));
    Ok(())
}

fn unary(core: &mut Core, instruction: &Instruction, function: fn(u64, usize) -> (u64, Flags)) -> Done {
    let (value, flags) = function(core.integer(instruction, 0)?, Core::operand_size(instruction, 0));
    core.set_integer(instruction, 0, value)?;
    core.flags = flags;
    Ok(())
}

/// INC and DEC, which keep CF.
fn step(core: &mut Core, instruction: &Instruction, function: fn(u64, usize) -> (u64, Flags)) -> Done {
    let carry = core.flags.carry;
    unary(core, instruction, function)?;
    core.flags.carry = carry;
    Ok(())
}

/// IMUL in its three forms. CF and OF say whether the product was cut.
fn multiply(core: &mut Core, instruction: &Instruction) -> Done {
    if instruction.op_count() == 1 {
        return multiply_wide(core, instruction);
    }
    let last = instruction.op_count() - 1;
    let (a, b) = (core.integer(instruction, last - 1)?, core.integer(instruction, last)?);
    let size = Core::operand_size(instruction, 0);
    let product = i128::from(signed(a, size)) * i128::from(signed(b, size));
    core.set_integer(instruction, 0, product as u64)?;
    let cut = product != i128::from(signed(product as u64, size));
    core.flags = Flags { carry: cut, overflow: cut, ..Flags::of(product as u64, size) };
    Ok(())
}

/// MUL and one-operand IMUL: rax times the operand, to rdx and rax.
fn multiply_wide(core: &mut Core, instruction: &Instruction) -> Done {
    let size = Core::operand_size(instruction, 0);
    if size < 4 {
        return Err(FaultKind::Unsupported);
    }
    let (bits, mask) = (8 * size, low_bits(8 * size));
    let (a, b) = (core.general[0] & mask, core.integer(instruction, 0)?);
    let product = if instruction.mnemonic() == M::Mul {
        u128::from(a) * u128::from(b)
    } else {
        (i128::from(signed(a, size)) * i128::from(signed(b, size))) as u128
    };
    let (low, high) = (product as u64 & mask, (product >> bits) as u64 & mask);
    (core.general[0], core.general[2]) = (low, high);
    let fill = if instruction.mnemonic() == M::Mul { 0 } else { (signed(low, size) >> 63) as u64 & mask };
    core.flags = Flags { carry: high != fill, overflow: high != fill, ..Flags::of(low, size) };
    Ok(())
}

/// DIV: rdx and rax, taken as one number, by the operand; the quotient to rax, what is left to rdx.
fn divide(core: &mut Core, instruction: &Instruction) -> Done {
    let size = Core::operand_size(instruction, 0);
    if size < 4 {
        return Err(FaultKind::Unsupported);
    }
    let (bits, mask) = (8 * size, low_bits(8 * size));
    let whole = u128::from(core.general[2] & mask) << bits | u128::from(core.general[0] & mask);
    let by = u128::from(core.integer(instruction, 0)?);
    let quotient = whole.checked_div(by).filter(|&quotient| quotient <= u128::from(mask));
    let quotient = quotient.ok_or(FaultKind::Division)?;
    (core.general[0], core.general[2]) = (quotient as u64, (whole - quotient * by) as u64);
    Ok(())
}

/// Shifts by an immediate or cl. A count of zero leaves the flags.
fn shift(core: &mut Core, instruction: &Instruction, function: fn(u64, usize, u32) -> u64) -> Done {
    let size = Core::operand_size(instruction, 0);
    let limit = if size == 8 { 63 } else { 31 };
    let count = core.integer(instruction, 1)? as u32 & limit;
    let before = core.integer(instruction, 0)?;
    let after = function(before, size, count) & low_bits(8 * size);
    core.set_integer(instruction, 0, after)?;
    if count != 0 {
        let almost = function(before, size, count - 1);
        let left = matches!(instruction.mnemonic(), M::Shl | M::Sal);
        let top = |value: u64| value >> (8 * size - 1) & 1 == 1;
        let carry = if left { top(almost) } else { almost & 1 == 1 };
        core.flags = Flags { carry, overflow: top(before) != top(after), ..Flags::of(after, size) };
    }
    Ok(())
}

/// SHLX and its like, which leave the flags.
fn shift_by_register(
    core: &mut Core,
    instruction: &Instruction,
    function: fn(u64, usize, u32) -> u64,
) -> Done {
    let size = Core::operand_size(instruction, 0);
    let count = core.integer(instruction, 2)? as u32 & (8 * size as u32 - 1);
    let value = function(core.integer(instruction, 1)?, size, count);
    core.set_integer(instruction, 0, value)
}

fn and_not(core: &mut Core, instruction: &Instruction) -> Done {
    let value = !core.integer(instruction, 1)? & core.integer(instruction, 2)?;
    core.set_integer(instruction, 0, value)?;
    core.flags = Flags::of(value, Core::operand_size(instruction, 0));
    Ok(())
}

/// The low floats of two vectors, to ZF, PF and CF.
fn compare_floats(core: &mut Core, instruction: &Instruction) -> Done {
    let float = |operand| Ok(float(lane(&core.source(instruction, operand)?, 4, 0)));
    let order = float(0)?.partial_cmp(&float(1)?);
    core.flags = Flags {
        zero: matches!(order, Some(Ordering::Equal) | None),
        parity: order.is_none(),
        carry: matches!(order, Some(Ordering::Less) | None),
        ..Flags::default()
    };
    Ok(())
}

/// CVTSI2SS: an integer to the low lane; the others come from the first source.
fn to_float(core: &mut Core, instruction: &Instruction) -> Done {
    check_rounding(core, instruction)?;
    let last = instruction.op_count() - 1;
    let value = signed(core.integer(instruction, last)?, Core::operand_size(instruction, last));
    let mut vector = core.source(instruction, last - 1)?;
    set_lane(&mut vector, 4, 0, (value as f32).to_bits().into());
    core.set_vector(instruction, 4, &vector)
}

/// CVTSS2SI and CVTTSS2SI: the low float to an integer, or to the least one where it does not fit.
fn from_float(core: &mut Core, instruction: &Instruction, round: fn(f32) -> f32) -> Done {
    check_rounding(core, instruction)?;
    let bits = 8 * Core::operand_size(instruction, 0);
    let value = round(float(lane(&core.source(instruction, 1)?, 4, 0)));
    let limit = 2_f32.powi(bits as i32 - 1);
    let fits = (-limit..limit).contains(&value);
    core.set_integer(instruction, 0, if fits { value as i64 as u64 } else { 1 << (bits - 1) })
}

/// BZHI: CF says that the index was beyond the operand.
fn bits_below(core: &mut Core, instruction: &Instruction) -> Done {
    let size = Core::operand_size(instruction, 0);
    let index = core.integer(instruction, 2)? as u8 as usize;
    let value = core.integer(instruction, 1)? & low_bits(index);
    core.set_integer(instruction, 0, value)?;
    core.flags = Flags { carry: index >= 8 * size, ..Flags::of(value, size) };
    Ok(())
}

/// POPCNT, LZCNT and TZCNT; the function is given the operand's bits.
fn counted(core: &mut Core, instruction: &Instruction, function: fn(u64, u32) -> u32) -> Done {
    let size = Core::operand_size(instruction, 0);
    let source = core.integer(instruction, 1)?;
    let value = u64::from(function(source, 8 * size as u32));
    core.set_integer(instruction, 0, value)?;
    let none = source == 0;
    core.flags = if instruction.mnemonic() == M::Popcnt {
        Flags { zero: none, ..Flags::default() }
    } else {
        Flags { carry: none, zero: value == 0, ..Flags::default() }
    };
    Ok(())
}

fn exchange(core: &mut Core, instruction: &Instruction) -> Done {
    let (a, b) = (core.integer(instruction, 0)?, core.integer(instruction, 1)?);
    core.set_integer(instruction, 0, b)?;
    core.set_integer(instruction, 1, a)
}

/// PUSH, but not of 16 bits.
fn push(core: &mut Core, instruction: &Instruction) -> Done {
    if instruction.op0_register().is_gpr16() {
        return Err(FaultKind::Unsupported);
    }
    let value = core.integer(instruction, 0)?;
    core.push(value)
}

/// POP, but not of 16 bits.
fn pop(core: &mut Core, instruction: &Instruction) -> Done {
    if instruction.op0_register().is_gpr16() {
        return Err(FaultKind::Unsupported);
    }
    let value = core.pop()?;
    core.set_integer(instruction, 0, value)
}

fn leave(core: &mut Core, _: &Instruction) -> Done {
    const FRAME_POINTER: usize = 5;
    core.general[STACK_POINTER] = core.general[FRAME_POINTER];
    core.general[FRAME_POINTER] = core.pop()?;
    Ok(())
}

/// Where a jump or call goes.
fn target(core: &Core, instruction: &Instruction) -> Result<u64, FaultKind> {
    match instruction.op_kind(0) {
        OpKind::NearBranch64 => Ok(instruction.near_branch_target()),
        OpKind::Register | OpKind::Memory if Core::operand_size(instruction, 0) == 8 => {
            core.integer(instruction, 0)
        }
        _ => Err(FaultKind::Unsupported),
    }
}

fn jump(core: &mut Core, instruction: &Instruction) -> Done {
    if core.flags.holds(instruction.condition_code()) {
        core.ip = target(core, instruction)?;
    }
    Ok(())
}

fn ret(core: &mut Core, instruction: &Instruction) -> Done {
    core.ip = core.pop()?;
    if instruction.op_count() == 1 {
        let released = u64::from(instruction.immediate16());
        core.general[STACK_POINTER] = core.general[STACK_POINTER].wrapping_add(released);
    }
    Ok(())
}

fn set(core: &mut Core, instruction: &Instruction) -> Done {
    let value = core.flags.holds(instruction.condition_code()).into();
    core.set_integer(instruction, 0, value)
}

/// CMOV reads its source and writes its destination whatever the condition.
fn move_if(core: &mut Core, instruction: &Instruction) -> Done {
    let (kept, moved) = (core.integer(instruction, 0)?, core.integer(instruction, 1)?);
    let holds = core.flags.holds(instruction.condition_code());
    core.set_integer(instruction, 0, if holds { moved } else { kept })
}
