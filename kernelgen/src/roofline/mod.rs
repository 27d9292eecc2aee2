//! What this machine can do at most: how fast it reads, level by level, and how fast it multiplies.
//!
//! A kernel needs at least the time to read its weights and the time to make its products; the larger of the two is its
//! *bound*, and the share of it that a kernel reaches says how much is left to win.

mod measure;
mod peak;
mod probe;
mod read;
mod samples;
mod stretch;

pub use measure::{Thoroughness, measure, read_rate};
pub use peak::PeakProbe;
pub use samples::Samples;

pub(crate) use samples::five_digits;
pub use stretch::Stretch;

use std::fmt;
use std::time::Duration;

use craftsman_isa::{Caches, HardwareCaps};
use serde::{Deserialize, Serialize};

use crate::store::{self, Entry, Expected, Kind, Machine, Misfit, Store, StoreError};

/// Where bytes are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// First-level data cache.
    L1,
    /// Second-level cache.
    L2,
    /// Third-level cache.
    L3,
    /// Main memory.
    Dram,
}

impl Level {
    /// Every level, nearest first.
    pub const ALL: [Self; 4] = [Self::L1, Self::L2, Self::L3, Self::Dram];

    /// The nearest level that holds `bytes` for each of `threads` threads at once.
    pub fn holding(caches: &Caches, bytes: usize, threads: usize) -> Self {
        let holds = |level: &Self| level.share(caches, threads).is_some_and(|room| bytes as u64 <= room);
        Self::ALL.into_iter().find(holds).unwrap_or(Self::Dram)
    }

    /// Bytes of this level for each of `threads` threads on cores of their own; `None` where there is no such cache.
    pub(crate) fn share(self, caches: &Caches, threads: usize) -> Option<u64> {
        let cache = match self {
            Self::L1 => caches.l1d,
            Self::L2 => caches.l2,
            Self::L3 => caches.l3,
            Self::Dram => None,
        }?;
        // L1 and L2 are a core's own, whatever hyper-threads share them.
        let sharers = if self == Self::L3 { threads.clamp(1, cache.shared_by.max(1) as usize) } else { 1 };
        Some(cache.size_bytes / sharers as u64)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::Dram => "DRAM",
        })
    }
}

/// How fast several threads together read from one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadRate {
    /// Where from.
    pub level: Level,
    /// How many threads, each reading memory of its own.
    pub threads: usize,
    /// Bytes that each of them went through.
    pub bytes: usize,
    /// Places read at once in the fastest way.
    pub streams: usize,
    /// Prefetch distance of the fastest way, in bytes.
    pub prefetch: usize,
    /// Bytes a second, of all threads together.
    pub rate: Samples,
}

/// How fast several threads together multiply bytes and add.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductRate {
    /// In whose instructions.
    pub backend: String,
    /// How many threads.
    pub threads: usize,
    /// Products of two bytes a second, of all threads together.
    pub rate: Samples,
}

/// A row of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Row {
    Read(ReadRate),
    Products(ProductRate),
}

impl Entry for Row {
    fn name(&self) -> String {
        match self {
            Self::Read(read) => format!("read {} with {} threads", read.level, read.threads),
            Self::Products(products) => {
                format!("products {} with {} threads", products.backend, products.threads)
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let (Self::Read(ReadRate { rate, .. }) | Self::Products(ProductRate { rate, .. })) = self;
        let positive = rate.median.is_finite() && rate.median > 0.0;
        if positive { Ok(()) } else { Err(format!("a rate of {}", rate.median)) }
    }
}

/// What was measured of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Roofline {
    /// Reading, by level and threads.
    pub reads: Vec<ReadRate>,
    /// Multiplying, by backend and threads.
    pub products: Vec<ProductRate>,
}

const KIND: Kind = Kind { name: "roofline", version: 1 };
/// The loops that are timed; raised when they change.
const LOOPS: &str = "probes 1";

impl Roofline {
    /// What `store` knows about `machine`: nothing (`None`) before it was measured, or when the file holds for another
    /// machine or version, which is logged.
    ///
    /// # Errors
    /// When the file cannot be read or holds what it should not.
    pub fn load(store: &Store, machine: &Machine) -> Result<Option<Self>, StoreError> {
        let path = store.file(&KIND, machine);
        let entries = store::read(&path, expected(machine))?.unwrap_or_else(|misfit: Misfit| {
            tracing::warn!(name: "RooflineIgnored", path = %path.display(), %misfit, "measure it again");
            Vec::new()
        });
        Ok((!entries.is_empty()).then(|| Self::of(entries)))
    }

    /// Keeps it in `store`, in place of what was known about those levels, backends and thread counts.
    ///
    /// # Errors
    /// When the file cannot be written, or is none of ours.
    pub fn save(&self, store: &Store, machine: &Machine) -> Result<(), StoreError> {
        store::update(&store.file(&KIND, machine), expected(machine), |entries| {
            let mut known = Self::of(std::mem::take(entries));
            known.reads.retain(|old| {
                !self.reads.iter().any(|new| (new.level, new.threads) == (old.level, old.threads))
            });
            known.reads.extend(self.reads.iter().cloned());
            known.reads.sort_by_key(|read| (read.level, read.threads));
            let same = |a: &ProductRate, b: &ProductRate| (&a.backend, a.threads) == (&b.backend, b.threads);
            known.products.retain(|old| !self.products.iter().any(|new| same(new, old)));
            known.products.extend(self.products.iter().cloned());
            let reads = known.reads.into_iter().map(Row::Read);
            entries.extend(reads.chain(known.products.into_iter().map(Row::Products)));
        })
    }

    fn of(entries: Vec<Row>) -> Self {
        let mut roofline = Self::default();
        for entry in entries {
            match entry {
                Row::Read(rate) => roofline.reads.push(rate),
                Row::Products(rate) => roofline.products.push(rate),
            }
        }
        roofline
    }

    /// Bytes a second that `threads` threads read from `level`.
    pub fn bandwidth(&self, level: Level, threads: usize) -> Option<f64> {
        let found = self.reads.iter().find(|read| (read.level, read.threads) == (level, threads));
        found.map(|read| read.rate.median)
    }

    /// Products a second that `threads` threads make with the best instructions there are.
    pub fn peak(&self, threads: usize) -> Option<f64> {
        let rates = self.products.iter().filter(|products| products.threads == threads);
        rates.map(|products| products.rate.median).max_by(f64::total_cmp)
    }

    /// The least time in which `threads` threads read `bytes` from `level` and make `products` products; `None` where
    /// neither was measured.
    pub fn bound(&self, level: Level, threads: usize, bytes: u64, products: u64) -> Option<Duration> {
        let reading = self.bandwidth(level, threads).map(|rate| bytes as f64 / rate);
        let multiplying = self.peak(threads).map(|rate| products as f64 / rate);
        let bound = reading.into_iter().chain(multiplying).max_by(f64::total_cmp)?;
        Duration::try_from_secs_f64(bound).ok()
    }
}

fn expected(machine: &Machine) -> Expected<'_> {
    Expected { kind: &KIND, emitter: LOOPS, machine }
}

/// The machine with `caps`, and what is known about it in the user's own store; a store that cannot be used is logged.
pub fn known(caps: &HardwareCaps) -> Option<Roofline> {
    let loaded = Store::from_env().and_then(|store| Roofline::load(&store, &Machine::new(caps)));
    loaded.unwrap_or_else(|error| {
        tracing::warn!(name: "RooflineIgnored", %error);
        None
    })
}

#[cfg(test)]
mod tests;
