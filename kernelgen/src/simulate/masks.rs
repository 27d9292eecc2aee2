//! Mask registers: their own instructions, and those that compare into them.

use super::bits::{lane, low_bits, set_lane, signed};
use super::core::Core;
use super::fault::FaultKind;
use super::flags::Flags;
use super::float;
use super::operand::{build, is_legacy};
use super::operation::Row;
use iced_x86::{Instruction, Mnemonic as M, OpKind, Register};

type Done = Result<(), FaultKind>;

#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    (&[M::Kmovb], |core, i| transfer(core, i, 8)),
    (&[M::Kmovw], |core, i| transfer(core, i, 16)),
    (&[M::Kmovd], |core, i| transfer(core, i, 32)),
    (&[M::Kmovq], |core, i| transfer(core, i, 64)),
    (&[M::Kandb], |core, i| combine(core, i, 8, |a, b| a & b)),
    (&[M::Kandw], |core, i| combine(core, i, 16, |a, b| a & b)),
    (&[M::Kandd], |core, i| combine(core, i, 32, |a, b| a & b)),
    (&[M::Kandq], |core, i| combine(core, i, 64, |a, b| a & b)),
    (&[M::Korb], |core, i| combine(core, i, 8, |a, b| a | b)),
    (&[M::Korw], |core, i| combine(core, i, 16, |a, b| a | b)),
    (&[M::Kord], |core, i| combine(core, i, 32, |a, b| a | b)),
    (&[M::Korq], |core, i| combine(core, i, 64, |a, b| a | b)),
    (&[M::Kxorb], |core, i| combine(core, i, 8, |a, b| a ^ b)),
    (&[M::Kxorw], |core, i| combine(core, i, 16, |a, b| a ^ b)),
    (&[M::Kxord], |core, i| combine(core, i, 32, |a, b| a ^ b)),
    (&[M::Kxorq], |core, i| combine(core, i, 64, |a, b| a ^ b)),
    (&[M::Kxnorb], |core, i| combine(core, i, 8, |a, b| !(a ^ b))),
    (&[M::Kxnorw], |core, i| combine(core, i, 16, |a, b| !(a ^ b))),
    (&[M::Kxnord], |core, i| combine(core, i, 32, |a, b| !(a ^ b))),
    (&[M::Kxnorq], |core, i| combine(core, i, 64, |a, b| !(a ^ b))),
    (&[M::Kaddb], |core, i| combine(core, i, 8, u64::wrapping_add)),
    (&[M::Kaddw], |core, i| combine(core, i, 16, u64::wrapping_add)),
    (&[M::Kaddd], |core, i| combine(core, i, 32, u64::wrapping_add)),
    (&[M::Kaddq], |core, i| combine(core, i, 64, u64::wrapping_add)),
    (&[M::Kunpckbw], |core, i| combine(core, i, 16, |a, b| a << 8 | b & low_bits(8))),
    (&[M::Kunpckwd], |core, i| combine(core, i, 32, |a, b| a << 16 | b & low_bits(16))),
    (&[M::Kunpckdq], |core, i| combine(core, i, 64, |a, b| a << 32 | b & low_bits(32))),
    (&[M::Knotb], |core, i| invert(core, i, 8)),
    (&[M::Knotw], |core, i| invert(core, i, 16)),
    (&[M::Knotd], |core, i| invert(core, i, 32)),
    (&[M::Knotq], |core, i| invert(core, i, 64)),
    (&[M::Kortestb], |core, i| test(core, i, 8)),
    (&[M::Kortestw], |core, i| test(core, i, 16)),
    (&[M::Kortestd], |core, i| test(core, i, 32)),
    (&[M::Kortestq], |core, i| test(core, i, 64)),

    (&[M::Vpcmpeqb, M::Pcmpeqb], |core, i| compare(core, i, 1, |a, b| a == b)),
    (&[M::Vpcmpeqw, M::Pcmpeqw], |core, i| compare(core, i, 2, |a, b| a == b)),
    (&[M::Vpcmpeqd, M::Pcmpeqd], |core, i| compare(core, i, 4, |a, b| a == b)),
    (&[M::Vpcmpeqq, M::Pcmpeqq], |core, i| compare(core, i, 8, |a, b| a == b)),
    (&[M::Vpcmpgtb, M::Pcmpgtb], |core, i| compare(core, i, 1, |a, b| signed::<8>(a) > signed::<8>(b))),
    (&[M::Vpcmpgtw, M::Pcmpgtw], |core, i| compare(core, i, 2, |a, b| signed::<16>(a) > signed::<16>(b))),
    (&[M::Vpcmpgtd, M::Pcmpgtd], |core, i| compare(core, i, 4, |a, b| signed::<32>(a) > signed::<32>(b))),
    (&[M::Vpcmpgtq, M::Pcmpgtq], |core, i| compare(core, i, 8, |a, b| a as i64 > b as i64)),
    (&[M::Vpcmpb], |core, i| compare_by(core, i, 1, signed::<8>)),
    (&[M::Vpcmpw], |core, i| compare_by(core, i, 2, signed::<16>)),
    (&[M::Vpcmpd], |core, i| compare_by(core, i, 4, signed::<32>)),
    (&[M::Vpcmpq], |core, i| compare_by(core, i, 8, signed::<64>)),
    (&[M::Vpcmpub], |core, i| compare_by(core, i, 1, |a| a)),
    (&[M::Vpcmpuw], |core, i| compare_by(core, i, 2, |a| a)),
    (&[M::Vpcmpud], |core, i| compare_by(core, i, 4, |a| a)),
    (&[M::Vpcmpuq], |core, i| compare_by(core, i, 8, |a| a)),
    (&[M::Vcmpps, M::Cmpps], |core, i| {
        let predicate = u64::from(i.immediate8()) & if is_legacy(i) { 7 } else { 31 };
        compare(core, i, 4, |a, b| float::compare(a, b, predicate))
    }),
    (&[M::Vptestmb], |core, i| compare(core, i, 1, |a, b| a & b != 0)),
    (&[M::Vptestmw], |core, i| compare(core, i, 2, |a, b| a & b != 0)),
    (&[M::Vptestmd], |core, i| compare(core, i, 4, |a, b| a & b != 0)),
    (&[M::Vptestmq], |core, i| compare(core, i, 8, |a, b| a & b != 0)),
    (&[M::Vptestnmb], |core, i| compare(core, i, 1, |a, b| a & b == 0)),
    (&[M::Vptestnmw], |core, i| compare(core, i, 2, |a, b| a & b == 0)),
    (&[M::Vptestnmd], |core, i| compare(core, i, 4, |a, b| a & b == 0)),
    (&[M::Vptestnmq], |core, i| compare(core, i, 8, |a, b| a & b == 0)),
    (&[M::Vptest, M::Ptest], test_vectors),

    (&[M::Vpmovb2m], |core, i| signs(core, i, 1)),
    (&[M::Vpmovw2m], |core, i| signs(core, i, 2)),
    (&[M::Vpmovd2m], |core, i| signs(core, i, 4)),
    (&[M::Vpmovq2m], |core, i| signs(core, i, 8)),
    (&[M::Vpmovm2b], |core, i| expand(core, i, 1)),
    (&[M::Vpmovm2w], |core, i| expand(core, i, 2)),
    (&[M::Vpmovm2d], |core, i| expand(core, i, 4)),
    (&[M::Vpmovm2q], |core, i| expand(core, i, 8)),
    (&[M::Vpblendmb], |core, i| blend(core, i, 1)),
    (&[M::Vpblendmw], |core, i| blend(core, i, 2)),
    (&[M::Vpblendmd, M::Vblendmps], |core, i| blend(core, i, 4)),
    (&[M::Vpblendmq], |core, i| blend(core, i, 8)),
];

