//! The optional part of the vocabulary that only some vectors can say: products of matrices of two rows.

use super::Vector;

/// How lanes of two vectors come together in one, in each 128-bit block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weave {
    /// The low two 32-bit lanes of both, taken in turn.
    Low32,
    /// The high two 32-bit lanes of both, taken in turn.
    High32,
    /// The low halves, one after the other.
    Low64,
    /// The high halves, one after the other.
    High64,
    /// The 32-bit lanes 0 and 2 of both, one after the other.
    Even32,
    /// The 32-bit lanes 1 and 3 of both, one after the other.
    Odd32,
}

/// What can be said where a 128-bit block can be a matrix: two rows of eight bytes, or two rows of two 32-bit sums. See
/// [`Emitter::matrices`](super::Emitter::matrices).
pub trait MatrixEmitter {
    /// `to = word(a, b)`
    fn weave(&mut self, word: Weave, to: Vector, a: Vector, b: Vector);
    /// `sum[i][j] += a[i] . b[j]`, modulo 2^32, in each 128-bit block: rows of `a` are unsigned bytes, those of `b` signed.
    fn multiply(&mut self, sum: Vector, a: Vector, b: Vector);
}
