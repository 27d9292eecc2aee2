//! The inner loop: indices against tables, into integer sums.

use super::tables;
use super::tuples::{OFFSET, RADIX, STEP_TUPLES, TUPLES_IN_8_BITS, Tuples};
use crate::activations::InputForm;
use crate::key::KernelKey;
use crate::panel::{At, Extent, Geometry, Steps, Walk};
use crate::vocabulary::{Binary, Emitter, Field, Shift, Vector};

/// Steps whose sums fit 16 bits: a tuple adds at most 384 + 16, and 16 x 4 x 400 is 25600.
pub(super) const MOST_UNROLL: usize = 16;
/// Steps whose sums fit bytes.
const STEPS_IN_8_BITS: usize = TUPLES_IN_8_BITS / STEP_TUPLES;
/// Sums of bytes a token: low and high of each nibble.
const BYTE_SUMS: usize = 4;
/// Slots of the work space a panel and token: four vectors of 16-bit sums, then eight of 32-bit ones.
const SLOTS: usize = 4 + 8;

/// Vector registers that `tokens` tokens at a time take.
pub(super) fn registers(tuples: &Tuples, tokens: usize) -> usize {
    // Nibbles of ones, two indices, a table, and what was looked up; signs and masks of two nibbles. Or nibbles of ones and
    // what widening takes.
    BYTE_SUMS * tokens + if tuples.signed { 9 } else { 7 }
}

/// See the module's introduction.
pub(super) struct LookUpSteps {
    tuples: &'static Tuples,
    lanes: usize,
    /// The low nibble of each byte.
    nibble: Vector,
}

impl LookUpSteps {
    pub(super) fn new(tuples: &'static Tuples, e: &dyn Emitter) -> Self {
        // `begin` replaces the vector.
        Self { tuples, lanes: e.lanes(), nibble: Vector(0) }
    }

    /// Where the work space keeps 16-bit sums 0..4, and 32-bit sums 4..12, of a panel and token.
    fn slot(extent: Extent, panel: usize, token: usize, which: usize) -> usize {
        (panel * extent.tokens + token) * SLOTS + which
    }

    /// `steps` steps in a row, few enough for sixteen-bit sums, which are zero before and after.
    fn round(&self, walk: &mut Walk<'_>, extent: Extent, steps: usize, sums: &[Vector]) {
        walk.unrolled(steps, STEPS_IN_8_BITS, |walk, steps| {
            for panel in 0..extent.panels {
                (0..steps).for_each(|step| self.step(walk, extent, (panel, step), sums));
                Self::join(walk, extent, panel, sums);
            }
            walk.advance(steps);
        });
        Self::widen(walk, extent);
    }

    /// One step of one panel against the tables of every token. The first one replaces the sums.
    fn step(&self, walk: &mut Walk<'_>, extent: Extent, (panel, step): (usize, usize), sums: &[Vector]) {
        walk.prefetch_weights(panel, step);
        let weights = walk.weight_offset(panel, step);
        let signs = self.tuples.signed.then(|| self.nibbles(walk, weights, STEP_TUPLES));
        for tuple in 0..STEP_TUPLES {
            let indices = self.nibbles(walk, weights, tuple);
            let masks = signs.map(|signs| Self::masks(walk, signs, tuple));
            for token in 0..extent.tokens {
                let tables = walk.input_offset(token, step) + 16 * tuple as i64;
                let sums = &sums[BYTE_SUMS * token..][..BYTE_SUMS];
                look_up(walk, tables, indices, masks, sums, step + tuple == 0);
            }
            walk.release(indices);
            walk.release(masks.into_iter().flatten());
        }
        walk.release(signs.into_iter().flatten());
    }

    /// Low and high nibbles of vector `number` of the step at `weights`.
    fn nibbles(&self, walk: &mut Walk<'_>, weights: i64, number: usize) -> [Vector; 2] {
        let [low, high] = [(); 2].map(|()| walk.e.vector());
        walk.e.load(high, walk.weights, weights + number as i64 * walk.vector_bytes);
        walk.e.binary(Binary::And, low, high, self.nibble);
        walk.e.shift(Shift::Right16, high, high, 4);
        walk.e.binary(Binary::And, high, high, self.nibble);
        [low, high]
    }

    /// All bits of the bytes whose sign has bit `tuple` set: looked up, since that is one instruction each.
    fn masks(walk: &mut Walk<'_>, signs: [Vector; 2], tuple: usize) -> [Vector; 2] {
        let masks = [(); 2].map(|()| walk.e.vector());
        let table: [u8; 16] = std::array::from_fn(|sign| if sign >> tuple & 1 == 1 { 0xFF } else { 0 });
        walk.e.pattern(masks[0], &table);
        for which in [1, 0] {
            walk.e.binary(Binary::Shuffle8, masks[which], masks[0], signs[which]);
        }
        masks
    }

