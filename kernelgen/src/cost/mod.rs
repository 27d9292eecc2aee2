//! What a kernel should take, from what it does and what the processor does in a cycle.
//!
//! ```text
//! computing = sum over innermost loops of max(each group of ports, issue, longest chain of waiting)
//! reading   = bytes of weights / rate of the level that holds them, by streams; what is read again / rate of L2
//! time      = the longer of the two, and the part of the other that it does not hide
//! ```
//! Nothing is run and no machine code is made: the family's own emission is counted (`Counter`), so that the model
//! cannot say something else than the kernel does, and a table (`Core`) says what that costs. It orders candidates for
//! processors that were never tuned, also those that are not here. Tuning is there for the rest.

mod cores;
mod count;
mod products;

use std::fmt;

use craftsman_isa::HardwareCaps;
use serde::Serialize;

use crate::backend::Backend;
use crate::code::EmitError;
use crate::config::KernelConfig;
use crate::key::{Batch, KernelKey};
use crate::packed::Layout;
use crate::roofline::Level;
use crate::tuning::Residence;
use crate::vocabulary::Field;
use cores::Core;
use count::{Counter, KINDS, Kind, Region};

/// Where a kernel runs, besides what its key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Environment {
    /// Where the weights are.
    pub residence: Residence,
    /// How many threads divide the rows among them.
    pub threads: usize,
}

impl Environment {
    /// What models need: weights in main memory, and a thread a core.
    pub fn usual(caps: &HardwareCaps) -> Self {
        Self { residence: Residence::Dram, threads: caps.physical_cores.max(1) as usize }
    }
}

/// What limits a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Products.
    Multiply,
    /// Vector instructions together.
    Vector,
    /// Shuffles or population counts.
    Shuffle,
    /// Shifts.
    Shift,
    /// Loads from L1.
    Load,
    /// Stores.
    Store,
    /// Instructions of all kinds.
    Issue,
    /// Results that wait for each other.
    Latency,
    /// Tile products.
    Tile,
    /// Reading the weights.
    Memory,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Multiply => "products",
            Self::Vector => "vector instructions",
            Self::Shuffle => "shuffles",
            Self::Shift => "shifts",
            Self::Load => "loads",
            Self::Store => "stores",
            Self::Issue => "issue",
            Self::Latency => "latency",
            Self::Tile => "tile products",
            Self::Memory => "memory",
        })
    }
}

/// What the model says of one kernel.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Prediction {
    /// Cycles of a call, of each of the threads.
    pub cycles: f64,
    /// Of which computing would take so many,
    pub computing: f64,
    /// and reading so many.
    pub reading: f64,
    /// What limits it most.
    pub bound: Bound,
    /// The row of the table that it was predicted with.
    pub core: &'static str,
}

/// Tokens of a call that stand for a batch class, in predictions and in tuning.
pub(crate) fn tokens(batch: Batch) -> usize {
    match batch {
        Batch::Decode => 1,
        Batch::Small => 8,
        // Enough for any tile, and little enough to time often; a longer prompt costs the same a token.
        Batch::Prefill => 128,
    }
}

/// How long two things take that are done at once: as long as the longer one, and a part of the shorter that it does not
/// hide.
fn overlap(a: f64, b: f64) -> f64 {
    const UNHIDDEN: f64 = 0.15;
    a.max(b) + UNHIDDEN * a.min(b)
}

/// Cranelift says one word of the vocabulary with about so many instructions.
const PORTABLE_INSTRUCTIONS: f64 = 2.5;
/// Share of the rate of main memory that is reached without asking ahead.
const NO_PREFETCH: f64 = 0.92;

/// Cycles until several streams flow that begin at once in new places of main memory: what was asked for ahead was the
/// neighbour's beginning, not their own. Measured, 0.6 to 0.75 us with two streams (docs/performance.md).
const NEW_STREAMS: f64 = 2000.0;

/// Share of the rate of L3 that one stream reaches at least.
const L3_SHARE: f64 = 0.8;

/// Predicts a kernel on a processor with `caps`.
///
/// # Errors
/// When the key is out of range, or the family or backend cannot say it.
pub fn predict(
    key: &KernelKey,
    config: &KernelConfig,
    caps: &HardwareCaps,
    environment: Environment,
) -> Result<Prediction, EmitError> {
    key.check().map_err(EmitError::new)?;
    if !config.tile.fits(key) {
        return Err(EmitError::new(format_args!("{config}: the tile does not fit {key}")));
    }
    let (backend, family) = config.parts()?;
    let layout = config.layout(key)?;
    let fields = [
        (Field::Panels, layout.m / layout.panel_rows),
        (Field::Tail, usize::from(!layout.m.is_multiple_of(layout.panel_rows))),
        (Field::Tokens, tokens(key.batch)),
    ];
    let mut counter = Counter::new(backend, &fields);
    family.emit(key, config, &mut counter)?;
    let regions = counter.finish();
    let core = Core::of(caps);
    let threads = environment.threads.max(1) as f64;
    let (computing, limit) = computing(core, backend, &regions);
    let computing = computing / threads;
    let reading = reading(core, caps, key, config, &layout, &regions, environment) / threads;
    let cycles = overlap(computing, reading);
    let bound = if reading > computing { Bound::Memory } else { limit };
    Ok(Prediction { cycles, computing, reading, bound, core: core.name })
}