/// The mask register of an operand.
fn mask(core: &mut Core, register: Register) -> Result<&mut u64, FaultKind> {
    if register.is_k() { Ok(&mut core.masks[register.number()]) } else { Err(FaultKind::Unsupported) }
}

/// KMOV: `bits` bits between a mask register and another, a general register or memory.
fn transfer(core: &mut Core, instruction: &Instruction, bits: usize) -> Done {
    let source = instruction.op1_register();
    let value = if source.is_k() { *mask(core, source)? } else { core.integer(instruction, 1)? };
    let value = value & low_bits(bits);
    if instruction.op0_register().is_k() {
        *mask(core, instruction.op0_register())? = value;
        return Ok(());
    }
    core.set_integer(instruction, 0, value)
}

fn combine(core: &mut Core, instruction: &Instruction, bits: usize, function: fn(u64, u64) -> u64) -> Done {
    let [a, b] = [*mask(core, instruction.op1_register())?, *mask(core, instruction.op2_register())?];
    *mask(core, instruction.op0_register())? = function(a, b) & low_bits(bits);
    Ok(())
}

fn invert(core: &mut Core, instruction: &Instruction, bits: usize) -> Done {
    *mask(core, instruction.op0_register())? = !*mask(core, instruction.op1_register())? & low_bits(bits);
    Ok(())
}

