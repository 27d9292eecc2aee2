//! Plane lists: whole bytes of weights are multiplied, and the rows recovered afterwards.
//!
//! # Layout
//! A step of a panel is one vector: byte j of lane l holds column 4 s + j of row l of every field. The fields of a byte
//! belong to different *rows*, so all of them meet the same activation, and one broadcast of four activations serves
//! every field of every lane. See [`packing`] for what a byte holds.
//!
//! # Algorithm
//! ```text
//! for each step:  w = load;  x = broadcast four activations
//!     for each plane p:  sum[p] += dot(plane p of w, x)
//! for each field i:  d[i] = (r.times * sum[r.plane] - sum[r.minus]) >> r.shift
//! ```
//! Exact modulo 2^32, over as many columns as the shift of the recovery allows.
//!
//! Where there are tiles, the variants `tile` and `split` compute the same sums of the same bytes, sixteen tokens at a
//! time: see [`tile`]; where vectors can be matrices, the variant `matrix` does, two tokens a product: see [`matrix`].

mod input;
mod matrix;
mod packing;
mod steps;
mod tile;

use craftsman_golden::TernaryMatrix;

use super::Family;
use crate::activations::InputForm;
use crate::backend::Backend;
use crate::code::EmitError;
use crate::config::{KernelConfig, Tile};
use crate::key::{Batch, KernelKey};
use crate::packed::{Layout, PackedMatrix};
use crate::panel::{self, PackPanel, Steps, Walk};
use crate::vocabulary::{Accumulation, Emitter, Word};
use input::Pieces;
use matrix::MatrixSteps;
use packing::{Packing, Plan};
use steps::PlaneSteps;
use tile::TileSteps;

/// A packing and all that can be done with it.
#[derive(Debug)]
pub struct Planes(&'static Packing);

/// Two bits a weight.
pub static I2S: Planes = Planes(&packing::I2S);
/// 1.6 bits a weight.
pub static BASE3: Planes = Planes(&packing::BASE3);
/// Two bits a weight, where products are of signed bytes.
pub static I2S_SIGNED: Planes = Planes(&packing::I2S_SIGNED);
/// 1.6 bits a weight, where products are of signed bytes.
pub static BASE3_SIGNED: Planes = Planes(&packing::BASE3_SIGNED);

impl Family for Planes {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn summary(&self) -> &'static str {
        self.0.summary
    }

    fn variants(&self) -> Vec<&'static str> {
        let plans = self.0.plans.iter().map(|plan| plan.name);
        if self.0.signed() {
            return plans.collect();
        }
        let tiles = tile::VARIANTS.iter().map(|variant| variant.name);
        plans.chain([matrix::NAME]).chain(tiles).collect()
    }

    fn needs(&self, variant: &str) -> &'static [Word] {
        match self.way(variant) {
            Ok(Way::Matrices) => &[Word::Matrices],
            Ok(Way::Tiles(_)) => &[Word::Tiles],
            Ok(Way::Vectors(_)) | Err(_) => &[],
        }
    }

    fn configs(&self, key: &KernelKey, backend: &dyn Backend) -> Vec<KernelConfig> {
        let plans = self.0.plans.iter().filter(|plan| plan.suits(backend.accumulation()));
        let tiles = |plan: &'static Plan| {
            tiles(key, backend, self.0, plan).into_iter().map(move |tile| (plan.name, tile))
        };
        let configs = self.many_tokens(key, backend).into_iter().chain(plans.flat_map(tiles));
        let (backend, family) = (backend.name(), self.name());
        configs.map(|(variant, tile)| KernelConfig { backend, family, variant, tile }).collect()
    }

    fn layout(&self, key: &KernelKey, config: &KernelConfig, lanes: usize) -> Result<Layout, EmitError> {
        // Every variant reads the same bytes.
        let geometry = steps::geometry(self.0, &self.0.plans[0], lanes);
        Ok(geometry.layout(self.name(), key, lanes, config.tile.interleave()))
    }

    fn input(&self, key: &KernelKey, config: &KernelConfig) -> InputForm {
        let pieces = self.way(config.variant).ok().and_then(Way::pieces);
        pieces.map_or_else(|| InputForm::rows(key.k), |pieces| pieces.form(key, config.tile.tokens))
    }

    fn pack(&self, matrices: &[&TernaryMatrix], layout: &Layout) -> std::io::Result<PackedMatrix> {
        let geometry = steps::geometry(self.0, &self.0.plans[0], layout.lanes);
        let mut packed = panel::pack(matrices, *layout, &geometry, self)?;
        if let Some(finish) = self.0.finish {
            let finished: [u8; 256] = std::array::from_fn(|sum| finish(sum as u8));
            packed.bytes_mut().iter_mut().for_each(|byte| *byte = finished[usize::from(*byte)]);
        }
        Ok(packed)
    }

    fn emit(&self, key: &KernelKey, config: &KernelConfig, e: &mut dyn Emitter) -> Result<(), EmitError> {
        let mut steps: Box<dyn Steps> = match self.way(config.variant)? {
            Way::Vectors(plan) => Box::new(self.vectors(plan, config.tile, e)?),
            Way::Matrices => Box::new(MatrixSteps::new(self.0, config.tile, e)?),
            Way::Tiles(variant) => Box::new(TileSteps::new(self.0, variant, config.tile, e)?),
        };
        Walk::kernel(self.0.name, key, config.tile, &mut *steps, e);
        Ok(())
    }

    fn emit_input(
        &self,
        key: &KernelKey,
        config: &KernelConfig,
        e: &mut dyn Emitter,
    ) -> Result<(), EmitError> {
        let rows = || EmitError::new(format_args!("{key}: {config} reads rows"));
        self.way(config.variant)?.pieces().ok_or_else(rows)?.emit(key, config.tile.tokens, e)
    }
}

