//! Operands: addresses, sources with embedded broadcast, destinations under a mask.

use super::bits::{Bytes, lane, low_bits, set_lane};
use super::core::Core;
use super::fault::FaultKind;
use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind, Register, RoundingControl};

/// Moves that fault when their address is not aligned to what they move, whatever their encoding.
const ALIGNED: &[Mnemonic] = &[
    Mnemonic::Vmovdqa,
    Mnemonic::Vmovdqa32,
    Mnemonic::Vmovdqa64,
    Mnemonic::Vmovaps,
    Mnemonic::Vmovapd,
    Mnemonic::Vmovntdq,
    Mnemonic::Vmovntdqa,
    Mnemonic::Vmovntps,
    Mnemonic::Vmovntpd,
];

/// The legacy SSE instructions that take 16 bytes at any address; all others want them aligned.
const UNALIGNED_SSE: &[Mnemonic] = &[Mnemonic::Movdqu, Mnemonic::Movups, Mnemonic::Movupd, Mnemonic::Lddqu];

/// Whether the instruction keeps destination bits above those it writes.
pub(super) fn is_legacy(instruction: &Instruction) -> bool {
    instruction.code().encoding() == EncodingKind::Legacy
}

/// Refuses modes of floats, embedded or of MXCSR, that are not the default ones, which the simulator computes.
pub(super) fn check_rounding(core: &Core, instruction: &Instruction) -> Result<(), FaultKind> {
    match instruction.rounding_control() {
        RoundingControl::None | RoundingControl::RoundToNearest if core.modes.usual_floats() => Ok(()),
        _ => Err(FaultKind::Unsupported),
    }
}

impl Core {
    /// The address of the memory operand, wherever it stands.
    pub(super) fn address(&self, instruction: &Instruction) -> Result<u64, FaultKind> {
        let register = |register: Register, _, _| match register {
            Register::DS | Register::ES | Register::SS | Register::CS => Some(0),
            register => self.read_general(register).ok(),
        };
        let operands = instruction.op_kinds().position(|kind| kind == OpKind::Memory);
        let operand = operands.ok_or(FaultKind::Unsupported)? as u32;
        let address = instruction.virtual_address(operand, 0, register).ok_or(FaultKind::Unsupported)?;
        let size = instruction.memory_size().size();
        let legacy_vector =
            is_legacy(instruction) && size == 16 && !UNALIGNED_SSE.contains(&instruction.mnemonic());
        let aligned = legacy_vector || ALIGNED.contains(&instruction.mnemonic());
        if aligned && !address.is_multiple_of(size as u64) {
            return Err(FaultKind::Misaligned { address, size });
        }
        Ok(address)
    }

    /// The bytes an operand takes.
    pub(super) fn operand_size(instruction: &Instruction, operand: u32) -> usize {
        match instruction.op_kind(operand) {
            OpKind::Register => instruction.op_register(operand).size(),
            _ => instruction.memory_size().size(),
        }
    }

    /// An integer operand: a general register, an immediate or memory.
    pub(super) fn integer(&self, instruction: &Instruction, operand: u32) -> Result<u64, FaultKind> {
        match instruction.op_kind(operand) {
            OpKind::Register => self.read_general(instruction.op_register(operand)),
            OpKind::Memory => {
                self.memory.read_integer(self.address(instruction)?, instruction.memory_size().size())
            }
            _ => instruction.try_immediate(operand).map_err(|_| FaultKind::Unsupported),
        }
    }

    /// Sets an integer operand.
    pub(super) fn set_integer(
        &mut self,
        instruction: &Instruction,
        operand: u32,
        value: u64,
    ) -> Result<(), FaultKind> {
        if instruction.op_kind(operand) == OpKind::Register {
            return self.write_general(instruction.op_register(operand), value);
        }
        let size = instruction.memory_size().size();
        self.memory.write(self.address(instruction)?, &value.to_le_bytes()[..size])
    }

    /// The lanes that the instruction writes, all without a mask.
    pub(super) fn mask(&self, instruction: &Instruction) -> u64 {
        let register = instruction.op_mask();
        if register == Register::None { u64::MAX } else { self.masks[register.number()] }
    }

    /// A vector register; bits beyond its width are whatever they are.
    pub(super) fn vector(&self, register: Register) -> Result<Bytes, FaultKind> {
        if !register.is_vector_register() {
            return Err(FaultKind::Unsupported);
        }
        Ok(self.vectors[register.full_register().number()])
    }

