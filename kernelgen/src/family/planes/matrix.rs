//! The inner loop where a vector can be a matrix: the same bytes as the vector loop, two tokens a product.
//!
//! # The idea
//! A vector is a step of a panel: four columns of the L rows of each field. The 32-bit lanes of two steps taken in turn are
//! matrices of two rows and eight columns; planes are made of bytes wherever they are. Activations come as matrices of two
//! tokens and the same eight columns (the input form `matrices`), and one product adds to the four sums of two rows with two
//! tokens: twice as many as a dot product of the same width does.
//!
//! ```text
//! for each panel, for each 8 columns:
//!     w = two steps;  low, high = their lanes taken in turn
//!     for each of low and high, for each plane p, for each two tokens t:  sum[p][half][t] += plane p . x[t]
//! at the end a vector of four rows a token is taken out of the sums of low and high
//! ```
//!
//! # Cost
//! Instructions for four tokens, 4 L rows and eight columns of i2s, L = 4: 2 loads of weights, 2 that take lanes in turn, 6
//! masks, 2 loads of activations and 16 products, 28 in all. Dot products with three tokens, as many as registers hold,
//! take 2 loads of weights, 6 masks, 6 loads that each need another instruction to spread, and 24 products: 44, or 59 for
//! four tokens.

use super::input::{MATRICES, Pieces, STEP};
use super::packing::{Packing, Plan, Plane};
use super::steps::{self, PlaneSteps};
use crate::activations::{InputForm, TOKEN_GRANULE};
use crate::code::EmitError;
use crate::config::Tile;
use crate::key::{Batch, KernelKey};
use crate::panel::{At, Extent, Geometry, Steps, Walk};
use crate::vocabulary::{Binary, Emitter, MatrixEmitter, Vector, Weave};

/// What this way to compute is called.
pub(super) const NAME: &str = "matrix";
/// The form of its activations.
pub(super) static INPUT: &Pieces = &MATRICES;

/// Vector registers that so many tokens take: sums, activations, two steps and a plane, masks.
fn registers(plan: &Plan, tokens: usize) -> usize {
    plan.planes.len() * tokens + tokens / 2 + 3 + steps::masks(plan).len()
}

/// Tiles worth trying for panels of `panel_rows` rows, with `room` registers.
pub(super) fn tiles(key: &KernelKey, plan: &Plan, panel_rows: usize, room: usize) -> Vec<Tile> {
    let ahead = match key.batch {
        Batch::Decode => return Vec::new(),
        Batch::Small => [2048, 0],
        Batch::Prefill => [0, 2048],
    };
    let matrices = key.matrices();
    let panels = key.m.div_ceil(panel_rows);
    let mut tiles = Vec::new();
    for interleave in (1..=4).filter(|&n| n == 1 || (matrices == 1 && n <= panels)) {
        let (panels, streams) = (matrices * interleave, matrices);
        for tokens in [4, 2].into_iter().filter(|&tokens| registers(plan, tokens) <= room) {
            tiles.extend(ahead.map(|prefetch| Tile { panels, streams, tokens, unroll: 2, prefetch }));
        }
    }
    tiles
}

/// See the module's introduction.
pub(super) struct MatrixSteps {
    plan: &'static Plan,
    views: PlaneSteps,
    tokens: usize,
}

/// Where lanes of two steps went, low or high.
const HALVES: usize = 2;

impl MatrixSteps {
    /// Steps for a tile of the configuration.
    ///
    /// # Errors
    /// When the emitter has no matrices, or the tile is none for them.
    pub(super) fn new(packing: &'static Packing, tile: Tile, e: &mut dyn Emitter) -> Result<Self, EmitError> {
        let refuse = |what| Err(EmitError::new(format_args!("{}.{NAME}: {what}", packing.name)));
        // Difference planes: no plane costs more than a mask or an addition, and the first one nothing.
        let plan = &packing.plans[0];
        if e.matrices().is_none() {
            return refuse("no matrices here");
        }
        if tile.tokens < 2 || !TOKEN_GRANULE.is_multiple_of(tile.tokens) {
            return refuse("tokens are 2, 4, 8, 16 or 32");
        }
        Ok(Self { plan, views: PlaneSteps::new(packing, plan, e), tokens: tile.tokens })
    }

    /// Pairs of tokens.
    fn pairs(&self) -> usize {
        self.tokens / 2
    }

    /// Which sum belongs to a half of the rows, a plane and a pair of tokens.
    fn sum(&self, half: usize, plane: usize, pair: usize) -> usize {
        (plane * self.pairs() + pair) * HALVES + half
    }

