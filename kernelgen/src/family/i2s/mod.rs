//! I2_S: two bits a weight, unpacked with masks and multiplied as bytes.
//!
//! # Layout
//! Rows come in panels of 4 L for vectors of L 32-bit lanes. Step s of a panel is one vector: byte j of lane l holds
//! column 4 s + j of rows l, L + l, 2 L + l and 3 L + l of the panel, at bits 0, 2, 4 and 6, as codes 0, 1, 2 for the
//! trits -1, 0, +1. The fields of a byte belong to different *rows*, so all of them meet the same activation, and one
//! broadcast of four activations serves 4 L x 4 weights. Columns beyond k meet activations of zero; rows beyond m are
//! never stored.
//!
//! # Algorithm
//! ```text
//! for each step:  w = load;  x = broadcast four activations
//!     for each plane p:  sum[p] += dot((w >> p.shift) & p.mask, x)
//! for each field i:  d[i] = ((sum[r.plane] - sum[r.minus]) >> r.shift) - sum(x)
//! ```
//! Codes are trits plus one, hence the `- sum(x)`. A [`Plan`] says which planes there are and how the fields are got
//! back from them:
//! - `masked` isolates each field, two of them by one shift. Values stay small, so sixteen-bit sums can hold them.
//! - `planes` uses the whole byte, then its low 6, 4 and 2 bits: no shift at all; neighbouring sums differ by exactly
//!   one field. Exact modulo 2^32; needs a product that takes any byte.

mod plan;
mod steps;
mod walk;

use craftsman_golden::{Scales, TernaryMatrix};

use super::Family;
use crate::backend::Backend;
use crate::code::EmitError;
use crate::config::{KernelConfig, Tile};
use crate::key::{Batch, KernelKey};
use crate::packed::{Layout, PackedMatrix};
use crate::vocabulary::{Accumulation, Emitter, SCRATCH_BYTES};
use plan::{FIELDS, PLANS, Plan};
use walk::Walk;

/// See the module's introduction.
#[derive(Debug)]
pub struct I2s;

impl Family for I2s {
    fn name(&self) -> &'static str {
        "i2s"
    }

    fn summary(&self) -> &'static str {
        "2 bits a weight, masks and byte products"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["planes", "masked"]
    }

    fn configs(&self, key: &KernelKey, backend: &dyn Backend) -> Vec<KernelConfig> {
        let steps = key.padded_k() / 4;
        let panels = key.m.div_ceil(FIELDS * backend.lanes());
        let mut configs = Vec::new();
        for plan in PLANS.iter().filter(|plan| plan.suits(backend.accumulation()) && plan.holds(key.k)) {
            for tile in tiles(key.batch, backend, plan) {
                let tile = Tile { panels: tile.panels.min(panels), unroll: tile.unroll.min(steps), ..tile };
                let config =
                    KernelConfig { backend: backend.name(), family: self.name(), variant: plan.name, tile };
                if !configs.contains(&config) {
                    configs.push(config);
                }
            }
        }
        configs
    }

    fn layout(&self, m: usize, k: usize, lanes: usize) -> Layout {
        let panel_rows = FIELDS * lanes;
        Layout { family: self.name(), lanes, panel_rows, panel_bytes: k.div_ceil(4) * panel_rows, m, k }
    }

    fn pack(&self, matrix: &TernaryMatrix, lanes: usize) -> std::io::Result<PackedMatrix> {
        let layout = self.layout(matrix.m(), matrix.k(), lanes);
        let mut packed = PackedMatrix::zeroed(layout, pack_scales(matrix, layout.panel_rows))?;
        for (panel, bytes) in packed.bytes_mut().chunks_exact_mut(layout.panel_bytes).enumerate() {
            let first = panel * layout.panel_rows;
            for row in first..matrix.m().min(first + layout.panel_rows) {
                let (group, lane) = ((row - first) / lanes, (row - first) % lanes);
                pack_row(matrix.row(row), &mut bytes[lane * 4..], layout.panel_rows, 2 * group);
            }
        }
        Ok(packed)
    }

    fn emit(&self, key: &KernelKey, config: &KernelConfig, e: &mut dyn Emitter) -> Result<(), EmitError> {
        let plan = Plan::by_name(config.variant).ok_or_else(|| EmitError::new("i2s: unknown variant"))?;
        if !plan.suits(e.accumulation()) || !plan.holds(key.k) {
            return Err(EmitError::new(format_args!("i2s.{}: sums would overflow", plan.name)));
        }
        if e.accumulation() == Accumulation::Pairs && config.tile.unroll > plan.steps_in_16_bits() {
            return Err(EmitError::new(format_args!("i2s.{}: unrolled beyond 16 bits", plan.name)));
        }
        let scratch = 2 * config.tile.panels * config.tile.tokens * FIELDS * e.lanes() * 4;
        if scratch > SCRATCH_BYTES {
            return Err(EmitError::new("i2s: the tile does not fit the work space"));
        }
        Walk::new(key, config.tile, plan, e).kernel();
        Ok(())
    }
}

/// Tiles worth trying, the best guess first: as many independent sums as the registers hold.
fn tiles(batch: Batch, backend: &dyn Backend, plan: &Plan) -> Vec<Tile> {
    let (wide, unroll) = match backend.accumulation() {
        Accumulation::Pairs => (2, plan.steps_in_16_bits()),
        Accumulation::Direct if backend.registers() > 16 => (if batch == Batch::Decode { 4 } else { 6 }, 2),
        Accumulation::Direct | Accumulation::DirectSmall => (2, 2),
    };
    let tile = |extent: usize| match batch {
        Batch::Decode => Tile { panels: extent, tokens: 1, unroll, prefetch: 2048 },
        Batch::Prefill => Tile { panels: 1, tokens: extent, unroll, prefetch: 0 },
    };
    vec![tile(wide), tile(1)]
}

/// Writes one row's codes at bit `shift` of every `stride`-th group of four bytes.
fn pack_row(row: &[i8], bytes: &mut [u8], stride: usize, shift: usize) {
    for (step, columns) in row.chunks(4).enumerate() {
        for (byte, trit) in bytes[step * stride..].iter_mut().zip(columns) {
            *byte |= ((trit + 1) as u8) << shift;
        }
    }
}

/// Scales in the order in which the kernel meets them: one; or by panel and row; or by panel, block and row.
fn pack_scales(matrix: &TernaryMatrix, panel_rows: usize) -> Vec<f32> {
    let panels = matrix.m().div_ceil(panel_rows);
    let (values, blocks) = match matrix.scales() {
        Scales::Tensor(scale) => return vec![*scale],
        Scales::Row(values) => (values, 1),
        Scales::Block { size, values } => (values, matrix.k().div_ceil(*size)),
    };
    let mut packed = vec![0.0; panels * blocks * panel_rows];
    for (row, scales) in values.chunks_exact(blocks).enumerate() {
        for (block, scale) in scales.iter().enumerate() {
            packed[(row / panel_rows * blocks + block) * panel_rows + row % panel_rows] = *scale;
        }
    }
    packed
}
