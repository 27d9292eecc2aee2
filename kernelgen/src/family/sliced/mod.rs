//! Bit slices: weights as two planes of bits, activations as one plane for each of their bits, products as counts.
//!
//! # Layout
//! A panel is one group: lane l is row l. A step is 64 columns, as two halves of 32: a vector N whose lane l has a bit
//! for each column where row l is not zero, then a vector S of those where it is -1. Two bits a weight. A segment
//! begins with one vector of counts: how many weights of row l are -1.
//!
//! # Input
//! Slice b of a token holds bit b of its activations, in two's complement. For each 64 columns the slices follow one
//! another, lowest first, 64 bits each: column c is bit c of them.
//!
//! # Algorithm
//! ```text
//! w[b] = 1, 2, 4 ... and, for the highest, minus what comes next
//! d = counts
//! for each half step:  N, S = load
//!     for each slice b:  d += w[b] * popcount((broadcast 32 bits of slice b ^ S) & N)
//! ```
//! Where a row holds +1 the bits of the activation are counted with their weights: x. Where it holds -1 the inverted
//! bits are: -x - 1. Hence the counts that d begins with. Bits are counted in bytes, at most eight each, and one
//! [`Accumulate::Dot`](crate::vocabulary::Accumulate::Dot) sums four of these times w[b]. Exact for any k.
//!
//! Three operations a slice and half step: two inputs of a full adder (two operations) are as dear as the count and the
//! product that it saves, so carry-save adders before the count gain nothing.

mod input;
mod packing;
mod steps;

use craftsman_golden::TernaryMatrix;

use super::Family;
use crate::activations::InputForm;
use crate::backend::Backend;
use crate::code::EmitError;
use crate::config::{KernelConfig, Tile};
use crate::key::{Batch, KernelKey};
use crate::packed::{Layout, PackedMatrix};
use crate::panel::{self, Walk};
use crate::vocabulary::{Accumulate, Emitter, Unary, Word};
use packing::{SignPlanes, geometry};
use steps::SliceSteps;

/// See the module's introduction.
#[derive(Debug)]
pub struct Sliced;

/// Its only row.
pub static SLICED: Sliced = Sliced;

/// The only way to compute with it.
const VARIANT: &str = "counts";

impl Family for Sliced {
    fn name(&self) -> &'static str {
        "sliced"
    }

    fn summary(&self) -> &'static str {
        "2 bits a weight, sign and non-zero planes against bit slices of the activations"
    }

    fn variants(&self) -> Vec<&'static str> {
        vec![VARIANT]
    }

    fn needs(&self, _: &str) -> &'static [Word] {
        &[Word::Unary(Unary::PopCount8), Word::Accumulate(Accumulate::Dot)]
    }

    fn configs(&self, key: &KernelKey, backend: &dyn Backend) -> Vec<KernelConfig> {
        let config =
            |tile| KernelConfig { backend: backend.name(), family: self.name(), variant: VARIANT, tile };
        tiles(key, backend).into_iter().map(config).collect()
    }

    fn layout(&self, key: &KernelKey, config: &KernelConfig, lanes: usize) -> Result<Layout, EmitError> {
        if config.tile.interleave() != 1 {
            return Err(EmitError::new(format_args!("{config}: every panel is a stream of its own")));
        }
        Ok(geometry(lanes, key.activation_bits).layout(self.name(), key, lanes, 1))
    }

    fn input(&self, key: &KernelKey, _: &KernelConfig) -> InputForm {
        input::form(key)
    }

    fn pack(&self, matrices: &[&TernaryMatrix], layout: &Layout) -> std::io::Result<PackedMatrix> {
        // How many slices the activations have is nothing to the weights.
        panel::pack(matrices, *layout, &geometry(layout.lanes, 8), &SignPlanes)
    }

    fn emit(&self, key: &KernelKey, config: &KernelConfig, e: &mut dyn Emitter) -> Result<(), EmitError> {
        let (backend, _) = config.parts()?;
        self.layout(key, config, backend.lanes())?;
        let mut steps = SliceSteps::new(key, backend);
        Walk::kernel(self.name(), key, config.tile, &mut steps, e);
        Ok(())
    }

    fn emit_input(&self, key: &KernelKey, _: &KernelConfig, e: &mut dyn Emitter) -> Result<(), EmitError> {
        input::emit(key, e);
        Ok(())
    }
}

/// Tiles worth trying: many streams, or many sums that share the weights.
fn tiles(key: &KernelKey, backend: &dyn Backend) -> Vec<Tile> {
    let matrices = key.matrices();
    let panels = key.m.div_ceil(backend.lanes()) * matrices;
    let registers = steps::registers_for_sums(backend, key.activation_bits);
    let fits = |&&(p, n): &&(usize, usize)| p * n <= registers && p <= panels && p.is_multiple_of(matrices);
    // Without functions of three bits there is no speed to be had, and no use in much code.
    let fast = backend.says(Word::TernaryLogic);
    let extents: &[(usize, usize)] = match key.batch {
        _ if !fast => &[(2, 1), (1, 1)],
        Batch::Decode => &[(4, 1), (8, 1), (2, 1), (1, 1)],
        Batch::Small | Batch::Prefill => &[(2, 4), (1, 4), (2, 2), (2, 1), (1, 1)],
    };
    let ahead: &[usize] = if key.batch == Batch::Prefill || !fast { &[0] } else { &[2048, 0] };
    let mut tiles = Vec::new();
    for &(panels, tokens) in extents.iter().filter(fits) {
        // A step is 64 columns: more of them fill the front end only where few sums are kept.
        let unrolls: &[usize] = if fast && panels * tokens < 4 { &[2, 1] } else { &[1] };
        for (&unroll, &prefetch) in unrolls.iter().flat_map(|u| ahead.iter().map(move |p| (u, p))) {
            tiles.push(Tile { panels, streams: panels, tokens, unroll, prefetch });
        }
    }
    tiles.retain(|tile| tile.fits(key));
    tiles
}
