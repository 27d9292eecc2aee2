//! The inner loop: weights against activations, into integer sums.

use std::ops::Range;

use super::packing::{Packing, Plan, Plane, Recovery, View};
use crate::activations::InputForm;
use crate::config::Tile;
use crate::key::KernelKey;
use crate::panel::{At, Extent, Geometry, Steps, Walk};
use crate::vocabulary::{Accumulate, Accumulation, Binary, Emitter, Shift, Vector};

/// Up to so many tokens' activations stay in registers while the planes pass by; with more, the planes stay.
const FEW_TOKENS: usize = 2;

/// Panels of a tile whose sums are in registers at once. Where sums are narrow and come back from the work space anyway,
/// the panels can be taken one after the other, so that several tokens share the work of taking weights apart.
fn together(accumulation: Accumulation, tile: Tile) -> usize {
    let apart = accumulation == Accumulation::Pairs && tile.tokens > 1 && tile.interleave() == 1;
    if apart { 1 } else { tile.panels }
}

/// Vector registers that a tile takes.
pub(super) fn registers(plan: &Plan, accumulation: Accumulation, tile: Tile) -> usize {
    let (panels, tokens) = (together(accumulation, tile), tile.tokens);
    let pairs = accumulation == Accumulation::Pairs;
    let working = if tokens <= FEW_TOKENS {
        // Activations, weights, a plane, and a product that may not take the plane's place.
        tokens + 2 + usize::from(pairs && tokens > 1)
    } else {
        let made =
            |plane: &Plane| usize::from(plane.triple) + usize::from(!matches!(plane.view, View::Whole));
        2 + plan.planes.iter().map(made).sum::<usize>() + usize::from(pairs)
    };
    let halves = plan.planes.iter().any(|plane| matches!(plane.view, View::Digit));
    panels * tokens * plan.planes.len() + masks(plan).len() + working + usize::from(halves)
}

/// The numbers of a packing for vectors of `lanes` 32-bit lanes.
pub(super) fn geometry(packing: &Packing, plan: &Plan, lanes: usize) -> Geometry {
    Geometry {
        fields: packing.fields,
        step_columns: 4,
        step_bytes: 4 * lanes,
        prefix_bytes: 0,
        most_columns: plan.most_columns(),
        input_step_bytes: 4,
        biased: packing.biased,
    }
}

/// The constants that the views of a plan need: patterns of four bytes.
pub(super) fn masks(plan: &Plan) -> Vec<u8> {
    let mut masks = Vec::new();
    for plane in plan.planes {
        let needed: &[u8] = match plane.view {
            View::Whole => &[],
            View::Bits { mask, .. } => &[mask],
            // What is taken off, what is averaged with, and the two bits that the digit ends in.
            View::Digit => &[1, 0, 0x03],
        };
        for &mask in needed {
            if !masks.contains(&mask) {
                masks.push(mask);
            }
        }
    }
    masks
}

/// See the module's introduction.
pub(super) struct PlaneSteps {
    packing: &'static Packing,
    plan: &'static Plan,
    lanes: usize,
    accumulation: Accumulation,
    masks: Vec<(u8, Vector)>,
}

impl PlaneSteps {
    pub(super) fn new(packing: &'static Packing, plan: &'static Plan, e: &dyn Emitter) -> Self {
        Self { packing, plan, lanes: e.lanes(), accumulation: e.accumulation(), masks: Vec::new() }
    }

    /// Whether products are summed in 16 bits first.
    fn pairs(&self) -> bool {
        self.accumulation == Accumulation::Pairs
    }

    /// Which sum belongs to a plane.
    fn slot(&self, extent: Extent, panel: usize, token: usize, plane: usize) -> usize {
        (panel * extent.tokens + token) * self.plan.planes.len() + plane
    }

    /// The sums of `panels` over `columns` columns, left in the work space.
    fn pass(&self, walk: &mut Walk<'_>, extent: Extent, panels: Range<usize>, columns: usize) {
        let first = self.slot(extent, panels.start, 0, 0);
        let count = self.slot(extent, panels.end, 0, 0) - first;
        let vectors = (0..count).map(|_| walk.e.vector()).collect();
        let sums = Sums { panels, first, vectors };
        sums.vectors.iter().for_each(|&sum| walk.e.zero(sum));
        if self.pairs() {
            sums.store(walk);
        }
        let (steps, unroll) = (self.geometry().steps(columns), walk.tile.unroll);
        walk.unrolled(steps, unroll, |walk, steps| self.chunk(walk, extent, steps, &sums));
        if !self.pairs() {
            sums.store(walk);
        }
        walk.release(sums.vectors);
    }

    fn mask(&self, wanted: u8) -> Vector {
        let found = self.masks.iter().find(|&&(known, _)| known == wanted);
        // `begin` made one for every view of the plan.
        found.map_or(Vector(0), |&(_, vector)| vector)
    }

