//! A backend that is nothing but a row.

use craftsman_isa::HardwareCaps;

use super::assembler::Assembler;
use super::isa::{self, NeonIsa};
use crate::backend::{Backend, Tier};
use crate::code::{Code, EmitError};
use crate::vocabulary::{Accumulation, Emitter, Word};

/// One aarch64 tier: its name, what it asks of a processor, and how it multiplies.
#[derive(Debug)]
pub struct A64Backend {
    /// What it is, and what it asks of a processor.
    pub tier: Tier,
    /// How it says the vocabulary.
    pub isa: NeonIsa,
}

impl Backend for A64Backend {
    fn tier(&self) -> &Tier {
        &self.tier
    }

    fn lanes(&self) -> usize {
        4
    }

    fn accumulation(&self) -> Accumulation {
        self.isa.accumulation()
    }

    fn registers(&self) -> usize {
        isa::REGISTERS as usize
    }

    fn says(&self, word: Word) -> bool {
        self.isa.says(word)
    }

    fn instructions(&self, word: Word) -> usize {
        self.isa.instructions(word)
    }

    fn compile(&self, _: &HardwareCaps, say: &mut dyn FnMut(&mut dyn Emitter)) -> Result<Code, EmitError> {
        let mut assembler = Assembler::new(self.isa);
        say(&mut assembler);
        assembler.finish().map_err(|what| EmitError::new(format_args!("{}: {what}", self.name())))
    }
}