    /// The sums of `panel` over `columns` columns, left in the work space.
    fn pass(&self, w: &mut Walk<'_>, extent: Extent, panel: usize, columns: usize) {
        let count = self.sum(0, self.plan.planes.len(), 0);
        let sums: Vec<_> = (0..count).map(|_| w.e.vector()).collect();
        for &sum in &sums {
            w.e.zero(sum);
        }
        let (steps, unroll) = (columns.div_ceil(STEP), w.tile.unroll);
        w.unrolled(steps / 2, unroll, |w, twos| {
            (0..twos).for_each(|two| self.two_steps(w, panel, 2 * two..2 * two + 2, &sums));
            w.advance(2 * twos);
        });
        if !steps.is_multiple_of(2) {
            // Its activations are zeros where the other step's would be.
            self.two_steps(w, panel, 0..1, &sums);
            w.advance(1);
        }
        self.store(w, extent, panel, &sums);
        w.release(sums);
    }

    /// Two steps of weights, or the same one twice, against eight activations of every token.
    fn two_steps(&self, w: &mut Walk<'_>, panel: usize, steps: std::ops::Range<usize>, sums: &[Vector]) {
        let x: Vec<_> = (0..self.pairs()).map(|_| w.e.vector()).collect();
        for (pair, &x) in x.iter().enumerate() {
            let offset = w.input_offset(0, steps.start) + (2 * pair * INPUT.columns) as i64;
            w.e.broadcast_block(x, w.activations, offset);
        }
        let [first, second, low] = std::array::from_fn(|_| w.e.vector());
        for (step, to) in steps.clone().zip([first, second]) {
            w.prefetch_weights(panel, step);
            w.e.load(to, w.weights, w.weight_offset(panel, step));
        }
        let other = if steps.len() == 1 { first } else { second };
        on_matrices(w, |e| e.weave(Weave::Low32, low, first, other));
        on_matrices(w, |e| e.weave(Weave::High32, first, first, other));
        for (half, weights) in [low, first].into_iter().enumerate() {
            self.planes(w, half, [weights, second], &x, sums);
        }
        w.release([first, second, low]);
        w.release(x);
    }

    /// Plane by plane, all tokens each.
    fn planes(
        &self,
        w: &mut Walk<'_>,
        half: usize,
        [weights, part]: [Vector; 2],
        x: &[Vector],
        sums: &[Vector],
    ) {
        let mut shifted = 0;
        for (plane, Plane { triple, view }) in self.plan.planes.iter().enumerate() {
            if *triple {
                w.e.binary(Binary::Add8, part, weights, weights);
                w.e.binary(Binary::Add8, weights, part, weights);
            }
            let bytes = self.views.view(w, view, weights, part, &mut shifted);
            for (pair, &x) in x.iter().enumerate() {
                on_matrices(w, |e| e.multiply(sums[self.sum(half, plane, pair)], bytes, x));
            }
        }
    }

    /// Takes the rows of every token out of the sums.
    fn store(&self, w: &mut Walk<'_>, extent: Extent, panel: usize, sums: &[Vector]) {
        let rows = w.e.vector();
        for plane in 0..self.plan.planes.len() {
            for pair in 0..self.pairs() {
                let [low, high] = [0, 1].map(|half| sums[self.sum(half, plane, pair)]);
                for (token, word) in (2 * pair..).zip([Weave::Even32, Weave::Odd32]) {
                    on_matrices(w, |e| e.weave(word, rows, low, high));
                    let slot = steps::slot(self.plan, extent, panel, token, plane);
                    w.e.store(w.scratch, w.slot_offset(slot), rows);
                }
            }
        }
        w.e.release(rows);
    }
}

/// Says something to the emitter of matrices, which `new` has seen.
fn on_matrices(w: &mut Walk<'_>, say: impl FnOnce(&mut dyn MatrixEmitter)) {
    if let Some(emitter) = w.e.matrices() {
        say(emitter);
    }
}

impl Steps for MatrixSteps {
    fn geometry(&self) -> Geometry {
        let vectors = self.views.geometry();
        Geometry {
            most_columns: vectors.most_columns / INPUT.columns * INPUT.columns,
            input_step_bytes: STEP * self.tokens,
            ..vectors
        }
    }

    fn input(&self, key: &KernelKey) -> InputForm {
        INPUT.form(key, self.tokens)
    }

    fn slots(&self, extent: Extent) -> usize {
        steps::slots(self.plan, extent)
    }

    fn repeats_tokens(&self) -> bool {
        true
    }

    fn begin(&mut self, walk: &mut Walk<'_>) {
        self.views.begin(walk);
    }

    fn accumulate(&mut self, walk: &mut Walk<'_>, extent: Extent, columns: usize) {
        for panel in 0..extent.panels {
            if panel > 0 {
                walk.go_back(columns.div_ceil(STEP));
            }
            self.pass(walk, extent, panel, columns);
        }
    }

    fn recover(&mut self, walk: &mut Walk<'_>, extent: Extent, at: At, d: Vector, spare: Vector) {
        let slot = |plane| steps::slot(self.plan, extent, at.panel, at.token, plane);
        steps::recover(walk, &self.plan.fields[at.field], [d, spare], slot);
    }
}