    /// `steps` steps in a row, few enough for sixteen-bit sums where those are used.
    fn chunk(&self, w: &mut Walk<'_>, extent: Extent, steps: usize, sums: &Sums) {
        if self.pairs() {
            sums.vectors.iter().for_each(|&sum| w.e.zero(sum));
        }
        for step in 0..steps {
            self.step(w, extent, step, sums);
        }
        w.advance(steps);
        if self.pairs() {
            sums.widen(w);
        }
    }

    /// One vector of weights a panel, against four activations of every token.
    fn step(&self, w: &mut Walk<'_>, extent: Extent, step: usize, sums: &Sums) {
        let kept = if extent.tokens <= FEW_TOKENS { extent.tokens } else { 0 };
        let x: Vec<_> = (0..kept.max(1)).map(|_| w.e.vector()).collect();
        for (token, &x) in x.iter().enumerate().take(kept) {
            w.e.broadcast(x, w.activations, w.input_offset(token, step));
        }
        let weights = w.e.vector();
        for panel in sums.panels.clone() {
            w.prefetch_weights(panel, step);
            w.e.load(weights, w.weights, w.weight_offset(panel, step));
            if kept > 0 {
                self.planes_pass(w, extent, panel, weights, &x, sums);
            } else {
                self.planes_stay(w, extent, (panel, step), [weights, x[0]], sums);
            }
        }
        w.e.release(weights);
        w.release(x);
    }

    /// Plane by plane, all tokens each.
    fn planes_pass(
        &self,
        w: &mut Walk<'_>,
        extent: Extent,
        panel: usize,
        weights: Vector,
        x: &[Vector],
        sums: &Sums,
    ) {
        let part = w.e.vector();
        let product = if self.pairs() && x.len() > 1 { w.e.vector() } else { part };
        let mut shifted = 0;
        for (plane, Plane { triple, view }) in self.plan.planes.iter().enumerate() {
            if *triple {
                w.e.binary(Binary::Add8, part, weights, weights);
                w.e.binary(Binary::Add8, weights, part, weights);
            }
            let bytes = self.view(w, view, weights, part, &mut shifted);
            for (token, &x) in x.iter().enumerate() {
                self.dot(w, sums.at(self.slot(extent, panel, token, plane)), bytes, x, product);
            }
        }
        if product != part {
            w.e.release(product);
        }
        w.e.release(part);
    }

    /// All planes first, then token by token.
    fn planes_stay(
        &self,
        w: &mut Walk<'_>,
        extent: Extent,
        (panel, step): (usize, usize),
        [weights, x]: [Vector; 2],
        sums: &Sums,
    ) {
        let (mut own, mut planes, mut shifted) = (Vec::new(), Vec::new(), 0);
        let mut current = weights;
        for Plane { triple, view } in self.plan.planes {
            if *triple {
                let next = w.e.vector();
                own.push(next);
                w.e.binary(Binary::Add8, next, current, current);
                w.e.binary(Binary::Add8, next, next, current);
                current = next;
            }
            if let View::Whole = view {
                planes.push(current);
            } else {
                let part = w.e.vector();
                own.push(part);
                planes.push(self.view(w, view, current, part, &mut shifted));
            }
        }
        let product = self.pairs().then(|| w.e.vector());
        for token in 0..extent.tokens {
            w.e.broadcast(x, w.activations, w.input_offset(token, step));
            for (plane, &bytes) in planes.iter().enumerate() {
                let sum = sums.at(self.slot(extent, panel, token, plane));
                self.dot(w, sum, bytes, x, product.unwrap_or(x));
            }
        }
        w.release(product);
        w.release(own);
    }

    /// The bytes of a plane: `weights` themselves, or made in `part`. Planes are asked for in order, since shifts are
    /// done in place; `shifted` remembers by how much.
    pub(super) fn view(
        &self,
        w: &mut Walk<'_>,
        view: &View,
        weights: Vector,
        part: Vector,
        shifted: &mut u8,
    ) -> Vector {
        match *view {
            View::Whole => return weights,
            View::Bits { shift, mask } => {
                if shift != *shifted {
                    w.e.shift(Shift::Right16, weights, weights, shift - *shifted);
                    *shifted = shift;
                }
                w.e.binary(Binary::And, part, weights, self.mask(mask));
            }
            View::Digit => {
                // The average of p and its half is three quarters of p; averages round up, so with p = q - 1 its top
                // two bits are floor(3 q / 256): a test tries every q.
                let half = w.e.vector();
                w.e.binary(Binary::SubSaturate8, part, weights, self.mask(1));
                w.e.binary(Binary::Average8, half, part, self.mask(0));
                w.e.binary(Binary::Average8, part, part, half);
                w.e.release(half);
                w.e.shift(Shift::Right16, part, part, 6);
                w.e.binary(Binary::And, part, part, self.mask(0x03));
            }
        }
        part
    }