/// What an inner loop is made of.
#[derive(Clone, Copy)]
enum Way {
    Vectors(&'static Plan),
    Matrices,
    Tiles(&'static tile::Variant),
}

impl Way {
    /// The form of its activations, if it is not rows.
    fn pieces(self) -> Option<&'static Pieces> {
        match self {
            Self::Vectors(_) => None,
            Self::Matrices => Some(matrix::INPUT),
            Self::Tiles(_) => Some(tile::INPUT),
        }
    }
}

impl Planes {
    /// That of a variant. The products of matrices and tiles want unsigned weights.
    fn way(&self, variant: &str) -> Result<Way, EmitError> {
        let plan = self.0.plan(variant).map(Way::Vectors);
        let tile = || tile::Variant::by_name(variant).map(Way::Tiles);
        let matrix = || (variant == matrix::NAME).then_some(Way::Matrices);
        let many = || tile().or_else(matrix).filter(|_| !self.0.signed());
        let unknown = || EmitError::new(format_args!("{} has no variant {variant}", self.0.name));
        plan.or_else(many).ok_or_else(unknown)
    }

    /// Ways to compute with several tokens at once, where `backend` has words for them.
    fn many_tokens(&self, key: &KernelKey, backend: &dyn Backend) -> Vec<(&'static str, Tile)> {
        let panel_rows = self.0.fields * backend.lanes();
        if self.0.signed() {
            Vec::new()
        } else if backend.says(Word::Tiles) {
            tile::tiles(key, panel_rows)
        } else if backend.says(Word::Matrices) {
            let tiles = matrix::tiles(key, &self.0.plans[0], panel_rows, backend.registers());
            tiles.into_iter().map(|tile| (matrix::NAME, tile)).collect()
        } else {
            Vec::new()
        }
    }

