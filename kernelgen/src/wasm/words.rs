//! Words for vectors.

use wasm_encoder::Instruction as I;

use super::compiler::Compiler;
use crate::vocabulary::{Binary, Shift, Unary, Vector};

/// Even and odd 16-bit lanes of two vectors.
const EVEN: [u8; 16] = every_other(0);
const ODD: [u8; 16] = every_other(2);

const fn every_other(first: u8) -> [u8; 16] {
    let mut order = [0; 16];
    let mut byte = 0;
    while byte < 16 {
        order[byte as usize] = first + byte / 2 * 4 + byte % 2;
        byte += 1;
    }
    order
}

/// Bytes of two vectors in turn, from `first` on.
fn interleaved(first: u8) -> I<'static> {
    I::I8x16Shuffle(std::array::from_fn(|byte| first + (byte / 2 + byte % 2 * 16) as u8))
}

/// The instruction for a word that is one; see [`Compiler::two`] for the order of operands.
fn instruction(word: Binary) -> Option<I<'static>> {
    Some(match word {
        Binary::And => I::V128And,
        Binary::AndNot => I::V128AndNot,
        Binary::Or => I::V128Or,
        Binary::Xor => I::V128Xor,
        Binary::Add8 => I::I8x16Add,
        Binary::Sub8 => I::I8x16Sub,
        Binary::SubSaturate8 => I::I8x16SubSatU,
        Binary::Average8 => I::I8x16AvgrU,
        Binary::Add16 => I::I16x8Add,
        Binary::Sub16 => I::I16x8Sub,
        Binary::Add32 => I::I32x4Add,
        Binary::Sub32 => I::I32x4Sub,
        Binary::Max32 => I::I32x4MaxS,
        Binary::Shuffle8 => I::I8x16Swizzle,
        Binary::InterleaveLow8 => interleaved(0),
        Binary::InterleaveHigh8 => interleaved(8),
        Binary::Pack16 => I::I8x16NarrowI16x8U,
        Binary::AddPairs => I::I32x4DotI16x8S,
        Binary::AddFloat => I::F32x4Add,
        Binary::SubFloat => I::F32x4Sub,
        Binary::MulFloat => I::F32x4Mul,
        Binary::DivFloat => I::F32x4Div,
        Binary::MaxFloat => I::F32x4PMax,
        Binary::MulPairs => return None,
    })
}

impl Compiler {
    /// `to = instruction(a, b)`
    pub(super) fn simple(&mut self, instruction: I<'static>, to: Vector, a: Vector, b: Vector) {
        self.get(a);
        self.get(b);
        self.push(instruction);
        self.put(to);
    }

    pub(super) fn one(&mut self, word: Unary, to: Vector, a: Vector) {
        self.get(a);
        match word {
            Unary::ToFloat => self.push(I::F32x4ConvertI32x4S),
            Unary::ToInt => self.push_all([I::F32x4Nearest, I::I32x4TruncSatF32x4S]),
            Unary::PopCount8 => self.push(I::I8x16Popcnt),
        }
        self.put(to);
    }

    pub(super) fn two(&mut self, word: Binary, to: Vector, a: Vector, b: Vector) {
        match (word, instruction(word)) {
            // `andnot` is a and not b; `pmax` is the second where the first is less.
            (Binary::AndNot | Binary::MaxFloat, Some(instruction)) => self.simple(instruction, to, b, a),
            (_, Some(instruction)) => self.simple(instruction, to, a, b),
            (_, None) => self.multiply_pairs(to, a, b),
        }
    }

    pub(super) fn shifted(&mut self, word: Shift, to: Vector, a: Vector, bits: u8) {
        self.get(a);
        self.push_all([
            I::I32Const(bits.into()),
            match word {
                Shift::Right16 => I::I16x8ShrU,
                Shift::Right32 => I::I32x4ShrS,
                Shift::Left32 => I::I32x4Shl,
            },
        ]);
        self.put(to);
    }

    /// [`Binary::MulPairs`]: bytes of `a` may have any value, so both are widened first.
    fn multiply_pairs(&mut self, to: Vector, a: Vector, b: Vector) {
        let [low, high] = [self.fresh(), self.fresh()];
        let halves = [
            (low, I::I16x8ExtendLowI8x16U, I::I16x8ExtendLowI8x16S),
            (high, I::I16x8ExtendHighI8x16U, I::I16x8ExtendHighI8x16S),
        ];
        for (half, widen_a, widen_b) in halves {
            self.get(a);
            self.push(widen_a);
            self.get(b);
            self.push_all([widen_b, I::I16x8Mul]);
            self.put(half);
        }
        self.add_neighbours([low, high]);
        self.put(to);
        self.give_all_back([low, high]);
    }

    /// Onto the stack: sums of neighbouring 16-bit lanes.
    fn add_neighbours(&mut self, [low, high]: [Vector; 2]) {
        for order in [EVEN, ODD] {
            self.get(low);
            self.get(high);
            self.push(I::I8x16Shuffle(order));
        }
        self.push(I::I16x8Add);
    }

    /// Bytes of `a` are below 128, so they may be taken as signed, and two products fit 16 bits.
    pub(super) fn dot(&mut self, sum: Vector, a: Vector, b: Vector) {
        if self.relaxed {
            // The second factor is the one of seven bits; with its top bit clear, every engine gives the same.
            self.get(b);
            self.get(a);
            self.get(sum);
            self.push(I::I32x4RelaxedDotI8x16I7x16AddS);
            return self.put(sum);
        }
        let [low, high] = [self.fresh(), self.fresh()];
        self.simple(I::I16x8ExtMulLowI8x16S, low, a, b);
        self.simple(I::I16x8ExtMulHighI8x16S, high, a, b);
        self.get(sum);
        self.add_neighbours([low, high]);
        self.push_all([I::I32x4ExtAddPairwiseI16x8S, I::I32x4Add]);
        self.put(sum);
        self.give_all_back([low, high]);
    }
}
