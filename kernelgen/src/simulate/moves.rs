//! Loads, stores, broadcasts, and the parts of vectors.

use super::bits::{lane, low_bits, set_lane};
use super::core::Core;
use super::fault::FaultKind;
use super::operand::{is_legacy, replicate};
use super::operation::Row;
use iced_x86::{Instruction, Mnemonic as M, OpKind, Register};

type Done = Result<(), FaultKind>;

/// Names, lane size under a mask, in one table with the functions.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    (&[M::Vmovdqu8], |core, i| whole(core, i, 1)),
    (&[M::Vmovdqu16], |core, i| whole(core, i, 2)),
    (&[M::Vmovdqu, M::Vmovdqa, M::Vmovups, M::Vmovaps, M::Vmovdqu32, M::Vmovdqa32, M::Vlddqu, M::Vmovntdq,
       M::Vmovntdqa, M::Vmovntps, M::Movdqu, M::Movdqa, M::Movups, M::Movaps, M::Lddqu], |core, i| whole(core, i, 4)),
    (&[M::Vmovdqu64, M::Vmovdqa64, M::Vmovupd, M::Vmovapd, M::Vmovntpd, M::Movupd, M::Movapd],
     |core, i| whole(core, i, 8)),
    (&[M::Vmovd, M::Vmovq, M::Movd, M::Movq], low_part),
    (&[M::Vmovss, M::Movss], |core, i| scalar(core, i, 4)),
    (&[M::Vmovsd, M::Movsd], |core, i| scalar(core, i, 8)),
    (&[M::Vmovlps, M::Vmovlpd, M::Movlps, M::Movlpd], |core, i| half(core, i, 0)),
    (&[M::Vmovhps, M::Vmovhpd, M::Movhps, M::Movhpd], |core, i| half(core, i, 1)),

    (&[M::Vpbroadcastb], |core, i| broadcast(core, i, 1, 1)),
    (&[M::Vpbroadcastw], |core, i| broadcast(core, i, 2, 2)),
    (&[M::Vpbroadcastd, M::Vbroadcastss], |core, i| broadcast(core, i, 4, 4)),
    (&[M::Vpbroadcastq, M::Vbroadcastsd], |core, i| broadcast(core, i, 8, 8)),
    (&[M::Vbroadcasti32x2, M::Vbroadcastf32x2], |core, i| broadcast(core, i, 8, 4)),
    (&[M::Vbroadcasti128, M::Vbroadcastf128, M::Vbroadcasti32x4, M::Vbroadcastf32x4],
     |core, i| broadcast(core, i, 16, 4)),
    (&[M::Vbroadcasti64x2, M::Vbroadcastf64x2], |core, i| broadcast(core, i, 16, 8)),
    (&[M::Vbroadcasti32x8, M::Vbroadcastf32x8], |core, i| broadcast(core, i, 32, 4)),
    (&[M::Vbroadcasti64x4, M::Vbroadcastf64x4], |core, i| broadcast(core, i, 32, 8)),

    (&[M::Vextracti128, M::Vextractf128, M::Vextracti32x4, M::Vextractf32x4], |core, i| extract(core, i, 16, 4)),
    (&[M::Vextracti64x2, M::Vextractf64x2], |core, i| extract(core, i, 16, 8)),
    (&[M::Vextracti32x8, M::Vextractf32x8], |core, i| extract(core, i, 32, 4)),
    (&[M::Vextracti64x4, M::Vextractf64x4], |core, i| extract(core, i, 32, 8)),
    (&[M::Vpextrb, M::Pextrb], |core, i| extract_integer(core, i, 1)),
    (&[M::Vpextrw, M::Pextrw], |core, i| extract_integer(core, i, 2)),
    (&[M::Vpextrd, M::Vextractps, M::Pextrd, M::Extractps], |core, i| extract_integer(core, i, 4)),
    (&[M::Vpextrq, M::Pextrq], |core, i| extract_integer(core, i, 8)),
    (&[M::Vpinsrb, M::Pinsrb], |core, i| insert_integer(core, i, 1)),
    (&[M::Vpinsrw, M::Pinsrw], |core, i| insert_integer(core, i, 2)),
    (&[M::Vpinsrd, M::Pinsrd], |core, i| insert_integer(core, i, 4)),
    (&[M::Vpinsrq, M::Pinsrq], |core, i| insert_integer(core, i, 8)),
    (&[M::Vinsertps, M::Insertps], insert_float),

    (&[M::Vpmaskmovd, M::Vmaskmovps], |core, i| by_sign(core, i, 4)),
    (&[M::Vpmaskmovq, M::Vmaskmovpd], |core, i| by_sign(core, i, 8)),
    (&[M::Vpmovmskb, M::Pmovmskb], |core, i| signs(core, i, 1)),
    (&[M::Vmovmskps, M::Movmskps], |core, i| signs(core, i, 4)),
    (&[M::Vmovmskpd, M::Movmskpd], |core, i| signs(core, i, 8)),
    (&[M::Vzeroupper], |core, _| { clear_from(core, 16); Ok(()) }),
    (&[M::Vzeroall], |core, _| { clear_from(core, 0); Ok(()) }),
];

