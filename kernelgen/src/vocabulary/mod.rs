//! The vector vocabulary: what a family may say, and what a backend must be able to say in its instructions.
//!
//! A family describes its algorithm once by calling an [`Emitter`]; every backend turns the calls into its own machine
//! code. Registers are handles, loops are begun and ended, and nothing returns an error: an emitter remembers the
//! first thing it could not say, and [`Backend::compile`](crate::backend::Backend::compile) reports it, so that the
//! selector can move on. What a family needs and not every backend has, it can ask for:
//! [`Backend::says`](crate::backend::Backend::says).
//!
//! The vocabulary follows what vectors can do. A vector has [`Emitter::lanes`] lanes of 32 bits, each four bytes wide.

mod arguments;
mod matrices;
pub(crate) mod tiles;
mod words;

pub use arguments::{Arguments, Field};
pub use matrices::{MatrixEmitter, Weave};
pub use tiles::{TileEmitter, TileRegister, TileShape};
pub use words::{Accumulate, Binary, Compare, Shift, Unary, Word};

/// A vector register (or variable) of the emitter that handed it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vector(pub(crate) u32);

/// A pointer register (or variable) of the emitter that handed it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer(pub(crate) u32);

/// How a backend multiplies unsigned weight bytes with signed activation bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulation {
    /// [`Accumulate::Dot`] adds four products to each 32-bit lane, modulo 2^32 and for any bytes (VPDPBUSD).
    Direct,
    /// As `Direct`, but two neighbouring products must fit 16 bits: weight bytes up to 127.
    DirectSmall,
    /// As `Direct`, but weight bytes are signed (SDOT).
    Signed,
    /// [`Binary::MulPairs`] sums two products in each 16-bit lane (VPMADDUBSW). Sums must not overflow before
    /// [`Binary::AddPairs`] takes them to 32 bits.
    Pairs,
}

/// The vocabulary. See the module's introduction.
pub trait Emitter {
    /// 32-bit lanes of a vector.
    fn lanes(&self) -> usize;
    /// How this backend multiplies.
    fn accumulation(&self) -> Accumulation;

    /// Asks for a work space of at least `bytes`.
    fn reserve_scratch(&mut self, bytes: usize);

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
    /// `while field > 0 { here = min(field, most); ... }`, ended by [`end_while`](Self::end_while), which takes as many off.
    fn begin_portions(&mut self, field: Field, here: Field, most: usize, name: &str);
    /// Ends the innermost `while`: `field -= step`, and round again.
    fn end_while(&mut self);
    /// Begins an innermost loop of `count` (at least one) rounds; may not be nested. Inside of it there are no words
    /// that want the counter's register for a moment: [`splat`](Self::splat), [`load_lanes`](Self::load_lanes),
    /// [`store_lanes`](Self::store_lanes), [`store_sign_bits`](Self::store_sign_bits), `copy_field`.
    fn begin_repeat(&mut self, count: usize, name: &str);
    /// Ends the loop that [`begin_repeat`](Self::begin_repeat) began.
    fn end_repeat(&mut self);

    /// Every 32-bit lane of `to` = `pattern`
    fn splat(&mut self, to: Vector, pattern: u32);
    /// `to = bytes`, a whole vector of them.
    fn constant(&mut self, to: Vector, bytes: &[u8]);
    /// `to` = the bytes of `pattern`, again and again. Unlike [`splat`](Self::splat) also inside a repeat.
    fn pattern(&mut self, to: Vector, pattern: &[u8]) {
        let bytes: Vec<u8> = pattern.iter().copied().cycle().take(4 * self.lanes()).collect();
        self.constant(to, &bytes);
    }
    /// `to = vector at from + offset`; no alignment asked.
    fn load(&mut self, to: Vector, from: Pointer, offset: i64);
    /// Loads the first `lanes` lanes only; the others become zero.
    fn load_lanes(&mut self, to: Vector, from: Pointer, offset: i64, lanes: usize);
    /// Every 32-bit lane of `to` = the four bytes at `from + offset`
    fn broadcast(&mut self, to: Vector, from: Pointer, offset: i64);
    /// Every 128-bit block of `to` = the sixteen bytes at `from + offset`
    fn broadcast_block(&mut self, to: Vector, from: Pointer, offset: i64);
    /// `vector at to + offset = from`
    fn store(&mut self, to: Pointer, offset: i64, from: Vector);
    /// Stores the first `lanes` lanes only.
    fn store_lanes(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize);
    /// Stores each 32-bit lane, which holds -128 to 127, as one byte. `from` is used up.
    fn store_narrow(&mut self, to: Pointer, offset: i64, from: Vector);
    /// Stores the top bit of each byte as one bit, the first byte's lowest.
    fn store_sign_bits(&mut self, to: Pointer, offset: i64, from: Vector);
    /// Asks the cache for the line at `from + offset`; a backend without a prefetch says nothing.
    fn prefetch(&mut self, from: Pointer, offset: i64);

    /// `to = word(a)`
    fn unary(&mut self, word: Unary, to: Vector, a: Vector);
    /// `to = word(a, b)`
    fn binary(&mut self, word: Binary, to: Vector, a: Vector, b: Vector);
    /// `to = a` shifted by `bits`
    fn shift(&mut self, word: Shift, to: Vector, a: Vector, bits: u8);
    /// `sum = word(sum, a, b)`
    fn accumulate(&mut self, word: Accumulate, sum: Vector, a: Vector, b: Vector);
    /// `to = a compared with b`, as masks
    fn compare(&mut self, word: Compare, to: Vector, a: Vector, b: Vector);
    /// `to = table[to, a, b]` in each bit: bit `4 to + 2 a + b` of `table`.
    fn ternary_logic(&mut self, table: u8, to: Vector, a: Vector, b: Vector);
    /// Lane i of `to` = lane `(i + by) % lanes` of `a`; `by` is a power of two below the number of lanes.
    fn rotate_lanes(&mut self, to: Vector, a: Vector, by: usize);

    /// `to = 0`
    fn zero(&mut self, to: Vector) {
        self.splat(to, 0);
    }

    /// The words for tiles, where this backend has them.
    fn tiles(&mut self) -> Option<&mut dyn TileEmitter> {
        None
    }

    /// The words for matrices, where this backend has them.
    fn matrices(&mut self) -> Option<&mut dyn MatrixEmitter> {
        None
    }

    /// Names what follows in listings.
    fn label(&mut self, name: &str);
}
