//! The optional part of the vocabulary that only tile machines (AMX) can say: products of small matrices.

use super::Pointer;

/// A tile register: up to 16 rows of up to 64 bytes, in the shape that [`TileEmitter::configure`] gave
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileRegister(pub(crate) u32);

/// Rows and bytes of a row of a tile; both zero for a register that is not used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TileShape {
    /// Rows.
    pub rows: usize,
    /// Bytes of a row.
    pub row_bytes: usize,
}

/// Tile registers there are.
pub const REGISTERS: usize = 8;
/// Rows of the largest tile.
pub const ROWS: usize = 16;
/// Bytes of a row of the largest tile.
pub const ROW_BYTES: usize = 64;

/// What can be said with tiles. See [`Emitter::tiles`](super::Emitter::tiles).
///
/// Rows lie `stride` bytes apart in memory: inside a repeat 64, 128, 256 or 512, which need no constant.
pub trait TileEmitter {
    /// Shapes the tile registers and makes them zero; once, before all loops. They are released at the return.
    fn configure(&mut self, shapes: &[TileShape; REGISTERS]);
    /// `to = 0`
    fn clear(&mut self, to: TileRegister);
    /// `to = rows at from + offset`, which so many others pass before they are read again that they are better not kept near.
    fn pass_rows(&mut self, to: TileRegister, from: Pointer, offset: i64, stride: usize);
    /// `to = rows at from + offset`
    fn load_rows(&mut self, to: TileRegister, from: Pointer, offset: i64, stride: usize);
    /// `rows at to + offset = from`
    fn store_rows(&mut self, to: Pointer, offset: i64, stride: usize, from: TileRegister);
    /// `sum[t][l] += a[t] . b[.][l]`, modulo 2^32: row t of `a` are signed bytes, four of them for each row of `b`; those
    /// of row s meet the four unsigned bytes at lane l of row s of `b`. Rows of `sum` are 32-bit lanes.
    fn multiply(&mut self, sum: TileRegister, a: TileRegister, b: TileRegister);
}
