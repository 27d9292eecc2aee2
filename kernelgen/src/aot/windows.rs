//! The x64 calling convention of Windows around a kernel that follows System V's.
//!
//! The argument comes in `rcx` instead of `rdi`; `rdi`, `rsi` and `xmm6` to `xmm15` belong to the caller. How they are saved
//! is said once more as unwind codes (Microsoft, "x64 exception handling", `UNWIND_INFO`).

use iced_x86::{Code as Op, Encoder, IcedError, Instruction, MemoryOperand, Register};

use crate::code::EmitError;

/// A function that calls a kernel.
pub(super) struct Entry {
    pub(super) code: Vec<u8>,
    /// Where the distance to the kernel is to be written, four bytes.
    pub(super) call: usize,
    /// Its `UNWIND_INFO`.
    pub(super) unwind: Vec<u8>,
}

/// General registers that are saved, with their numbers.
const GENERAL: [(Register, u8); 2] = [(Register::RDI, 7), (Register::RSI, 6)];
/// The first and the number of the vector registers that are saved.
const FIRST_VECTOR: u32 = 6;
const VECTORS: u32 = 10;
/// Room for them, and eight bytes more, so that the stack is aligned again after a return address and two registers.
const FRAME: i32 = 16 * VECTORS as i32 + 8;

// Unwind operations.
const PUSH: u8 = 0;
const ALLOCATE_LARGE: u8 = 1;
const SAVE_VECTOR: u8 = 8;

/// Instructions as bytes, and unwind codes as the prolog grows.
struct Prolog {
    encoder: Encoder,
    length: usize,
    /// Latest first, each with what follows it.
    codes: Vec<[u8; 2]>,
}

impl Prolog {
    fn push(&mut self, instruction: Result<Instruction, IcedError>) -> Result<(), EmitError> {
        let instruction = instruction.map_err(EmitError::new)?;
        self.length += self.encoder.encode(&instruction, self.length as u64).map_err(EmitError::new)?;
        Ok(())
    }

    /// Notes what the last instruction did.
    fn note(&mut self, operation: u8, register: u8, more: Option<u16>) {
        let code = [self.length as u8, operation | register << 4];
        let codes = [code].into_iter().chain(more.map(u16::to_le_bytes));
        self.codes.splice(0..0, codes);
    }
}

fn slot(vector: u32) -> MemoryOperand {
    MemoryOperand::with_base_displ(Register::RSP, 16 * i64::from(vector))
}

/// The code, which is the same for every kernel.
pub(super) fn entry() -> Result<Entry, EmitError> {
    let mut p = Prolog { encoder: Encoder::new(64), length: 0, codes: Vec::new() };
    for (register, number) in GENERAL {
        p.push(Instruction::with1(Op::Push_r64, register))?;
        p.note(PUSH, number, None);
    }
    p.push(Instruction::with2(Op::Sub_rm64_imm32, Register::RSP, FRAME))?;
    p.note(ALLOCATE_LARGE, 0, Some(FRAME as u16 / 8));
    for vector in 0..VECTORS {
        let register = Register::XMM0 + (FIRST_VECTOR + vector);
        p.push(Instruction::with2(Op::Movaps_xmmm128_xmm, slot(vector), register))?;
        p.note(SAVE_VECTOR, (FIRST_VECTOR + vector) as u8, Some(vector as u16));
    }
    let prolog = p.length;
    p.push(Instruction::with2(Op::Mov_r64_rm64, Register::RDI, Register::RCX))?;
    p.push(Instruction::with_branch(Op::Call_rel32_64, 0))?;
    let call = p.length - 4;
    for vector in 0..VECTORS {
        let register = Register::XMM0 + (FIRST_VECTOR + vector);
        p.push(Instruction::with2(Op::Movaps_xmm_xmmm128, register, slot(vector)))?;
    }
    p.push(Instruction::with2(Op::Add_rm64_imm32, Register::RSP, FRAME))?;
    for (register, _) in GENERAL.into_iter().rev() {
        p.push(Instruction::with1(Op::Pop_r64, register))?;
    }
    p.push(Ok(Instruction::with(Op::Retnq)))?;
    let mut code = p.encoder.take_buffer();
    // The linker writes the distance.
    code[call..call + 4].fill(0);
    // Version 1, no handler, no frame pointer.
    let mut unwind = vec![1, prolog as u8, p.codes.len() as u8, 0];
    unwind.extend(p.codes.iter().flatten());
    unwind.resize(unwind.len().next_multiple_of(4), 0);
    Ok(Entry { code, call, unwind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unwind_codes_say_what_the_prolog_does() {
        let entry = entry().unwrap();
        let codes = &entry.unwind[4..];
        // Two slots for each vector register and for the frame, one for each pushed register.
        assert_eq!(entry.unwind[2], 2 * 10 + 2 + 2);
        assert_eq!(entry.unwind[0], 1);
        // Latest first: xmm15 at 16 * 9, saved by the last instruction of the prolog.
        assert_eq!(codes[..4], [entry.unwind[1], SAVE_VECTOR | 15 << 4, 9, 0]);
        assert_eq!(codes[40..44], [2 + 7, ALLOCATE_LARGE, 21, 0]);
        assert_eq!(codes[44..48], [2, PUSH | 6 << 4, 1, PUSH | 7 << 4]);
        assert_eq!(entry.code[entry.call - 1], 0xE8);
    }
}