    /// A vector operand that is read whole, broadcast where the encoding says so.
    pub(super) fn source(&self, instruction: &Instruction, operand: u32) -> Result<Bytes, FaultKind> {
        if instruction.op_kind(operand) == OpKind::Register {
            return self.vector(instruction.op_register(operand));
        }
        let size = instruction.memory_size().size();
        let value = self.memory.read(self.address(instruction)?, size)?;
        Ok(if instruction.is_broadcast() { replicate(&value, size) } else { value })
    }

    /// As [`source`](Self::source), but memory that only masked-out lanes would need is not touched. The operand
    /// has `lanes` lanes.
    pub(super) fn masked_source(
        &self,
        instruction: &Instruction,
        operand: u32,
        lanes: usize,
    ) -> Result<Bytes, FaultKind> {
        let whole = instruction.op_kind(operand) == OpKind::Register || !instruction.has_op_mask();
        let mask = self.mask(instruction) & low_bits(lanes);
        if whole || instruction.is_broadcast() && mask != 0 {
            return self.source(instruction, operand);
        }
        if instruction.is_broadcast() {
            return Ok([0; 64]);
        }
        let size = instruction.memory_size().size() / lanes;
        let address = self.address(instruction)?;
        let mut value = [0; 64];
        for index in (0..lanes).filter(|index| mask >> index & 1 == 1) {
            let element = self.memory.read(address.wrapping_add((index * size) as u64), size)?;
            value[index * size..][..size].copy_from_slice(&element[..size]);
        }
        Ok(value)
    }

    /// Sets operand 0, a vector register, under the mask in lanes of `size` bytes. Above its width VEX and EVEX
    /// forms clear, legacy forms keep.
    pub(super) fn set_vector(
        &mut self,
        instruction: &Instruction,
        size: usize,
        value: &Bytes,
    ) -> Result<(), FaultKind> {
        let register = instruction.op0_register();
        let old = self.vector(register)?;
        let width = register.size();
        let (mask, zeroing) = (self.mask(instruction), instruction.zeroing_masking());
        let mut result = if is_legacy(instruction) { old } else { [0; 64] };
        for index in 0..width / size {
            let element = index * size..(index + 1) * size;
            match (mask >> index & 1 == 1, zeroing) {
                (true, _) => result[element.clone()].copy_from_slice(&value[element]),
                (false, true) => result[element].fill(0),
                (false, false) => result[element.clone()].copy_from_slice(&old[element]),
            }
        }
        self.vectors[register.full_register().number()] = result;
        Ok(())
    }

    /// Writes `lanes` lanes of `size` bytes to the memory operand, under the mask.
    pub(super) fn store(
        &mut self,
        instruction: &Instruction,
        size: usize,
        lanes: usize,
        value: &Bytes,
    ) -> Result<(), FaultKind> {
        let address = self.address(instruction)?;
        if !instruction.has_op_mask() {
            return self.memory.write(address, &value[..lanes * size]);
        }
        let mask = self.mask(instruction);
        self.store_lanes(address, size, value, (0..lanes).filter(|index| mask >> index & 1 == 1))
    }

    /// Writes the given lanes of `size` bytes, lane 0 at `address`.
    pub(super) fn store_lanes(
        &mut self,
        address: u64,
        size: usize,
        value: &Bytes,
        lanes: impl Iterator<Item = usize>,
    ) -> Result<(), FaultKind> {
        for index in lanes {
            let offset = index * size;
            self.memory.write(address.wrapping_add(offset as u64), &value[offset..offset + size])?;
        }
        Ok(())
    }
}

/// The first `size` bytes, over and over.
pub(super) fn replicate(value: &Bytes, size: usize) -> Bytes {
    std::array::from_fn(|index| value[index % size])
}

/// Lanes of `size` bytes of `width` bytes, each a function of its number.
pub(super) fn build(size: usize, width: usize, mut function: impl FnMut(usize) -> u64) -> Bytes {
    let mut result = [0; 64];
    for index in 0..width / size {
        set_lane(&mut result, size, index, function(index));
    }
    result
}

/// Lanes of `size` bytes of `width` bytes, each a function of that lane of `source`.
pub(super) fn map(source: &Bytes, size: usize, width: usize, function: impl Fn(u64) -> u64) -> Bytes {
    build(size, width, |index| function(lane(source, size, index)))
}
