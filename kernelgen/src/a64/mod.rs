//! What the aarch64 backends share: one assembler for 128-bit Advanced SIMD, and the row that each fills in.

mod assembler;
mod backend;
pub(crate) mod encode;
pub(crate) mod general;
mod instructions;
mod isa;
mod matrices;
pub(crate) mod memory;
mod words;

pub use backend::A64Backend;
pub use isa::{Dot, NeonIsa};
