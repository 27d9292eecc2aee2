//! A backend that is nothing but a table of instructions.

use craftsman_isa::HardwareCaps;

use super::{Assembler, VectorIsa};
use crate::backend::{Backend, Tier};
use crate::code::{Code, EmitError};
use crate::vocabulary::{Accumulation, Emitter, Word};

/// One x86 tier: its name, what it asks of a processor, and its instructions.
#[derive(Debug)]
pub struct X86Backend {
    /// What it is, and what it asks of a processor.
    pub tier: Tier,
    /// See [`Backend::adds`].
    pub adds: &'static [Word],
    /// How it says the vocabulary.
    pub isa: VectorIsa,
}

impl Backend for X86Backend {
    fn tier(&self) -> &Tier {
        &self.tier
    }

    fn lanes(&self) -> usize {
        self.isa.width.bytes() / 4
    }

    fn accumulation(&self) -> Accumulation {
        self.isa.accumulation
    }

    fn registers(&self) -> usize {
        self.isa.registers() as usize
    }

    fn says(&self, word: Word) -> bool {
        self.isa.says(word)
    }

    fn adds(&self) -> &'static [Word] {
        self.adds
    }

    fn compile(&self, _: &HardwareCaps, say: &mut dyn FnMut(&mut dyn Emitter)) -> Result<Code, EmitError> {
        let mut assembler = Assembler::new(&self.isa);
        say(&mut assembler);
        assembler.finish().map_err(|what| EmitError::new(format_args!("{}: {what}", self.name())))
    }
}