/// KORTEST: ZF for none, CF for all.
fn test(core: &mut Core, instruction: &Instruction, bits: usize) -> Done {
    let either = *mask(core, instruction.op0_register())? | *mask(core, instruction.op1_register())?;
    let either = either & low_bits(bits);
    core.flags = Flags { zero: either == 0, carry: either == low_bits(bits), ..Flags::default() };
    Ok(())
}

/// Compares lanes of `size` bytes, to a mask register (where the mask is zeroing) or to lanes of all ones.
fn compare(
    core: &mut Core,
    instruction: &Instruction,
    size: usize,
    function: impl Fn(u64, u64) -> bool,
) -> Done {
    let first = u32::from(!is_legacy(instruction));
    let lanes = Core::operand_size(instruction, first) / size;
    let a = core.masked_source(instruction, first, lanes)?;
    let b = core.masked_source(instruction, first + 1, lanes)?;
    let holds = |index| u64::from(function(lane(&a, size, index), lane(&b, size, index)));
    if instruction.op0_register().is_k() {
        let bits: u64 = (0..lanes).map(|index| holds(index) << index).sum();
        let bits = bits & core.mask(instruction);
        *mask(core, instruction.op0_register())? = bits;
        return Ok(());
    }
    let value = build(size, lanes * size, |index| holds(index).wrapping_neg());
    core.set_vector(instruction, size, &value)
}

/// VPCMP with a predicate; `number` says what a lane is as a number.
fn compare_by<T: Ord>(
    core: &mut Core,
    instruction: &Instruction,
    size: usize,
    number: impl Fn(u64) -> T,
) -> Done {
    let predicate = instruction.immediate8() & 7;
    compare(core, instruction, size, |a, b| {
        let (a, b) = (number(a), number(b));
        match predicate {
            0 => a == b,
            1 => a < b,
            2 => a <= b,
            4 => a != b,
            5 => a >= b,
            6 => a > b,
            constant => constant == 7,
        }
    })
}

/// VPTEST: ZF if no bit is in both, CF if every bit of the second is in the first.
fn test_vectors(core: &mut Core, instruction: &Instruction) -> Done {
    let width = instruction.op0_register().size();
    let (a, b) = (core.source(instruction, 0)?, core.source(instruction, 1)?);
    let none = |function: fn(u8, u8) -> u8| a.iter().zip(&b).take(width).all(|(&a, &b)| function(a, b) == 0);
    core.flags = Flags { zero: none(|a, b| a & b), carry: none(|a, b| !a & b), ..Flags::default() };
    Ok(())
}

/// The sign bits of all lanes.
fn signs(core: &mut Core, instruction: &Instruction, size: usize) -> Done {
    let source = instruction.op1_register();
    let value = core.vector(source)?;
    let sign = |index: usize| lane(&value, size, index) >> (8 * size - 1) << index;
    *mask(core, instruction.op0_register())? = (0..source.size() / size).map(sign).sum();
    Ok(())
}

/// Lanes of all ones where the mask has a bit.
fn expand(core: &mut Core, instruction: &Instruction, size: usize) -> Done {
    let bits = *mask(core, instruction.op1_register())?;
    let width = instruction.op0_register().size();
    let value = build(size, width, |index| (bits >> index & 1).wrapping_neg());
    core.set_vector(instruction, size, &value)
}

/// VPBLENDM: the second source where the mask has a bit, else the first or zero.
fn blend(core: &mut Core, instruction: &Instruction, size: usize) -> Done {
    let destination = instruction.op0_register();
    let lanes = destination.size() / size;
    let (a, b) = (core.source(instruction, 1)?, core.masked_source(instruction, 2, lanes)?);
    let bits = core.mask(instruction);
    let mut value = [0; 64];
    for index in 0..lanes {
        let chosen = bits >> index & 1 == 1;
        if chosen || !instruction.zeroing_masking() {
            set_lane(&mut value, size, index, lane(if chosen { &b } else { &a }, size, index));
        }
    }
    core.vectors[destination.full_register().number()] = value;
    debug_assert_ne!(instruction.op_kind(0), OpKind::Memory);
    Ok(())
}