    /// Sums of bytes onto the 16-bit ones.
    fn join(walk: &mut Walk<'_>, extent: Extent, panel: usize, sums: &[Vector]) {
        let [factors, joined, old] = [(); 3].map(|()| walk.e.vector());
        walk.e.pattern(factors, &[1, RADIX]);
        for (token, sums) in sums.chunks(BYTE_SUMS).take(extent.tokens).enumerate() {
            for which in 0..4 {
                let (low, high) = (sums[which / 2 * 2], sums[which / 2 * 2 + 1]);
                let half = [Binary::InterleaveLow8, Binary::InterleaveHigh8][which % 2];
                let place = walk.slot_offset(Self::slot(extent, panel, token, which));
                walk.e.binary(half, joined, low, high);
                walk.e.binary(Binary::MulPairs, joined, factors, joined);
                walk.e.load(old, walk.scratch, place);
                walk.e.binary(Binary::Add16, joined, joined, old);
                walk.e.store(walk.scratch, place, joined);
            }
        }
        walk.release([factors, joined, old]);
    }

    /// 16-bit sums onto the 32-bit ones, and zero in their place.
    fn widen(walk: &mut Walk<'_>, extent: Extent) {
        let [even, odd, narrow, wide, total] = [(); 5].map(|()| walk.e.vector());
        let zero = walk.e.vector();
        walk.e.zero(zero);
        walk.e.pattern(even, &[1, 0, 0, 0]);
        walk.e.pattern(odd, &[0, 0, 1, 0]);
        for first in (0..extent.panels * extent.tokens).map(|group| group * SLOTS) {
            for which in 0..4 {
                walk.e.load(narrow, walk.scratch, walk.slot_offset(first + which));
                walk.e.store(walk.scratch, walk.slot_offset(first + which), zero);
                for (parity, ones) in [even, odd].into_iter().enumerate() {
                    let place = walk.slot_offset(first + 4 + 2 * which + parity);
                    walk.e.binary(Binary::AddPairs, wide, narrow, ones);
                    walk.e.load(total, walk.scratch, place);
                    walk.e.binary(Binary::Add32, total, total, wide);
                    walk.e.store(walk.scratch, place, total);
                }
            }
        }
        walk.release([even, odd, narrow, wide, total, zero]);
    }
}

impl Steps for LookUpSteps {
    fn geometry(&self) -> Geometry {
        self.tuples.geometry(self.lanes)
    }

    fn input(&self, key: &KernelKey) -> InputForm {
        tables::form(self.tuples, key)
    }

    fn slots(&self, extent: Extent) -> usize {
        extent.panels * extent.tokens * SLOTS
    }

    fn begin(&mut self, walk: &mut Walk<'_>) {
        self.nibble = walk.e.vector();
        walk.e.splat(self.nibble, u32::from_ne_bytes([0x0F; 4]));
    }

    fn accumulate(&mut self, walk: &mut Walk<'_>, extent: Extent, columns: usize) {
        let steps = self.geometry().steps(columns);
        let sums: Vec<_> = (0..BYTE_SUMS * extent.tokens).map(|_| walk.e.vector()).collect();
        // Every tuple, even one beyond the columns, brings bytes that are `OFFSET` short.
        walk.e.splat(sums[0], (OFFSET * STEP_TUPLES * steps) as u32);
        walk.e.zero(sums[1]);
        for group in 0..extent.panels * extent.tokens {
            for which in 0..SLOTS {
                let slot = walk.slot_offset(group * SLOTS + which);
                walk.e.store(walk.scratch, slot, sums[usize::from(which < 4)]);
            }
        }
        let unroll = walk.tile.unroll;
        let (rounds, rest) = (steps / unroll, steps % unroll);
        if rounds > 0 {
            walk.e.set_field(Field::RoundsLeft, rounds);
            walk.e.begin_while(Field::RoundsLeft, 1, &format!("rounds of {unroll} steps"));
            self.round(walk, extent, unroll, &sums);
            walk.e.end_while();
        }
        if rest > 0 {
            self.round(walk, extent, rest, &sums);
        }
        walk.release(sums);
    }

    fn recover(&mut self, walk: &mut Walk<'_>, extent: Extent, at: At, d: Vector, _: Vector) {
        let slot = Self::slot(extent, at.panel, at.token, 4 + at.field);
        walk.e.load(d, walk.scratch, walk.slot_offset(slot));
    }
}

/// One tuple's entries onto one token's sums.
fn look_up(
    walk: &mut Walk<'_>,
    tables: i64,
    indices: [Vector; 2],
    masks: Option<[Vector; 2]>,
    sums: &[Vector],
    fresh: bool,
) {
    let [table, found] = [(); 2].map(|()| walk.e.vector());
    for part in 0..2 {
        walk.e.broadcast_block(table, walk.activations, tables + 16 * (STEP_TUPLES * part) as i64);
        for (nibble, index) in indices.into_iter().enumerate() {
            let sum = sums[2 * nibble + part];
            let entry = if fresh { sum } else { found };
            walk.e.binary(Binary::Shuffle8, entry, table, index);
            if let Some(masks) = masks {
                walk.e.binary(Binary::Xor, entry, entry, masks[nibble]);
            }
            if !fresh {
                walk.e.binary(Binary::Add8, sum, sum, entry);
            }
        }
    }
    walk.release([table, found]);
}