    /// `sum += w * x`, by way of `product` where pairs are summed in 16 bits.
    fn dot(&self, w: &mut Walk<'_>, sum: Vector, bytes: Vector, x: Vector, product: Vector) {
        if self.pairs() {
            w.e.binary(Binary::MulPairs, product, bytes, x);
            w.e.binary(Binary::Add16, sum, sum, product);
        } else {
            w.e.accumulate(Accumulate::Dot, sum, bytes, x);
        }
    }
}

/// The sums of some panels, in registers.
struct Sums {
    panels: Range<usize>,
    /// The slot of the first.
    first: usize,
    vectors: Vec<Vector>,
}

impl Sums {
    /// The sum of a slot; one of these panels.
    fn at(&self, slot: usize) -> Vector {
        self.vectors[slot - self.first]
    }

    fn store(&self, w: &mut Walk<'_>) {
        for (slot, &sum) in (self.first..).zip(&self.vectors) {
            w.e.store(w.scratch, w.slot_offset(slot), sum);
        }
    }

    /// Sixteen-bit sums onto the 32-bit ones in the work space.
    fn widen(&self, w: &mut Walk<'_>) {
        let (ones, sum) = (w.e.vector(), w.e.vector());
        w.e.pattern(ones, &[1, 0]);
        for (slot, &narrow) in (self.first..).zip(&self.vectors) {
            let place = w.slot_offset(slot);
            w.e.binary(Binary::AddPairs, narrow, narrow, ones);
            w.e.load(sum, w.scratch, place);
            w.e.binary(Binary::Add32, sum, sum, narrow);
            w.e.store(w.scratch, place, sum);
        }
        w.release([ones, sum]);
    }
}

impl Steps for PlaneSteps {
    fn geometry(&self) -> Geometry {
        geometry(self.packing, self.plan, self.lanes)
    }

    fn input(&self, key: &KernelKey) -> InputForm {
        InputForm::rows(key.k)
    }

    fn slots(&self, extent: Extent) -> usize {
        extent.panels * extent.tokens * self.plan.planes.len()
    }

    fn begin(&mut self, walk: &mut Walk<'_>) {
        for mask in masks(self.plan) {
            let vector = walk.e.vector();
            walk.e.splat(vector, u32::from_ne_bytes([mask; 4]));
            self.masks.push((mask, vector));
        }
    }

    fn accumulate(&mut self, walk: &mut Walk<'_>, extent: Extent, columns: usize) {
        let together = together(self.accumulation, walk.tile).min(extent.panels);
        for first in (0..extent.panels).step_by(together) {
            if first > 0 {
                walk.go_back(self.geometry().steps(columns));
            }
            self.pass(walk, extent, first..first + together, columns);
        }
    }

    fn recover(&mut self, walk: &mut Walk<'_>, extent: Extent, at: At, d: Vector, spare: Vector) {
        recover(walk, &self.plan.fields[at.field], [d, spare], |plane| {
            self.slot(extent, at.panel, at.token, plane)
        });
    }
}

/// The vector of the work space that holds a plane's sums of a token, where tokens are [repeated](Steps::repeats_tokens).
/// As many of a token's lie together as it has totals; planes beyond these form another area.
pub(super) fn slot(plan: &Plan, extent: Extent, panel: usize, token: usize, plane: usize) -> usize {
    let fields = plan.fields.len();
    let area = plane / fields * extent.panels * extent.tokens;
    (area + panel * extent.tokens + token) * fields + plane % fields
}

/// How many of these there are.
pub(super) fn slots(plan: &Plan, extent: Extent) -> usize {
    let fields = plan.fields.len();
    plan.planes.len().div_ceil(fields) * extent.panels * extent.tokens * fields
}

/// `d` = a field's dot products, from the planes' sums in their slots; `spare` is used up.
pub(super) fn recover(
    walk: &mut Walk<'_>,
    rule: &Recovery,
    [d, spare]: [Vector; 2],
    slot: impl Fn(usize) -> usize,
) {
    let Recovery { times, plane, minus, shift } = *rule;
    walk.e.load(d, walk.scratch, walk.slot_offset(slot(plane)));
    if times == 3 {
        walk.e.binary(Binary::Add32, spare, d, d);
        walk.e.binary(Binary::Add32, d, d, spare);
    }
    if let Some(minus) = minus {
        walk.e.load(spare, walk.scratch, walk.slot_offset(slot(minus)));
        walk.e.binary(Binary::Sub32, d, d, spare);
    }
    if shift > 0 {
        walk.e.shift(Shift::Right32, d, d, shift);
    }
}
