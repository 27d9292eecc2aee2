//! What the x86-64 backends beyond 128 bits share: one assembler, and a table of instructions that each fills in.

mod assembler;
mod backend;
mod encode;
mod isa;
mod lanes;
mod tiles;

use assembler::Assembler;
pub use backend::X86Backend;
pub use isa::{VectorIsa, Width};
pub use tiles::TileIsa;