/// A whole vector, register to register, load or store, in lanes of `size` bytes under a mask.
fn whole(core: &mut Core, instruction: &Instruction, size: usize) -> Done {
    if instruction.op_kind(0) == OpKind::Memory {
        let lanes = instruction.op1_register().size() / size;
        let value = core.source(instruction, 1)?;
        return core.store(instruction, size, lanes, &value);
    }
    let lanes = instruction.op0_register().size() / size;
    let value = core.masked_source(instruction, 1, lanes)?;
    core.set_vector(instruction, size, &value)
}

/// MOVD and MOVQ: the low lane of a vector, a general register, or memory, to another of them.
fn low_part(core: &mut Core, instruction: &Instruction) -> Done {
    let registers = [0, 1].map(|operand| instruction.op_register(operand));
    if registers.iter().any(|register| register.is_mm()) {
        return Err(FaultKind::Unsupported);
    }
    let size = if matches!(instruction.mnemonic(), M::Vmovd | M::Movd) { 4 } else { 8 };
    // `movd` with a 64-bit register is how some tools spell `movq`.
    let size = registers.iter().find(|register| register.is_gpr()).map_or(size, |register| register.size());
    let value = if registers[1].is_vector_register() {
        lane(&core.vector(registers[1])?, size, 0)
    } else {
        core.integer(instruction, 1)?
    };
    if registers[0].is_vector_register() {
        let mut vector = [0; 64];
        set_lane(&mut vector, 8, 0, value);
        return core.set_vector(instruction, size, &vector);
    }
    core.set_integer(instruction, 0, value)
}

/// MOVSS and MOVSD: a load clears the other lanes, a register form takes them from the first source.
fn scalar(core: &mut Core, instruction: &Instruction, size: usize) -> Done {
    if instruction.has_op_mask() {
        return Err(FaultKind::Unsupported);
    }
    let last = instruction.op_count() - 1;
    let value = core.source(instruction, last)?;
    if instruction.op_kind(0) == OpKind::Memory {
        return core.store(instruction, size, 1, &value);
    }
    if instruction.op_kind(last) == OpKind::Memory {
        return core.set_vector(instruction, size, &value);
    }
    // In the legacy form the destination is the first source.
    let mut result = core.source(instruction, last - 1)?;
    result[..size].copy_from_slice(&value[..size]);
    core.set_vector(instruction, size, &result)
}

/// Eight bytes of memory from or to one half of an xmm register.
fn half(core: &mut Core, instruction: &Instruction, index: usize) -> Done {
    if instruction.op_kind(0) == OpKind::Memory {
        let value = lane(&core.vector(instruction.op1_register())?, 8, index);
        return core.memory.write(core.address(instruction)?, &value.to_le_bytes());
    }
    let mut result = core.source(instruction, u32::from(!is_legacy(instruction)))?;
    let loaded = core.source(instruction, instruction.op_count() - 1)?;
    set_lane(&mut result, 8, index, lane(&loaded, 8, 0));
    core.set_vector(instruction, 8, &result)
}