/// Cycles of all regions, and what limits the longest of them.
fn computing(core: &Core, backend: &dyn Backend, regions: &[Region]) -> (f64, Bound) {
    let mut total = 0.0;
    let mut longest = (0.0, Bound::Issue);
    for region in regions {
        let (cycles, bound) = region_cycles(core, backend, region);
        total += cycles;
        if cycles > longest.0 {
            longest = (cycles, bound);
        }
    }
    (total, longest.1)
}

fn region_cycles(core: &Core, backend: &dyn Backend, region: &Region) -> (f64, Bound) {
    let wide = usize::from(backend.lanes() == 16);
    let portable = if backend.name() == "portable" { PORTABLE_INSTRUCTIONS } else { 1.0 };
    let count = |kind: Kind| region.counts[kind as usize];
    let vectors =
        [Kind::Simple, Kind::Multiply, Kind::Shuffle, Kind::Shift].map(count).iter().sum::<f64>() * portable;
    let shuffles = count(Kind::Shuffle) * portable * (core.shuffle_slots - 1.0);
    let all =
        (0..KINDS).filter(|&kind| kind != Kind::Divide as usize).map(|kind| region.counts[kind]).sum::<f64>();
    let per = |count: f64, rate: f64| if count == 0.0 { 0.0 } else { count / rate.max(0.1) };
    let groups = [
        (Bound::Vector, per(vectors + shuffles + count(Kind::Divide), core.vector[wide])),
        (Bound::Multiply, per(count(Kind::Multiply) * portable, core.multiply[wide])),
        (Bound::Shuffle, per(count(Kind::Shuffle) * portable, core.shuffle[wide])),
        (Bound::Shift, per(count(Kind::Shift) * portable, core.shift[wide])),
        (Bound::Load, per(count(Kind::Load), core.load[wide])),
        (Bound::Store, per(count(Kind::Store), core.store)),
        (Bound::Issue, per(all * portable, core.issue)),
        (Bound::Latency, region.chain[0] * core.latency + region.chain[1]),
        (Bound::Tile, count(Kind::Tile) * core.tile),
    ];
    let worst = groups.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    worst.map_or((0.0, Bound::Issue), |(bound, cycles)| (cycles, bound))
}

/// Cycles of one core to read everything: the weights once from where they are, and from L2 what is read again, and the
/// activations as often as the code loads them.
fn reading(
    core: &Core,
    caps: &HardwareCaps,
    key: &KernelKey,
    config: &KernelConfig,
    layout: &Layout,
    regions: &[Region],
    environment: Environment,
) -> f64 {
    let l1 = caps.caches.l1d.map_or(32 << 10, |cache| cache.size_bytes) as f64;
    let beyond_l1 = |bytes: f64| bytes > l1 / 2.0;
    // What pads the last panel is left out: it would decide between kernels that are otherwise alike.
    let panels = layout.m as f64 / layout.panel_rows as f64;
    let bytes = panels * (layout.panel_bytes * key.matrices()) as f64;
    let touched: f64 = regions.iter().map(|region| region.weight_bytes).sum();
    let round = (config.tile.panels.div_ceil(config.tile.interleave()) * layout.panel_bytes) as f64;
    let again = if beyond_l1(round) { (touched - bytes).max(0.0) } else { 0.0 };
    let x = (tokens(key.batch) * key.padded_k()) as f64;
    let inputs: f64 = regions.iter().map(|region| region.input_bytes).sum();
    let activations = if beyond_l1(x) { inputs } else { 0.0 };
    let weights = bytes / weight_rate(core, caps, config, regions, bytes, environment);
    // One stream goes on from panel to panel.
    let beginnings = if environment.residence == Residence::Dram && config.tile.streams > 1 {
        bytes / round * NEW_STREAMS
    } else {
        0.0
    };
    weights + beginnings + (again + activations) / core.reads[0]
}

/// Bytes of weights that one core gets in a cycle.
fn weight_rate(
    core: &Core,
    caps: &HardwareCaps,
    config: &KernelConfig,
    regions: &[Region],
    bytes: f64,
    environment: Environment,
) -> f64 {
    let Environment { residence, threads } = environment;
    let threads = threads.max(1);
    let level = match residence {
        Residence::Cache => Level::holding(&caps.caches, bytes as usize / threads, threads),
        Residence::Dram => Level::Dram,
    };
    let main = regions.iter().max_by(|a, b| a.weight_bytes.total_cmp(&b.weight_bytes));
    let share = core.streams[main.map_or(1, Region::streams).ilog2().min(2) as usize];
    let asked = if config.tile.prefetch == 0 { NO_PREFETCH } else { 1.0 };
    match level {
        // The loads are counted as instructions.
        Level::L1 => f64::INFINITY,
        Level::L2 => core.reads[0],
        Level::L3 => core.reads[1] * share.max(L3_SHARE),
        // How it is asked for matters less, and still matters, where others wait for the same memory.
        Level::Dram => 1.0 / overlap(1.0 / (core.reads[2] * share * asked), threads as f64 / core.memory),
    }
}

#[cfg(test)]
mod tests;
