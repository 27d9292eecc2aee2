//! A backend that is nothing but a row.

use craftsman_isa::HardwareCaps;

use super::compiler::Compiler;
use crate::backend::{Backend, Tier};
use crate::code::{Code, EmitError};
use crate::vocabulary::{Accumulate, Accumulation, Binary, Emitter, Word};

/// One WebAssembly tier. Its code is a function's body, which a module makes of use to an engine.
#[derive(Debug)]
pub struct WasmBackend {
    /// What it is, and what it asks of a processor.
    pub tier: Tier,
    /// Whether dot products are `i32x4.relaxed_dot_i8x16_i7x16_add_s`.
    pub relaxed: bool,
}

impl Backend for WasmBackend {
    fn tier(&self) -> &Tier {
        &self.tier
    }

    fn lanes(&self) -> usize {
        4
    }

    fn accumulation(&self) -> Accumulation {
        Accumulation::DirectSmall
    }

    fn registers(&self) -> usize {
        // Of the processor below the engine; more would be spilt.
        16
    }

    fn says(&self, word: Word) -> bool {
        match word {
            Word::Unary(_) | Word::Binary(_) | Word::Accumulate(_) => true,
            Word::TernaryLogic | Word::Tiles | Word::Matrices => false,
        }
    }

    fn instructions(&self, word: Word) -> usize {
        match word {
            Word::Accumulate(Accumulate::Dot) if !self.relaxed => 7,
            Word::Accumulate(Accumulate::MulAddFloat | Accumulate::MulSubFloat) => 50,
            Word::Binary(Binary::MulPairs) => 9,
            _ => 1,
        }
    }

    fn compile(&self, _: &HardwareCaps, say: &mut dyn FnMut(&mut dyn Emitter)) -> Result<Code, EmitError> {
        let mut compiler = Compiler::new(self.relaxed);
        say(&mut compiler);
        compiler.finish().map_err(|what| EmitError::new(format_args!("{}: {what}", self.name())))
    }
}