/// `element` bytes over and over, in lanes of `size` bytes under a mask.
fn broadcast(core: &mut Core, instruction: &Instruction, element: usize, size: usize) -> Done {
    let mut value = [0; 64];
    let lanes = instruction.op0_register().size() / size;
    let any = core.mask(instruction) & low_bits(lanes) != 0;
    if instruction.op1_register().is_gpr() {
        set_lane(&mut value, 8, 0, core.integer(instruction, 1)?);
    } else if any || instruction.op_kind(1) == OpKind::Register {
        value = core.source(instruction, 1)?;
    }
    core.set_vector(instruction, size, &replicate(&value, element))
}

/// One part of `part` bytes, in lanes of `size` bytes under a mask.
fn extract(core: &mut Core, instruction: &Instruction, part: usize, size: usize) -> Done {
    let source = instruction.op1_register();
    let index = usize::from(instruction.immediate8()) % (source.size() / part);
    let mut value = core.vector(source)?;
    value.copy_within(index * part..(index + 1) * part, 0);
    if instruction.op_kind(0) == OpKind::Memory {
        return core.store(instruction, size, part / size, &value);
    }
    core.set_vector(instruction, size, &value)
}

fn extract_integer(core: &mut Core, instruction: &Instruction, size: usize) -> Done {
    let index = usize::from(instruction.immediate8()) % (16 / size);
    let value = lane(&core.vector(instruction.op1_register())?, size, index);
    core.set_integer(instruction, 0, value)
}

fn insert_integer(core: &mut Core, instruction: &Instruction, size: usize) -> Done {
    let first = u32::from(!is_legacy(instruction));
    let index = usize::from(instruction.immediate8()) % (16 / size);
    let mut value = core.source(instruction, first)?;
    set_lane(&mut value, size, index, core.integer(instruction, first + 1)?);
    core.set_vector(instruction, size, &value)
}

/// INSERTPS: a lane of the second source to a lane of the first, then lanes to zero.
fn insert_float(core: &mut Core, instruction: &Instruction) -> Done {
    let first = u32::from(!is_legacy(instruction));
    let control = usize::from(instruction.immediate8());
    let mut value = core.source(instruction, first)?;
    let from = core.source(instruction, first + 1)?;
    let chosen = if instruction.op_kind(first + 1) == OpKind::Memory { 0 } else { control >> 6 };
    set_lane(&mut value, 4, control >> 4 & 3, lane(&from, 4, chosen));
    for index in (0..4).filter(|index| control >> index & 1 == 1) {
        set_lane(&mut value, 4, index, 0);
    }
    core.set_vector(instruction, 4, &value)
}

/// VPMASKMOV: loads or stores the lanes whose lane of the first source is negative, touching no other memory.
fn by_sign(core: &mut Core, instruction: &Instruction, size: usize) -> Done {
    let selector = core.vector(instruction.op1_register())?;
    let width = instruction.op1_register().size();
    let chosen = |index: &usize| lane(&selector, size, *index) >> (8 * size - 1) == 1;
    let lanes = (0..width / size).filter(chosen);
    let address = core.address(instruction)?;
    if instruction.op_kind(0) == OpKind::Memory {
        let value = core.vector(instruction.op2_register())?;
        return core.store_lanes(address, size, &value, lanes);
    }
    let mut value = [0; 64];
    for index in lanes {
        let element = core.memory.read_integer(address.wrapping_add((index * size) as u64), size)?;
        set_lane(&mut value, size, index, element);
    }
    core.set_vector(instruction, size, &value)
}

/// The sign bits of all lanes, to a general register.
fn signs(core: &mut Core, instruction: &Instruction, size: usize) -> Done {
    let source: Register = instruction.op1_register();
    let value = core.vector(source)?;
    let sign = |index: usize| lane(&value, size, index) >> (8 * size - 1) << index;
    core.set_integer(instruction, 0, (0..source.size() / size).map(sign).sum())
}

/// VZEROUPPER and VZEROALL: neither touches registers 16 to 31.
fn clear_from(core: &mut Core, byte: usize) {
    core.vectors[..16].iter_mut().for_each(|vector| vector[byte..].fill(0));
}
