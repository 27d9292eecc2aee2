//! A product and a sum rounded once, which WebAssembly has no instruction for.
//!
//! In doubles the product of two floats is exact. The sum is rounded to odd: where it is not exact, the neighbour whose last
//! bit is set is taken, and rounding that to a float is as rounding once (Boldo and Melquiond, "Emulation of a FMA and
//! correctly rounded sums", 2008: 53 bits are more than twice 24 and two).

use wasm_encoder::Instruction as I;

use super::compiler::Compiler;
use crate::vocabulary::Vector;

/// The high half of a vector in front.
const HIGH: [u8; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 0, 0, 0, 0, 0];
/// The low halves of two vectors.
const LOW_HALVES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
/// One in each 64-bit lane.
const ONES: i128 = 1 << 64 | 1;

impl Compiler {
    /// `sum += a * b`, or `sum -= a * b`.
    pub(super) fn fused(&mut self, sum: Vector, a: Vector, b: Vector, minus: bool) {
        let [low, high] = [self.fresh(), self.fresh()];
        self.half(low, sum, [a, b], minus, false);
        self.half(high, sum, [a, b], minus, true);
        self.simple(I::I8x16Shuffle(LOW_HALVES), sum, low, high);
        self.give_all_back([low, high]);
    }

    /// Onto the stack: two lanes as doubles.
    fn doubles(&mut self, vector: Vector, high: bool) {
        self.get(vector);
        if high {
            self.get(vector);
            self.push(I::I8x16Shuffle(HIGH));
        }
        self.push(I::F64x2PromoteLowF32x4);
    }

    /// The first two lanes of `to` = two lanes of the result.
    fn half(&mut self, to: Vector, sum: Vector, [a, b]: [Vector; 2], minus: bool, high: bool) {
        let [p, c, s, e] = [(); 4].map(|()| self.fresh());
        self.doubles(a, high);
        self.doubles(b, high);
        self.push(I::F64x2Mul);
        if minus {
            self.push(I::F64x2Neg);
        }
        self.put(p);
        self.doubles(sum, high);
        self.put(c);
        self.simple(I::F64x2Add, s, p, c);
        self.error(e, [p, c, s]);
        self.round_to_odd(s, e, p);
        self.get(s);
        self.push(I::F32x4DemoteF64x2Zero);
        self.put(to);
        self.give_all_back([p, c, s, e]);
    }

    /// `e` = exactly what `s` lacks of `p + c` (Knuth's `TwoSum`).
    fn error(&mut self, e: Vector, [p, c, s]: [Vector; 3]) {
        let part = self.fresh();
        self.simple(I::F64x2Sub, part, s, p);
        self.get(p);
        self.get(s);
        self.get(part);
        self.push_all([I::F64x2Sub, I::F64x2Sub]);
        self.get(c);
        self.get(part);
        self.push_all([I::F64x2Sub, I::F64x2Add]);
        self.put(e);
        self.give_back(part);
    }

    /// Moves `s`, whose last bit is not set, by one unit in its last place towards where `e` points; `spare` is used up. An
    /// error that is not a number moves nothing.
    fn round_to_odd(&mut self, s: Vector, e: Vector, spare: Vector) {
        let zero = I::V128Const(0);
        // All bits where e > 0 or e < 0, and the last bit of s is 0.
        self.get(e);
        self.push_all([zero.clone(), I::F64x2Gt]);
        self.get(e);
        self.push_all([zero.clone(), I::F64x2Lt, I::V128Or]);
        self.get(s);
        self.push_all([I::V128Const(ONES), I::V128And, zero.clone(), I::I64x2Eq, I::V128And]);
        self.put(spare);
        // Bits count magnitudes: one more where s and e have the same sign, one less where they have not.
        self.get(s);
        self.get(s);
        self.get(e);
        self.push_all([I::V128Xor, zero, I::I64x2LtS, I::V128Const(ONES), I::V128Or]);
        self.get(spare);
        self.push_all([I::V128And, I::I64x2Add]);
        self.put(s);
    }
}
