//! The words for what is done with vectors: data, so that a backend's row can be a list of them.

/// `to = word(a)`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unary {
    /// i32 lanes to f32, rounded to nearest even.
    ToFloat,
    /// f32 lanes to i32, rounded to nearest even; the caller sees to it that they fit.
    ToInt,
    /// How many bits of each byte are set.
    PopCount8,
}

/// `to = word(a, b)`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a & b`
    And,
    /// `!a & b`
    AndNot,
    /// `a | b`
    Or,
    /// `a ^ b`
    Xor,
    /// `a + b` in bytes.
    Add8,
    /// `a - b` in bytes.
    Sub8,
    /// `a - b` in unsigned bytes, at least 0.
    SubSaturate8,
    /// `(a + b + 1) / 2` in unsigned bytes, without overflow.
    Average8,
    /// `a + b` in 16-bit lanes.
    Add16,
    /// `a - b` in 16-bit lanes.
    Sub16,
    /// `a + b` in 32-bit lanes.
    Add32,
    /// `a - b` in 32-bit lanes.
    Sub32,
    /// The larger of two signed 32-bit lanes.
    Max32,
    /// In each 128-bit block: byte i is byte `b[i] % 16` of `a`; every byte of `b` is below 16.
    Shuffle8,
    /// In each 128-bit block: the low eight bytes of `a` and `b`, taken in turn.
    InterleaveLow8,
    /// In each 128-bit block: the high eight bytes of `a` and `b`, taken in turn.
    InterleaveHigh8,
    /// In each 128-bit block: the 16-bit lanes of `a`, then those of `b`, as bytes; every lane is below 256.
    Pack16,
    /// 16-bit lanes: the sums of two neighbouring products of unsigned bytes of `a` and signed bytes of `b`; the
    /// caller sees to it that they fit.
    MulPairs,
    /// 32-bit lanes: the sums of two neighbouring products of signed 16-bit lanes.
    AddPairs,
    /// `a + b` in f32.
    AddFloat,
    /// `a - b` in f32.
    SubFloat,
    /// `a * b` in f32.
    MulFloat,
    /// `a / b` in f32, correctly rounded.
    DivFloat,
    /// f32 lanes: `a` where it is greater than `b`, else `b`.
    MaxFloat,
}

/// `to = a shifted by a constant`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shift {
    /// 16-bit lanes, zeros shifted in from the left.
    Right16,
    /// 32-bit lanes, the sign shifted in from the left.
    Right32,
    /// 32-bit lanes, zeros shifted in from the right.
    Left32,
}

/// `sum = word(sum, a, b)`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accumulate {
    /// Each 32-bit lane of `sum` += the dot product of its four unsigned bytes of `a` and signed bytes of `b`, modulo
    /// 2^32. Bytes of `a` above 127 need [`Accumulation::Direct`](super::Accumulation::Direct); with
    /// [`Accumulation::Signed`](super::Accumulation::Signed) they are negative.
    Dot,
    /// `sum += a * b` in f32, rounded once.
    MulAddFloat,
    /// `sum -= a * b` in f32, rounded once.
    MulSubFloat,
}

/// Comparisons of f32 lanes: all bits of a lane set where it holds, none where it does not (as with NaN).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `a < b`
    Less,
    /// `a <= b`
    LessOrEqual,
}

/// What a family may ask whether a backend can say it, before it plans with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// One operand.
    Unary(Unary),
    /// Two operands.
    Binary(Binary),
    /// Sums of products.
    Accumulate(Accumulate),
    /// Any function of three bits.
    TernaryLogic,
    /// Products of tiles.
    Tiles,
    /// Products of matrices of two rows.
    Matrices,
}