    fn vectors(&self, plan: &'static Plan, tile: Tile, e: &dyn Emitter) -> Result<PlaneSteps, EmitError> {
        let refuse = |what| Err(EmitError::new(format_args!("{}.{}: {what}", self.0.name, plan.name)));
        if !plan.suits(e.accumulation()) {
            return refuse("sums would overflow");
        }
        if e.accumulation() == Accumulation::Pairs && tile.unroll > plan.steps_in_16_bits() {
            return refuse("unrolled beyond 16 bits");
        }
        Ok(PlaneSteps::new(self.0, plan, e))
    }
}

impl PackPanel for Planes {
    fn pack_lane(&self, rows: &[&[i8]], bytes: &mut [u8], stride: usize, lane: usize) {
        let bytes = &mut bytes[4 * lane..];
        match *rows {
            [a, b, c, d] => pack_words(self.0, [a, b, c, d], bytes, stride),
            [a, b, c, d, e] => pack_words(self.0, [a, b, c, d, e], bytes, stride),
            // Rows that do not exist are as if they were all of -1, whose code is zero.
            _ => {
                let missing = vec![-1; rows.first().map_or(0, |row| row.len())];
                let row = |field: usize| rows.get(field).copied().unwrap_or(&missing);
                pack_words(self.0, std::array::from_fn::<_, 5, _>(row), bytes, stride);
            }
        }
    }
}

/// The sums of the codes of `F` rows, four columns a word, each word `stride` bytes behind the last.
fn pack_words<const F: usize>(packing: &Packing, rows: [&[i8]; F], bytes: &mut [u8], stride: usize) {
    let mut weights = [0; F];
    weights.iter_mut().zip(packing.weights).for_each(|(to, weight)| *to = u32::from(*weight));
    let sum = |columns: [[i8; 4]; F]| {
        // Four sums of products at once: none is as large as 256.
        columns.into_iter().zip(weights).map(|(columns, weight)| codes(columns) * weight).sum::<u32>()
    };
    let steps = rows[0].len() / 4;
    let whole = rows.map(|row| &row.as_chunks::<4>().0[..steps]);
    let mut words = bytes.chunks_mut(stride).filter_map(|step| step.first_chunk_mut::<4>());
    for (step, word) in (0..steps).zip(&mut words) {
        *word = sum(whole.map(|row| row[step])).to_le_bytes();
    }
    if !rows[0].len().is_multiple_of(4)
        && let Some(word) = words.next()
    {
        *word = sum(rows.map(|row| {
            let mut columns = [-1; 4];
            columns.iter_mut().zip(&row[4 * steps..]).for_each(|(column, trit)| *column = *trit);
            columns
        }))
        .to_le_bytes();
    }
}

/// Trit plus one, of four.
fn codes(trits: [i8; 4]) -> u32 {
    let low = u32::from_le_bytes(trits.map(i8::cast_unsigned)) & 0x0303_0303;
    (low + 0x0101_0101) & 0x0303_0303
}

/// Tiles worth trying: as many independent sums as the registers hold, in fewer and more streams, near and far ahead.
fn tiles(key: &KernelKey, backend: &dyn Backend, packing: &Packing, plan: &Plan) -> Vec<Tile> {
    let panels = key.m.div_ceil(packing.fields * backend.lanes()) * key.matrices();
    let fits = |&(p, _): &(usize, usize)| p <= panels;
    let room = |tile: &Tile| steps::registers(plan, backend.accumulation(), *tile) <= backend.registers();
    let extents: &[(usize, usize)] = match key.batch {
        Batch::Decode => &[(4, 1), (3, 1), (2, 1), (1, 1)],
        Batch::Small | Batch::Prefill => {
            // The last two so that every layout that decoding reads can be read.
            &[(1, 6), (1, 5), (1, 4), (1, 3), (2, 3), (2, 2), (1, 2), (2, 1), (1, 1), (4, 1), (3, 1)]
        }
    };
    // The longer loop first: it is taken where the cost model sees no difference.
    let unrolls: &[usize] = match backend.accumulation() {
        Accumulation::Pairs => &[plan.steps_in_16_bits().min(32)],
        Accumulation::Direct | Accumulation::DirectSmall | Accumulation::Signed => &[4, 2],
    };
    let ahead: &[usize] = if key.batch == Batch::Prefill { &[0] } else { &[2048, 4096, 0] };
    let mut tiles = Vec::new();
    for &(panels, tokens) in extents.iter().filter(|extent| fits(extent)) {
        for streams in (1..=panels).rev() {
            for (&unroll, &prefetch) in unrolls.iter().flat_map(|u| ahead.iter().map(move |p| (u, p))) {
                tiles.push(Tile { panels, streams, tokens, unroll, prefetch });
            }
        }
    }
    tiles.retain(|tile| tile.fits(key) && room(tile));
    tiles
}
