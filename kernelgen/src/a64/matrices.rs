//! Matrix words, for the tiers that have them.

use super::assembler::{Assembler, v};
use super::instructions as op;
use crate::vocabulary::{MatrixEmitter, Vector, Weave};

impl MatrixEmitter for Assembler {
    fn weave(&mut self, word: Weave, to: Vector, a: Vector, b: Vector) {
        let instruction = match word {
            Weave::Low32 => op::ZIP1_S,
            Weave::High32 => op::ZIP2_S,
            Weave::Low64 => op::ZIP1_D,
            Weave::High64 => op::ZIP2_D,
            Weave::Even32 => op::UZP1_S,
            Weave::Odd32 => op::UZP2_S,
        };
        self.three(instruction, v(to), v(a), v(b));
    }

    fn multiply(&mut self, sum: Vector, a: Vector, b: Vector) {
        self.three(op::USMMLA, v(sum), v(a), v(b));
    }
}
