//! The state that instructions work on.

use super::bits::{Bytes, low_bits};
use super::fault::FaultKind;
use super::flags::Flags;
use super::memory::Memory;
use super::modes::Modes;
use super::tiles::Tiles;
use iced_x86::Register;

/// What registers hold that nobody has set: large, odd, and no number a kernel could want.
const POISON: u8 = 0xa5;

/// Registers, flags and memory.
#[derive(Debug)]
pub(super) struct Core {
    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15, as the encoding numbers them.
    pub(super) general: [u64; 16],
    pub(super) vectors: [Bytes; 32],
    pub(super) masks: [u64; 8],
    pub(super) flags: Flags,
    pub(super) modes: Modes,
    /// None until configured, and again once released.
    pub(super) tiles: Option<Box<Tiles>>,
    /// The next instruction.
    pub(super) ip: u64,
    pub(super) memory: Memory,
}

impl Core {
    /// A core about to execute at `ip`, every register poisoned.
    pub(super) fn new(ip: u64, memory: Memory) -> Self {
        Self {
            general: std::array::from_fn(|index| u64::from_le_bytes([POISON; 8]) ^ index as u64),
            vectors: [[POISON; 64]; 32],
            masks: [u64::from_le_bytes([POISON; 8]); 8],
            flags: Flags::default(),
            modes: Modes::default(),
            tiles: None,
            ip,
            memory,
        }
    }

    /// The value of a general register of any width, zero-extended.
    pub(super) fn read_general(&self, register: Register) -> Result<u64, FaultKind> {
        if !register.is_gpr() {
            return Err(FaultKind::Unsupported);
        }
        let whole = self.general[register.full_register().number()];
        let shift = if is_high_byte(register) { 8 } else { 0 };
        Ok(whole >> shift & low_bits(register.size() * 8))
    }

    /// Sets a general register: 32 bits clear the upper half, 8 and 16 bits leave the rest.
    pub(super) fn write_general(&mut self, register: Register, value: u64) -> Result<(), FaultKind> {
        if !register.is_gpr() {
            return Err(FaultKind::Unsupported);
        }
        let whole = &mut self.general[register.full_register().number()];
        let shift = if is_high_byte(register) { 8 } else { 0 };
        let mask = low_bits(register.size() * 8);
        let kept = if register.size() >= 4 { 0 } else { *whole & !(mask << shift) };
        *whole = kept | (value & mask) << shift;
        Ok(())
    }

    /// Pushes eight bytes.
    pub(super) fn push(&mut self, value: u64) -> Result<(), FaultKind> {
        let rsp = self.general[STACK_POINTER].wrapping_sub(8);
        self.memory.write(rsp, &value.to_le_bytes())?;
        self.general[STACK_POINTER] = rsp;
        Ok(())
    }

    /// Pops eight bytes.
    pub(super) fn pop(&mut self) -> Result<u64, FaultKind> {
        let value = self.memory.read_integer(self.general[STACK_POINTER], 8)?;
        self.general[STACK_POINTER] = self.general[STACK_POINTER].wrapping_add(8);
        Ok(value)
    }
}

/// Number of rsp.
pub(super) const STACK_POINTER: usize = 4;

/// ah, ch, dh and bh.
fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}
