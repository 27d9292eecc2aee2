//! The inner loop of machines with tiles: the same bytes as the vector loop, sixteen tokens at a time.
//!
//! # The idea
//! Sixteen steps of a panel (64 columns of L = 16 rows a field) are sixteen vectors: the rows of a tile B. Sixteen tokens'
//! activations of these columns are the rows of a tile A (the input form `tiles`), and `C += A B` is one instruction.
//! A row of C is one token's sums of one plane: just the vector that the shared recovery wants.
//!
//! ```text
//! for each panel, for each block of planes that has room in tiles:
//!     for each 64 columns:
//!         plane 0 is loaded from packed memory, the others from the work space, where vector code has put them
//!         for each plane, for each sixteen tokens:  C[plane][token] += A[token] B[plane]
//!     C goes to the work space
//! ```
//!
//! # Registers
//! Eight tiles hold `planes x t` sums for `16 t` tokens, t tiles of activations and one or two of weights: with t = 1 all
//! four planes of i2s, or all six of base3, in one walk over k; with t = 2 two planes a walk, so that every tile
//! that is loaded, and every plane that is made, serves two products.
//!
//! # Cost
//! Reckoned from 16.6 cycles a product (10.4 up to eight tokens), measured on Sapphire Rapids, and from what its ports
//! do: two lines loaded and one stored a cycle, a division of vectors in ten.
//!
//! | for 64 rows, 64 columns and 16 t tokens of i2s | t = 1 | t = 2 |
//! |---|---|---|
//! | products | 4: 66 cycles | 8: 133 cycles |
//! | bytes from the second-level cache, weights and activations | 1 + 1 KiB: 31 a cycle | 2 + 4 KiB: 46 a cycle |
//! | tile loads, vector loads | 5 of 16 lines, 16: 48 cycles | 8 of 16 lines, 32: 80 cycles |
//! | planes made: stores of lines | 48 cycles | 48 cycles |
//!
//! These run on ports of their own, so products alone should count; but 125 to 142 GB/s from the second-level cache, as
//! measured, are 42 to 48 bytes a cycle, so t = 2 is for activations and weights that the first level holds. What
//! products do not hide is the epilogue: four
//! divisions a token and 64 rows, 40 cycles, beside 166 cycles of products at k = 2560 and 930 at k = 14336. Weights are
//! used up at 1 KiB in 66 cycles, 46 GB/s at 3 GHz, and DRAM gives one thread 12 to 20: there one to sixteen tokens
//! cost the same. base3 takes six products for 80 rows: 20 % more a row.
//!
//! A tile load may have to wait until stores to its lines have left the store buffer, that is, until all that goes before
//! them has retired. So with an even `unroll` planes are made one visit ahead of their products, in two buffers in turn. And
//! a load may have to wait for an earlier store to another page at the same place in it, so all loads of a visit, or as
//! many as there are tiles for, come before the stores of planes for the next.

mod plan;

use std::ops::Range;

use super::input::{Pieces, STEP, TILES};
use super::packing::{Packing, Plan, Plane, View};
use super::steps::{self, PlaneSteps};
use crate::activations::InputForm;
use crate::code::EmitError;
use crate::config::Tile;
use crate::key::KernelKey;
use crate::panel::{At, Extent, Geometry, Steps, Walk};
use crate::vocabulary::tiles::{ROW_BYTES, ROWS};
use crate::vocabulary::{Binary, Emitter, TileEmitter, TileRegister, Vector};
use plan::{COLUMNS, Grid, Order, Place};

pub(super) use plan::{VARIANTS, Variant, tiles};

/// The form of the activations.
pub(super) static INPUT: &Pieces = &TILES;

/// One walk over k: a block of planes of one panel.
#[derive(Debug, Clone, Copy)]
struct Block {
    panel: usize,
    first: usize,
    planes: usize,
}

/// See the module's introduction.
pub(super) struct TileSteps {
    plan: &'static Plan,
    views: PlaneSteps,
    grid: Grid,
    /// Tokens at a time.
    tokens: usize,
    split: bool,
}

