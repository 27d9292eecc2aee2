//! An interpreter of emitted x86-64 machine code.
//!
//! A kernel for a tier that this host lacks is judged here like any other: its bytes are decoded and executed one
//! instruction at a time, with every memory access checked against the regions that the caller mapped. What the code
//! may not rely on (registers that hold no argument, memory below the stack) holds a poison pattern, and what the
//! calling convention promises (callee-saved registers, the stack pointer, MXCSR, the direction flag, no tile left
//! configured) is checked at the final `ret`.
//!
//! ```text
//! Machine::run: decode once per address -> table lookup by mnemonic -> Operation
//!   scalar.rs     general registers, flags, branches           one function an instruction
//!   vertical.rs   lane by lane, rows of `fn(lane, lane)`       arithmetic.rs, float.rs say what a lane does
//!   whole.rs      across lanes, rows of `fn(vectors)`          shuffle.rs says what a vector does
//!   moves.rs      loads, stores, broadcasts, parts             masks.rs: compares and mask registers
//!   tiles.rs      AMX tiles                                    modes.rs: MXCSR and the direction flag
//! ```
//!
//! Widths, masks, zeroing and embedded broadcasts are handled once, in `operand.rs`; a row of a table knows none of
//! them. Another extension is a file with a table and a line in `operation.rs`.
//!
//! ```
//! use craftsman_kernelgen::simulate::{Access, Machine};
//!
//! let mut machine = Machine::new();
//! machine.map(0x1000, 7_u64.to_le_bytes().to_vec(), Access::ReadWrite)?;
//! // add [rdi], rsi; ret
//! let outcome = machine.run(&[0x48, 0x01, 0x37, 0xc3], 0x40_0000, &[0x1000, 5])?;
//! assert_eq!(machine.bytes(0x1000), Some(12_u64.to_le_bytes().as_slice()));
//! assert_eq!((outcome.instructions(), outcome.count("add")), (2, 1));
//!
//! // The same one byte past the end: a fault, not a crash.
//! let fault = machine.run(&[0x48, 0x01, 0x37, 0xc3], 0x40_0000, &[0x1001, 5]).unwrap_err();
//! assert_eq!(fault.to_string(), "at 0x400000 `add [rdi],rsi`: reads 8 bytes at 0x1001, outside every region");
//! # Ok::<(), craftsman_kernelgen::simulate::Fault>(())
//! ```

mod arithmetic;
mod bits;
mod core;
mod fault;
mod flags;
mod float;
mod machine;
mod masks;
mod memory;
mod modes;
mod moves;
mod operand;
mod operation;
mod scalar;
mod shuffle;
mod tiles;
mod vertical;
mod whole;

#[cfg(test)]
mod tests;

pub use fault::{Fault, FaultKind};
pub use machine::{Machine, Outcome};
pub use memory::Access;
