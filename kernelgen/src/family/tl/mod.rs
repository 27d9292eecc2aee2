//! Look-up tables: several weights of a row are one index into a table of the sums that their activations can have.
//!
//! After T-MAC and bitnet.cpp's TL1 and TL2, without their loss: sums are never rounded to eight bits. They are split
//! into two signed bytes ("pack"), e = 31 high + low + 16, looked up and added up as bytes, and put together again
//! ("unpack") before eight additions could overflow. Negating e complements both bytes, see [`tuples`].
//!
//! # Layout
//! Columns come in *tuples* of two or three, four tuples a step. A byte holds the indices of one tuple of two rows, one
//! a nibble; a vector of V bytes those of 2 V rows, which is a panel; four vectors a step. With three weights a fifth
//! vector holds the signs: bit t of a nibble says that tuple t is negated.
//!
//! A tuple of the activations is a table of sixteen entries: sixteen low bytes and sixteen high bytes. Tables come in
//! fours, as steps do: low, low, low, low, high, high, high, high. They are made once per input, see [`tables`].
//!
//! # Algorithm
//! ```text
//! for each tuple:  index = nibbles of a vector;  sums of bytes += table[index], complemented where negated
//! every 8 tuples:  16-bit sums += 31 high + low       low and high interleaved, then multiplied and added in pairs
//! every round:     32-bit sums += even, odd lanes of the 16-bit sums
//! ```

mod steps;
mod tables;
mod tuples;

use craftsman_golden::TernaryMatrix;

use super::Family;
use crate::activations::InputForm;
use crate::backend::Backend;
use crate::code::EmitError;
use crate::config::{KernelConfig, Tile};
use crate::key::{Batch, KernelKey};
use crate::packed::{Layout, PackedMatrix};
use crate::panel::{self, Walk};
use crate::vocabulary::{Accumulation, Emitter, Word};
use steps::LookUpSteps;
use tuples::{Packer, Tuples};

/// A way to index tuples of weights.
#[derive(Debug)]
pub struct LookUp(&'static Tuples);

/// Two weights an index: 2 bits a weight.
pub static TL1: LookUp = LookUp(&tuples::TL1);
/// Three weights an index and a sign: 1.67 bits a weight.
pub static TL2: LookUp = LookUp(&tuples::TL2);

/// The only way to compute with it.
const VARIANT: &str = "bytes";

impl Family for LookUp {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn summary(&self) -> &'static str {
        self.0.summary
    }

    fn variants(&self) -> Vec<&'static str> {
        vec![VARIANT]
    }

    fn needs(&self, _: &str) -> &'static [Word] {
        &[]
    }

    fn configs(&self, key: &KernelKey, backend: &dyn Backend) -> Vec<KernelConfig> {
        // A tier that multiplies directly would say this in the same instructions as the tier below it.
        if key.activation_bits != 8 || backend.accumulation() == Accumulation::Direct {
            return Vec::new();
        }
        let config =
            |tile| KernelConfig { backend: backend.name(), family: self.name(), variant: "bytes", tile };
        tiles(key, backend, self.0).into_iter().map(config).collect()
    }

    fn layout(&self, key: &KernelKey, config: &KernelConfig, lanes: usize) -> Result<Layout, EmitError> {
        Ok(self.0.geometry(lanes).layout(self.name(), key, lanes, config.tile.interleave()))
    }

    fn input(&self, key: &KernelKey, _: &KernelConfig) -> InputForm {
        tables::form(self.0, key)
    }

    fn pack(&self, matrices: &[&TernaryMatrix], layout: &Layout) -> std::io::Result<PackedMatrix> {
        let packer = Packer::new(self.0, 4 * layout.lanes);
        panel::pack(matrices, *layout, &self.0.geometry(layout.lanes), &packer)
    }

    fn emit(&self, key: &KernelKey, config: &KernelConfig, e: &mut dyn Emitter) -> Result<(), EmitError> {
        if config.tile.unroll > steps::MOST_UNROLL {
            return Err(EmitError::new(format_args!("{}: unrolled beyond 16 bits", self.name())));
        }
        let mut steps = LookUpSteps::new(self.0, e);
        Walk::kernel(self.name(), key, config.tile, &mut steps, e);
        Ok(())
    }

    fn emit_input(&self, key: &KernelKey, _: &KernelConfig, e: &mut dyn Emitter) -> Result<(), EmitError> {
        tables::emit(self.0, key, e);
        Ok(())
    }
}

/// Tiles worth trying: one stream or two, and as many tokens as the registers hold.
fn tiles(key: &KernelKey, backend: &dyn Backend, tuples: &Tuples) -> Vec<Tile> {
    let panels_there =
        key.m.div_ceil(tuples.geometry(backend.lanes()).fields * backend.lanes()) * key.matrices();
    let fits = |&&(panels, tokens): &&(usize, usize)| {
        // One of a pair would be two again: panels take turns in a round.
        panels <= panels_there
            && panels.is_multiple_of(key.matrices())
            && steps::registers(tuples, tokens) <= backend.registers()
    };
    let extents: &[(usize, usize)] = match key.batch {
        // Four streams were slower than two where they were measured, in cache and from memory.
        Batch::Decode => &[(2, 1), (1, 1)],
        Batch::Small | Batch::Prefill => &[(1, 4), (1, 2), (2, 2), (2, 1), (1, 1)],
    };
    let ahead: &[usize] = if key.batch == Batch::Prefill { &[0] } else { &[2048, 0] };
    let tile = |&(panels, tokens), &prefetch| Tile {
        panels,
        streams: panels,
        tokens,
        unroll: steps::MOST_UNROLL,
        prefetch,
    };
    let extents = extents.iter().filter(fits);
    let mut tiles: Vec<_> =
        extents.flat_map(|extent| ahead.iter().map(move |prefetch| tile(extent, prefetch))).collect();
    tiles.retain(|tile| tile.fits(key));
    tiles
}
