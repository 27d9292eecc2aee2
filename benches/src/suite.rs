//! What is timed: one row a regime.

use craftsman_isa::HardwareCaps;

use crate::contest::Contestant;
use crate::emission;
use crate::layer;
use crate::product::{self, Product, Residence};
use crate::ways::{Offer, UnusableKernel};

/// Something to time, with the references that it is timed beside.
#[derive(Clone, Copy, Debug)]
pub struct Regime {
    /// Its name in figures, histories and on the command line.
    pub name: &'static str,
    /// What it stands for, for people.
    pub about: &'static str,
    /// What is done.
    pub task: Task,
}

/// What is done in a regime.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// Matrix products with every family on every backend.
    Product(Product),
    /// Activation quantisation and product of a `[m, k]` layer for one token, with every family on every
    /// backend and with the kernel that a user gets.
    Layer {
        /// Output features.
        m: usize,
        /// Input features.
        k: usize,
    },
    /// The same for the gate and up matrices of a feed-forward block, `[m, k]` each, with the activation function inside
    /// the kernel.
    Gated {
        /// Output features.
        m: usize,
        /// Input features.
        k: usize,
    },
    /// Emission of the decode kernel of an `[m, k]` product, by every family on every backend.
    Emission {
        /// Output features.
        m: usize,
        /// Input features.
        k: usize,
    },
}

const fn product(m: usize, k: usize, tokens: usize, residence: Residence, threads: usize) -> Task {
    Task::Product(Product { m, k, tokens, residence, threads })
}

const fn regime(name: &'static str, about: &'static str, task: Task) -> Regime {
    Regime { name, about, task }
}

/// The suite. Names are for ever: histories are compared by them.
pub static FULL: &[Regime] = &[
    regime(
        "decode-2560x2560",
        "one token, weights of an L2 size",
        product(2560, 2560, 1, Residence::Cache, 1),
    ),
    regime("decode-2560x6912", "one token, weights in L3", product(2560, 6912, 1, Residence::Cache, 1)),
    regime(
        "decode-dram",
        "one token, 4096x14336, weights from memory",
        product(4096, 14336, 1, Residence::Dram, 1),
    ),
    regime("decode-dram-2t", "the same by two threads", product(4096, 14336, 1, Residence::Dram, 2)),
    regime("batch8-dram", "eight tokens, weights from memory", product(4096, 14336, 8, Residence::Dram, 1)),
    regime("prefill-512", "512 tokens, 2560x2560", product(2560, 2560, 512, Residence::Cache, 1)),
    regime("layer-2560x6912", "quantise one token and multiply", Task::Layer { m: 2560, k: 6912 }),
    regime("gated-6912x2560", "quantise, gate, up and silu", Task::Gated { m: 6912, k: 2560 }),
    regime("emit-2560x6912", "emission of a decode kernel", Task::Emission { m: 2560, k: 6912 }),
];

/// The same machinery over shapes so small that a run takes seconds; its figures mean nothing.
pub static SHORT: &[Regime] = &[
    regime("short-decode", "one token", product(128, 256, 1, Residence::Cache, 1)),
    regime("short-decode-2t", "one token, two threads", product(256, 256, 1, Residence::Cache, 2)),
    regime("short-prefill", "nine tokens", product(128, 256, 9, Residence::Cache, 1)),
    regime("short-layer", "quantise and multiply", Task::Layer { m: 128, k: 256 }),
    regime("short-gated", "quantise, gate, up and silu", Task::Gated { m: 128, k: 256 }),
    regime("short-emit", "emission", Task::Emission { m: 128, k: 256 }),
];

/// A regime made ready: contestants to be timed together.
pub struct Field {
    /// What is judged.
    pub subjects: Vec<Subject>,
    /// What it is judged by, the yardstick of the history first.
    pub references: Vec<Contestant<'static>>,
    /// Ways that were offered and could not be had, with the reason: a bug, or a want of memory.
    pub unusable: Vec<UnusableKernel>,
}

/// A contestant whose speed is ours to defend.
pub struct Subject {
    /// The contestant; its name is the way's, which stays the same when the tile changes.
    pub contestant: Contestant<'static>,
    /// How exactly it was built.
    pub config: String,
}

/// By how much medians of two runs of one build may differ: more than was ever seen.
const WOBBLE: f64 = 0.03;
/// The same of weights in memory: where the pages lie, and what else uses the memory, differs from run to run and hardly
/// within one.
const DRAM_WOBBLE: f64 = 0.25;

/// By how much the median of a figure may differ between two runs of one build, as a share. Figures that the suite does
/// not have (any more) wobble as most do.
pub fn wobble(regime: &str) -> f64 {
    let row = FULL.iter().chain(SHORT).find(|row| row.name == regime);
    match row.map(|row| row.task) {
        Some(Task::Product(Product { residence: Residence::Dram, .. })) => DRAM_WOBBLE,
        _ => WOBBLE,
    }
}

impl Regime {
    /// How many threads it keeps busy.
    pub fn threads(&self) -> usize {
        match self.task {
            Task::Product(product) => product.threads,
            Task::Layer { .. } | Task::Gated { .. } | Task::Emission { .. } => 1,
        }
    }

    /// Packs weights, emits kernels.
    pub fn field(&self, caps: &HardwareCaps, offer: Offer) -> Field {
        match self.task {
            Task::Product(product) => product::field(product, caps, offer),
            Task::Layer { m, k } => layer::field(m, k, caps, offer),
            Task::Gated { m, k } => layer::gated_field(m, k, caps),
            Task::Emission { m, k } => emission::field(m, k, caps, offer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_plain_and_used_once() {
        let names: Vec<_> = FULL.iter().chain(SHORT).map(|regime| regime.name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        assert!(names.iter().all(|name| plain(name)), "{names:?}");
    }

    #[test]
    fn what_memory_gives_differs_more() {
        assert_eq!(["decode-dram", "decode-2560x2560", "of old"].map(wobble), [DRAM_WOBBLE, WOBBLE, WOBBLE]);
    }
}
