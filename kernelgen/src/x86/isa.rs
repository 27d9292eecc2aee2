//! One row a backend: how an x86 tier says each word of the vector vocabulary.

use iced_x86::{Code, Register};

use crate::vocabulary::Accumulation;

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

/// The instructions of a tier, in the notation of the manual (as iced-x86 spells it).
#[derive(Debug)]
pub struct VectorIsa {
    /// Vector width.
    pub width: Width,
    /// How `dot` and `dot_pairs` behave.
    pub accumulation: Accumulation,
    /// `load` and `store` of a whole vector.
    pub load: Code,
    /// The store that goes with `load`.
    pub store: Code,
    /// Broadcasts 32 bits from memory.
    pub broadcast: Code,
    /// Moves 32 bits from a general register to the low lane of an xmm register.
    pub from_general: Code,
    /// Broadcasts 32 bits from the low lane of an xmm register.
    pub broadcast_lane: Code,
    /// Exclusive or, for zeroing.
    pub xor: Code,
    /// Bitwise and.
    pub and: Code,
    /// Logical shift right of 16-bit lanes by an immediate.
    pub shift_right_16: Code,
    /// Arithmetic shift right of 32-bit lanes by an immediate.
    pub shift_right_32: Code,
    /// Addition of 32-bit lanes.
    pub add_32: Code,
    /// Addition of 16-bit lanes.
    pub add_16: Code,
    /// Subtraction of 32-bit lanes.
    pub sub_32: Code,
    /// VPDPBUSD, where the tier has it.
    pub dot: Option<Code>,
    /// VPMADDUBSW.
    pub multiply_pairs: Code,
    /// VPMADDWD.
    pub add_pairs: Code,
    /// i32 to f32.
    pub to_float: Code,
    /// f32 product.
    pub mul_float: Code,
    /// f32 quotient.
    pub div_float: Code,
    /// Fused `a = b * c + a`.
    pub fused_add: Code,
}

impl VectorIsa {
    /// Vector registers that a family may have: on 256-bit tiers the assembler keeps one for itself.
    pub fn registers(&self) -> u32 {
        match self.width {
            Width::Ymm => self.width.registers() - 1,
            Width::Zmm => self.width.registers(),
        }
    }
}
