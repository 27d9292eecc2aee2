//! What the x86-64 backends beyond 128 bits share: one assembler, and a table of instructions that each fills in.

mod assembler;
mod isa;

pub(crate) use assembler::Assembler;
pub(crate) use isa::{VectorIsa, Width};
