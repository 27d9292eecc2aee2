//! One row a backend: how an aarch64 tier multiplies. All else, Advanced SIMD says the same on every processor.

use super::instructions::{
    self as op, ADD_B, ADD_H, ADD_S, AND, BIC, EOR, FADD, FDIV, FMUL, FSUB, ORR, SMAX_S, SUB_B, SUB_H, SUB_S,
    TBL, Three, UQSUB_B, URHADD_B, UZP1_B, ZIP1_B, ZIP2_B,
};
use crate::vocabulary::{Accumulate, Accumulation, Binary, Word};

/// How a tier says [`Accumulate::Dot`](crate::vocabulary::Accumulate::Dot).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dot {
    /// Products of halves in 16 bits, their sums in pairs, those onto 32 bits: four instructions.
    Widening,
    /// `sdot`: both factors are signed.
    Signed,
    /// `usdot`: any weight byte.
    Mixed,
}

/// What differs between the tiers.
#[derive(Debug, Clone, Copy)]
pub struct NeonIsa {
    /// How the products of bytes are summed.
    pub dot: Dot,
    /// Whether there are products of matrices, too.
    pub matrices: bool,
}

/// Vector registers that a family may have: the assembler keeps three for itself.
pub(super) const REGISTERS: u32 = 29;

impl NeonIsa {
    /// What this way of multiplying allows.
    pub(super) fn accumulation(self) -> Accumulation {
        match self.dot {
            Dot::Widening => Accumulation::DirectSmall,
            Dot::Signed => Accumulation::Signed,
            Dot::Mixed => Accumulation::Direct,
        }
    }

    /// How many instructions `word` takes.
    pub(super) fn instructions(self, word: Word) -> usize {
        match word {
            Word::Accumulate(Accumulate::Dot) if self.dot == Dot::Widening => 4,
            Word::Binary(Binary::MulPairs) => 7,
            Word::Binary(Binary::AddPairs | Binary::MaxFloat) => 3,
            _ => 1,
        }
    }

    /// Whether the assembler can say `word`.
    pub(super) fn says(self, word: Word) -> bool {
        match word {
            Word::Unary(_) | Word::Binary(_) | Word::Accumulate(_) => true,
            Word::TernaryLogic | Word::Tiles => false,
            Word::Matrices => self.matrices,
        }
    }

    /// The one instruction that it is, if it is one.
    pub(super) fn dot_instruction(self) -> Option<Three> {
        match self.dot {
            Dot::Widening => None,
            Dot::Signed => Some(op::SDOT),
            Dot::Mixed => Some(op::USDOT),
        }
    }
}

/// The instruction for a word that is one; `AndNot` wants its operands the other way round.
pub(super) fn binary(word: Binary) -> Option<Three> {
    Some(match word {
        Binary::And => AND,
        Binary::AndNot => BIC,
        Binary::Or => ORR,
        Binary::Xor => EOR,
        Binary::Add8 => ADD_B,
        Binary::Sub8 => SUB_B,
        Binary::SubSaturate8 => UQSUB_B,
        Binary::Average8 => URHADD_B,
        Binary::Add16 => ADD_H,
        Binary::Sub16 => SUB_H,
        Binary::Add32 => ADD_S,
        Binary::Sub32 => SUB_S,
        Binary::Max32 => SMAX_S,
        Binary::Shuffle8 => TBL,
        Binary::InterleaveLow8 => ZIP1_B,
        Binary::InterleaveHigh8 => ZIP2_B,
        Binary::Pack16 => UZP1_B,
        Binary::AddFloat => FADD,
        Binary::SubFloat => FSUB,
        Binary::MulFloat => FMUL,
        Binary::DivFloat => FDIV,
        Binary::MulPairs | Binary::AddPairs | Binary::MaxFloat => return None,
    })
}
