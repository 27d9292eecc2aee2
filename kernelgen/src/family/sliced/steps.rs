//! The inner loop: slices against planes, counted into integer sums.

use super::input::{self, SLICE_BYTES};
use super::packing::{HALVES, geometry};
use crate::activations::InputForm;
use crate::backend::Backend;
use crate::key::KernelKey;
use crate::panel::{At, Extent, Geometry, Steps, Walk};
use crate::vocabulary::{Accumulate, Binary, Emitter, Unary, Vector, Word};

/// Chains of products that one sum is divided into where registers allow it: a product takes five cycles, and one is
/// begun every one and a half.
const CHAINS: usize = 4;
/// `(x ^ s) & n`, as [`Emitter::ternary_logic`] counts its bits.
const SIGNED_AND: u8 = 0b0010_1000;

/// Vector registers that are left for sums: the others hold what the slices are worth, N, S, and a slice.
pub(super) fn registers_for_sums(backend: &dyn Backend, bits: u8) -> usize {
    backend.registers().saturating_sub(usize::from(bits) + 3)
}

/// See the family's introduction.
pub(super) struct SliceSteps {
    geometry: Geometry,
    bits: u8,
    /// Whether the backend has functions of three bits.
    ternary_logic: bool,
    /// Registers for sums.
    registers: usize,
    /// What a count of each slice is worth, in every byte.
    worth: Vec<Vector>,
}

impl SliceSteps {
    pub(super) fn new(key: &KernelKey, backend: &dyn Backend) -> Self {
        let bits = key.activation_bits;
        Self {
            geometry: geometry(backend.lanes(), bits),
            bits,
            ternary_logic: backend.says(Word::TernaryLogic),
            registers: registers_for_sums(backend, bits),
            worth: Vec::new(),
        }
    }

    /// Chains of each sum.
    fn chains(&self, extent: Extent) -> usize {
        (self.registers / (extent.panels * extent.tokens)).clamp(1, CHAINS)
    }

    /// The sums begin with the counts before the first step.
    fn begin_sums(&self, w: &mut Walk<'_>, extent: Extent, sums: &[Vector]) {
        for (slot, chains) in sums.chunks(self.chains(extent)).enumerate() {
            w.e.load(chains[0], w.weights, w.weight_offset(slot / extent.tokens, 0));
            chains[1..].iter().for_each(|&sum| w.e.zero(sum));
        }
        w.e.advance(w.weights, self.geometry.prefix_bytes as i64);
    }

    /// Chains into one, and that into the work space.
    fn store_sums(&self, w: &mut Walk<'_>, extent: Extent, sums: &[Vector]) {
        for (slot, chains) in sums.chunks(self.chains(extent)).enumerate() {
            for &other in &chains[1..] {
                w.e.binary(Binary::Add32, chains[0], chains[0], other);
            }
            w.e.store(w.scratch, w.slot_offset(slot), chains[0]);
        }
    }

    /// 64 columns of every panel, against every token.
    fn step(&self, w: &mut Walk<'_>, extent: Extent, step: usize, sums: &[Vector]) {
        let [n, s, x] = [(); 3].map(|()| w.e.vector());
        let each = self.chains(extent);
        for panel in 0..extent.panels {
            w.prefetch_weights(panel, step);
            for half in 0..HALVES {
                let place = w.weight_offset(panel, step) + 2 * half as i64 * w.vector_bytes;
                w.e.load(n, w.weights, place);
                w.e.load(s, w.weights, place + w.vector_bytes);
                for token in 0..extent.tokens {
                    let first = (panel * extent.tokens + token) * each;
                    for (slice, &worth) in self.worth.iter().enumerate() {
                        let place = slice * SLICE_BYTES + 4 * half;
                        w.e.broadcast(x, w.activations, w.input_offset(token, step) + place as i64);
                        self.signed_and(w.e, x, s, n);
                        w.e.unary(Unary::PopCount8, x, x);
                        w.e.accumulate(Accumulate::Dot, sums[first + slice % each], x, worth);
                    }
                }
            }
        }
        w.release([n, s, x]);
    }

    /// `x = (x ^ s) & n`
    fn signed_and(&self, e: &mut dyn Emitter, x: Vector, s: Vector, n: Vector) {
        if self.ternary_logic {
            return e.ternary_logic(SIGNED_AND, x, s, n);
        }
        e.binary(Binary::Xor, x, x, s);
        e.binary(Binary::And, x, x, n);
    }
}

impl Steps for SliceSteps {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn input(&self, key: &KernelKey) -> InputForm {
        input::form(key)
    }

    fn slots(&self, extent: Extent) -> usize {
        extent.panels * extent.tokens
    }

    fn begin(&mut self, walk: &mut Walk<'_>) {
        for slice in 0..self.bits {
            let highest = slice + 1 == self.bits;
            let worth = 1_u8 << slice;
            let vector = walk.e.vector();
            walk.e.splat(vector, u32::from_ne_bytes([if highest { worth.wrapping_neg() } else { worth }; 4]));
            self.worth.push(vector);
        }
    }

    fn accumulate(&mut self, walk: &mut Walk<'_>, extent: Extent, columns: usize) {
        let count = self.slots(extent) * self.chains(extent);
        let sums: Vec<_> = (0..count).map(|_| walk.e.vector()).collect();
        self.begin_sums(walk, extent, &sums);
        let (steps, unroll) = (self.geometry.steps(columns), walk.tile.unroll);
        walk.unrolled(steps, unroll, |walk, steps| {
            (0..steps).for_each(|step| self.step(walk, extent, step, &sums));
            walk.advance(steps);
        });
        self.store_sums(walk, extent, &sums);
        walk.release(sums);
    }

    fn recover(&mut self, walk: &mut Walk<'_>, extent: Extent, at: At, d: Vector, _: Vector) {
        let slot = at.panel * extent.tokens + at.token;
        walk.e.load(d, walk.scratch, walk.slot_offset(slot));
    }
}
