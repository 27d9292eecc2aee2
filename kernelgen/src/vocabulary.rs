//! The vector vocabulary: what a family may say, and what a backend must be able to say in its instructions.
//!
//! A family describes its algorithm once by calling an [`Emitter`]; every backend turns the calls into its own machine
//! code. Registers are handles, loops are begun and ended, and nothing returns an error: an emitter remembers the
//! first thing it could not say, and [`Backend::compile`](crate::backend::Backend::compile) reports it, so that the
//! selector can move on.
//!
//! The vocabulary follows what vectors can do. A vector has [`Emitter::lanes`] lanes of 32 bits, each four bytes wide.

/// A vector register (or variable) of the emitter that handed it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vector(pub(crate) u32);

/// A pointer register (or variable) of the emitter that handed it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer(pub(crate) u32);

/// What a kernel is called with, by address. The kernel owns it during the call and counts in it.
///
/// Every pointer is to the first panel or token to be processed; strides are constants of the emitted code.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Arguments {
    /// Packed weights of the first panel.
    pub weights: *const u8,
    /// Scales that go with the first panel, or the tensor's only one.
    pub scales: *const f32,
    /// Quantised activations, one padded row a token.
    pub activations: *const i8,
    /// Per token: the scale `a` (f32), then the sum of each block's activations (i32).
    pub token_words: *const u32,
    /// Output of the first panel's first row for the first token.
    pub output: *mut f32,
    /// Work space of the call, [`SCRATCH_BYTES`] long and aligned to 64.
    pub scratch: *mut u8,
    /// How many full panels to process.
    pub panels: usize,
    /// 1 when the last, partial panel is to be processed too.
    pub tail: usize,
    /// How many tokens.
    pub tokens: usize,
    /// Counts down inside the kernel.
    pub tokens_left: usize,
    /// Counts down inside the kernel.
    pub blocks_left: usize,
}

/// Size of the work space that a caller gives a kernel.
pub const SCRATCH_BYTES: usize = 8192;

/// The work space of one call.
#[repr(C, align(64))]
pub(crate) struct Scratch([u8; SCRATCH_BYTES]);

/// A field of [`Arguments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// [`Arguments::weights`]
    Weights,
    /// [`Arguments::scales`]
    Scales,
    /// [`Arguments::activations`]
    Activations,
    /// [`Arguments::token_words`]
    TokenWords,
    /// [`Arguments::output`]
    Output,
    /// [`Arguments::scratch`]
    Scratch,
    /// [`Arguments::panels`]
    Panels,
    /// [`Arguments::tail`]
    Tail,
    /// [`Arguments::tokens`]
    Tokens,
    /// [`Arguments::tokens_left`]
    TokensLeft,
    /// [`Arguments::blocks_left`]
    BlocksLeft,
}

impl Field {
    /// Where the field lies in [`Arguments`], in bytes.
    pub fn offset(self) -> i32 {
        let offset = match self {
            Field::Weights => std::mem::offset_of!(Arguments, weights),
            Field::Scales => std::mem::offset_of!(Arguments, scales),
            Field::Activations => std::mem::offset_of!(Arguments, activations),
            Field::TokenWords => std::mem::offset_of!(Arguments, token_words),
            Field::Output => std::mem::offset_of!(Arguments, output),
            Field::Scratch => std::mem::offset_of!(Arguments, scratch),
            Field::Panels => std::mem::offset_of!(Arguments, panels),
            Field::Tail => std::mem::offset_of!(Arguments, tail),
            Field::Tokens => std::mem::offset_of!(Arguments, tokens),
            Field::TokensLeft => std::mem::offset_of!(Arguments, tokens_left),
            Field::BlocksLeft => std::mem::offset_of!(Arguments, blocks_left),
        };
        offset as i32
    }
}

/// How a backend multiplies unsigned weight bytes with signed activation bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulation {
    /// [`Emitter::dot`] adds four products to each 32-bit lane, modulo 2^32 and for any bytes (VPDPBUSD).
    Direct,
    /// As `Direct`, but two neighbouring products must fit 16 bits: weight bytes up to 127.
    DirectSmall,
    /// [`Emitter::dot_pairs`] adds two products to each 16-bit lane (VPMADDUBSW), which must not overflow before
    /// [`Emitter::widen_pairs`] takes them to 32 bits.
    Pairs,
}

