//! One row a backend: how an x86 tier says each word of the vector vocabulary.

use iced_x86::{Code, Register};

use super::tiles::TileIsa;
use crate::vocabulary::{Accumulate, Accumulation, Binary, Shift, Unary, Word};

/// Width of a tier's vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 256 bits, sixteen registers, no masks.
    Ymm,
    /// 512 bits, thirty-two registers, masks.
    Zmm,
}

impl Width {
    /// Bytes of a vector.
    pub fn bytes(self) -> usize {
        match self {
            Width::Ymm => 32,
            Width::Zmm => 64,
        }
    }

    /// How many vector registers there are.
    pub fn registers(self) -> u32 {
        match self {
            Width::Ymm => 16,
            Width::Zmm => 32,
        }
    }

    /// Register `index` in this width.
    pub fn register(self, index: u32) -> Register {
        match self {
            Width::Ymm => Register::YMM0 + index,
            Width::Zmm => Register::ZMM0 + index,
        }
    }
}

/// The instructions of a tier, in the notation of the manual (as iced-x86 spells it). What a list does not hold, the
/// tier cannot say.
#[derive(Debug, Clone, Copy)]
pub struct VectorIsa {
    /// Vector width.
    pub width: Width,
    /// How the products of bytes are summed.
    pub accumulation: Accumulation,
    /// `load` of a whole vector.
    pub load: Code,
    /// The store that goes with `load`.
    pub store: Code,
    /// Broadcasts 32 bits from memory.
    pub broadcast: Code,
    /// Broadcasts 128 bits from memory.
    pub broadcast_block: Code,
    /// Moves 32 bits from a general register to the low lane of an xmm register.
    pub from_general: Code,
    /// Broadcasts 32 bits from the low lane of an xmm register.
    pub broadcast_lane: Code,
    /// `to = word(a)`
    pub unary: &'static [(Unary, Code)],
    /// `to = word(a, b)`
    pub binary: &'static [(Binary, Code)],
    /// `to = a` shifted by an immediate
    pub shifts: &'static [(Shift, Code)],
    /// `sum = word(sum, a, b)`
    pub accumulate: &'static [(Accumulate, Code)],
    /// Any function of three bits.
    pub ternary_logic: Option<Code>,
    /// Tiles.
    pub tiles: Option<TileIsa>,
}

/// The instruction that a list of a row has for `word`.
pub(super) fn find<W: Copy + PartialEq>(words: &[(W, Code)], word: W) -> Option<Code> {
    words.iter().find(|(known, _)| *known == word).map(|&(_, code)| code)
}

impl VectorIsa {
    /// Vector registers that a family may have: on 256-bit tiers the assembler keeps one for itself.
    pub fn registers(&self) -> u32 {
        match self.width {
            Width::Ymm => self.width.registers() - 1,
            Width::Zmm => self.width.registers(),
        }
    }

    /// Whether the tier has an instruction for `word`.
    pub fn says(&self, word: Word) -> bool {
        match word {
            Word::Unary(word) => find(self.unary, word).is_some(),
            Word::Binary(word) => find(self.binary, word).is_some(),
            Word::Accumulate(word) => find(self.accumulate, word).is_some(),
            Word::TernaryLogic => self.ternary_logic.is_some(),
            Word::Tiles => self.tiles.is_some(),
            Word::Matrices => false,
        }
    }
}
