//! Counts the words that only some backends have: products of tiles and of matrices.

use super::count::{Counter, Kind};
use crate::vocabulary::tiles::{REGISTERS, ROW_BYTES, ROWS};
use crate::vocabulary::{MatrixEmitter, Pointer, TileEmitter, TileRegister, TileShape, Vector, Weave};

/// Share of a whole tile product's cycles that one with hardly any rows takes: 9.6 of 16.6 were measured.
const LEAST_TILE: f64 = 0.58;

impl TileEmitter for Counter<'_> {
    fn configure(&mut self, shapes: &[TileShape; REGISTERS]) {
        self.tile_rows = shapes.map(|shape| shape.rows);
        self.count(Kind::Scalar, 20.0);
    }

    fn clear(&mut self, _: TileRegister) {
        self.count(Kind::Simple, 1.0);
    }

    fn load_rows(&mut self, to: TileRegister, from: Pointer, offset: i64, _: usize) {
        let rows = self.rows(to);
        self.count(Kind::Load, rows as f64);
        self.loaded(from, offset, rows * ROW_BYTES);
    }

    fn pass_rows(&mut self, to: TileRegister, from: Pointer, offset: i64, stride: usize) {
        self.load_rows(to, from, offset, stride);
    }

    fn store_rows(&mut self, _: Pointer, _: i64, _: usize, from: TileRegister) {
        let rows = self.rows(from);
        self.count(Kind::Store, rows as f64);
    }

    fn multiply(&mut self, _: TileRegister, a: TileRegister, _: TileRegister) {
        let rows = self.rows(a);
        self.count(Kind::Tile, (rows as f64 / ROWS as f64).max(LEAST_TILE));
    }
}

impl Counter<'_> {
    fn rows(&self, tile: TileRegister) -> usize {
        self.tile_rows.get(tile.0 as usize).copied().unwrap_or(ROWS)
    }
}

impl MatrixEmitter for Counter<'_> {
    fn weave(&mut self, _: Weave, to: Vector, a: Vector, b: Vector) {
        self.step(Kind::Shuffle, to, &[a, b]);
    }

    fn multiply(&mut self, sum: Vector, a: Vector, b: Vector) {
        self.step(Kind::Multiply, sum, &[sum, a, b]);
    }
}