/// The vocabulary. See the module's introduction.
pub trait Emitter {
    /// 32-bit lanes of a vector.
    fn lanes(&self) -> usize;
    /// How this backend multiplies.
    fn accumulation(&self) -> Accumulation;

    /// A fresh vector register.
    fn vector(&mut self) -> Vector;
    /// Gives a register back.
    fn release(&mut self, vector: Vector);
    /// A fresh pointer register that holds `field`.
    fn pointer(&mut self, field: Field) -> Pointer;
    /// `pointer = field`
    fn reload(&mut self, pointer: Pointer, field: Field);
    /// `pointer += bytes`
    fn advance(&mut self, pointer: Pointer, bytes: i64);
    /// `field = value`
    fn set_field(&mut self, field: Field, value: usize);
    /// `to = from`
    fn copy_field(&mut self, to: Field, from: Field);
    /// `field += value`
    fn add_field(&mut self, field: Field, value: usize);

    /// `while field >= step { ... }`; see [`end_while`](Self::end_while). `name` labels it in listings.
    fn begin_while(&mut self, field: Field, step: usize, name: &str);
    /// Ends the innermost `while`: `field -= step`, and round again.
    fn end_while(&mut self);
    /// Begins an innermost loop of `count` (at least one) rounds; may not be nested.
    fn begin_repeat(&mut self, count: usize, name: &str);
    /// Ends the loop that [`begin_repeat`](Self::begin_repeat) began.
    fn end_repeat(&mut self);

    /// Every 32-bit lane of `to` = `pattern`
    fn splat(&mut self, to: Vector, pattern: u32);
    /// `to = 0`
    fn zero(&mut self, to: Vector);
    /// `to = vector at from + offset`; no alignment asked.
    fn load(&mut self, to: Vector, from: Pointer, offset: i64);
    /// Every 32-bit lane of `to` = the four bytes at `from + offset`
    fn broadcast(&mut self, to: Vector, from: Pointer, offset: i64);
    /// `vector at to + offset = from`
    fn store(&mut self, to: Pointer, offset: i64, from: Vector);
    /// Stores the first `lanes` lanes only.
    fn store_lanes(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize);
    /// Asks the cache for the line at `from + offset`; a backend without a prefetch says nothing.
    fn prefetch(&mut self, from: Pointer, offset: i64);

    /// `to = a & b`
    fn and(&mut self, to: Vector, a: Vector, b: Vector);
    /// `to = a >> bits` in 16-bit lanes, zeros shifted in.
    fn shift_right_16(&mut self, to: Vector, a: Vector, bits: u8);
    /// `to = a >> bits` in 32-bit lanes, sign shifted in.
    fn shift_right_32(&mut self, to: Vector, a: Vector, bits: u8);
    /// `to = a + b` in 32-bit lanes
    fn add(&mut self, to: Vector, a: Vector, b: Vector);
    /// `to = a - b` in 32-bit lanes
    fn sub(&mut self, to: Vector, a: Vector, b: Vector);
    /// [`Accumulation::Direct`]: each lane of `sum` += the dot of its four unsigned bytes of `w` and signed of `x`.
    fn dot(&mut self, sum: Vector, w: Vector, x: Vector);
    /// [`Accumulation::Pairs`]: each 16-bit lane of `sum` += two products.
    fn dot_pairs(&mut self, sum: Vector, w: Vector, x: Vector);
    /// Each 32-bit lane of `to` = the sum of the two signed 16-bit lanes of `a` that lie there; `ones` holds 1 in every
    /// 16-bit lane.
    fn widen_pairs(&mut self, to: Vector, a: Vector, ones: Vector);
    /// `to = a as f32`, rounded to nearest even
    fn to_float(&mut self, to: Vector, a: Vector);
    /// `to = a * b` in f32
    fn mul_float(&mut self, to: Vector, a: Vector, b: Vector);
    /// `to = a / b` in f32, correctly rounded
    fn div_float(&mut self, to: Vector, a: Vector, b: Vector);
    /// `sum = a * b + sum` in f32, rounded once
    fn fused_add(&mut self, sum: Vector, a: Vector, b: Vector);

    /// Names what follows in listings.
    fn label(&mut self, name: &str);
}