impl TileSteps {
    /// Steps for a tile of the configuration.
    ///
    /// # Errors
    /// When the emitter has no tiles, or the tile no room in them.
    pub(super) fn new(
        packing: &'static Packing,
        variant: &Variant,
        tile: Tile,
        e: &mut dyn Emitter,
    ) -> Result<Self, EmitError> {
        let refuse = |what| Err(EmitError::new(format_args!("{}.{}: {what}", packing.name, variant.name)));
        // Difference planes: no plane costs more than a mask or an addition, and the first one nothing.
        let plan = &packing.plans[0];
        if e.tiles().is_none() || e.lanes() * STEP != ROW_BYTES {
            return refuse("no tiles here");
        }
        let Some(grid) = Grid::new(plan, tile.tokens) else {
            return refuse("tokens are 2, 4, 8, 16 or 32");
        };
        if !matches!(tile.unroll, 1 | 2 | 4 | 8) || !matches!(tile.interleave(), 1 | 2 | 4 | 8) {
            return refuse("unroll and interleaved panels are powers of two up to eight");
        }
        let views = PlaneSteps::new(packing, plan, e);
        Ok(Self { plan, views, grid, tokens: tile.tokens, split: variant.split })
    }

    /// The blocks of planes of every panel.
    fn blocks(&self, panels: usize) -> impl Iterator<Item = Block> + use<> {
        let (all, most) = (self.plan.planes.len(), self.grid.planes);
        (0..panels).flat_map(move |panel| {
            let block = move |first: usize| Block { panel, first, planes: most.min(all - first) };
            (0..all).step_by(most).map(block)
        })
    }

    /// Whether a plane is what lies in memory, and all of it is there.
    fn is_packed(&self, plane: usize, place: Place) -> bool {
        plane == 0 && matches!(self.plan.planes[0].view, View::Whole) && place.steps == ROWS
    }

    /// The vector of the work space that holds a plane's sums of a token: behind the buffers.
    fn slot(&self, extent: Extent, panel: usize, token: usize, plane: usize) -> usize {
        self.buffer_slots() + steps::slot(self.plan, extent, panel, token, plane)
    }

    /// Vectors of the work space for planes that are made.
    fn buffer_slots(&self) -> usize {
        2 * self.grid.planes * ROWS
    }

    /// Where the work space keeps a plane of a block.
    fn buffer(&self, place: Place, plane: usize) -> i64 {
        ((place.buffer * self.grid.planes + plane) * ROWS * ROW_BYTES) as i64
    }

    /// All of `columns` for one block of planes; leaves the pointers as it found them.
    fn walk_block(&self, w: &mut Walk<'_>, extent: Extent, block: Block, columns: usize) {
        let order = Order::new(columns, w.tile.unroll, self.split);
        let (rounds, unroll) = (order.rounds(), order.unroll);
        self.for_sums(block, |_, _, sum| on_tiles(w, |e| e.clear(sum)));
        if order.makes_ahead() {
            self.make(w, block, order.place(0, 0));
        }
        if rounds > 0 {
            w.e.begin_repeat(rounds, &format!("{unroll} tiles"));
            self.visit(w, block, order, 0..unroll, 0);
            self.move_on(w, order.pace() as i64);
            w.e.end_repeat();
        }
        let moved = rounds * order.pace();
        self.visit(w, block, order, rounds * unroll..order.visits(), moved);
        self.move_on(w, -(moved as i64));
        self.store_sums(w, extent, block);
    }

    /// The products of some visits, and the planes: their own before them, or those of the visit after in between.
    fn visit(&self, w: &mut Walk<'_>, block: Block, order: Order, visits: Range<usize>, moved: usize) {
        let planes = block.planes;
        let early = self.grid.spare().min(planes);
        // Where not all planes have a tile, the first product frees one.
        let first = usize::from(early < planes);
        for visit in visits {
            let here = order.place(visit, moved);
            if !order.makes_ahead() {
                self.make(w, block, here);
            }
            self.load_activations(w, here);
            (0..early).for_each(|plane| self.load_plane(w, block, here, plane));
            for plane in 0..first {
                self.multiply(w, plane);
                self.load_plane(w, block, here, early);
            }
            if order.makes_ahead() && visit + 1 < order.visits() {
                self.make(w, block, order.place(visit + 1, moved));
            }
            for plane in first..planes {
                if plane >= early + first {
                    self.load_plane(w, block, here, plane);
                }
                self.multiply(w, plane);
            }
        }
    }

    fn store_sums(&self, w: &mut Walk<'_>, extent: Extent, block: Block) {
        let stride = w.slot_offset(self.plan.fields.len()) as usize;
        self.for_sums(block, |plane, token, sum| {
            let slot = self.slot(extent, block.panel, token * self.grid.rows, block.first + plane);
            let (scratch, offset) = (w.scratch, w.slot_offset(slot));
            on_tiles(w, |e| e.store_rows(scratch, offset, stride, sum));
        });
    }

    /// Puts the planes that are not what lies in memory into the work space. What a partial tile lacks there meets
    /// activations of zero.
    fn make(&self, w: &mut Walk<'_>, block: Block, place: Place) {
        let last = block.first + block.planes;
        let made = (block.first..last).any(|plane| !self.is_packed(plane, place));
        let (weights, part) = (w.e.vector(), w.e.vector());
        for step in 0..place.steps {
            let at = place.tile * ROWS + step;
            if block.first == 0 {
                w.prefetch_weights(block.panel, at);
            }
            if !made {
                continue;
            }
            w.e.load(weights, w.weights, w.weight_offset(block.panel, at));
            let mut shifted = 0;
            for (plane, Plane { triple, view }) in self.plan.planes.iter().enumerate().take(last) {
                if *triple {
                    w.e.binary(Binary::Add8, part, weights, weights);
                    w.e.binary(Binary::Add8, weights, part, weights);
                }
                if plane >= block.first && !self.is_packed(plane, place) {
                    let bytes = self.views.view(w, view, weights, part, &mut shifted);
                    let offset = self.buffer(place, plane - block.first) + w.slot_offset(step);
                    w.e.store(w.scratch, offset, bytes);
                }
            }
        }
        w.release([weights, part]);
    }

    fn load_activations(&self, w: &mut Walk<'_>, place: Place) {
        let activations = w.activations;
        for token in 0..self.grid.tokens {
            let row = place.tile * self.tokens + token * self.grid.rows;
            let offset = (row * ROW_BYTES) as i64;
            on_tiles(w, |e| e.pass_rows(self.grid.activations(token), activations, offset, ROW_BYTES));
        }
    }

    fn load_plane(&self, w: &mut Walk<'_>, block: Block, place: Place, plane: usize) {
        let (from, offset, stride) = if self.is_packed(block.first + plane, place) {
            let offset = w.weight_offset(block.panel, place.tile * ROWS);
            (w.weights, offset, ROW_BYTES * w.tile.interleave())
        } else {
            (w.scratch, self.buffer(place, plane), ROW_BYTES)
        };
        on_tiles(w, |e| e.load_rows(self.grid.weights(plane), from, offset, stride));
    }

    /// `C[plane][token] += A[token] B[plane]` for every tile of tokens.
    fn multiply(&self, w: &mut Walk<'_>, plane: usize) {
        let b = self.grid.weights(plane);
        for token in 0..self.grid.tokens {
            let (sum, a) = (self.grid.sum(plane, token), self.grid.activations(token));
            on_tiles(w, |e| e.multiply(sum, a, b));
        }
    }

    /// Every sum of a block: plane of the block, tile of tokens, register.
    fn for_sums(&self, block: Block, mut say: impl FnMut(usize, usize, TileRegister)) {
        for plane in 0..block.planes {
            (0..self.grid.tokens).for_each(|token| say(plane, token, self.grid.sum(plane, token)));
        }
    }

    fn move_on(&self, w: &mut Walk<'_>, tiles: i64) {
        let weights = ROWS * w.geometry.step_bytes * w.tile.interleave();
        w.e.advance(w.weights, tiles * weights as i64);
        w.e.advance(w.activations, tiles * (self.tokens * ROW_BYTES) as i64);
    }
}

/// Says something to the emitter of tiles, which `new` has seen.
fn on_tiles(w: &mut Walk<'_>, say: impl FnOnce(&mut dyn TileEmitter)) {
    if let Some(emitter) = w.e.tiles() {
        say(emitter);
    }
}

impl Steps for TileSteps {
    fn geometry(&self) -> Geometry {
        let vectors = self.views.geometry();
        Geometry {
            most_columns: vectors.most_columns / COLUMNS * COLUMNS,
            input_step_bytes: STEP * self.tokens,
            ..vectors
        }
    }

    fn input(&self, key: &KernelKey) -> InputForm {
        INPUT.form(key, self.tokens)
    }

    fn slots(&self, extent: Extent) -> usize {
        self.buffer_slots() + steps::slots(self.plan, extent)
    }

    fn repeats_tokens(&self) -> bool {
        true
    }

    fn begin(&mut self, walk: &mut Walk<'_>) {
        self.views.begin(walk);
        on_tiles(walk, |e| e.configure(&self.grid.shapes()));
    }

    fn accumulate(&mut self, walk: &mut Walk<'_>, extent: Extent, columns: usize) {
        for block in self.blocks(extent.panels) {
            self.walk_block(walk, extent, block, columns);
        }
        walk.advance(columns.div_ceil(STEP));
    }

    fn recover(&mut self, walk: &mut Walk<'_>, extent: Extent, at: At, d: Vector, spare: Vector) {
        let slot = |plane| self.slot(extent, at.panel, at.token, plane);
        steps::recover(walk, &self.plan.fields[at.field], [d, spare], slot);
    }
}
