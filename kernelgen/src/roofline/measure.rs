//! Measures the whole roofline.

use std::collections::BTreeSet;

use craftsman_isa::{Caches, HardwareCaps};

use super::peak::PeakProbe;
use super::read::{self, Effort, Reading, Walk};
use super::{Level, ProductRate, ReadRate, Roofline};
use crate::backend::{self, Backend};
use crate::code::EmitError;
use crate::host;

/// Main memory that all threads together read at least, memory permitting.
const BUFFER_BYTES: u64 = 512 << 20;
/// How many times larger than its share of the last cache a thread's memory should be for the cache not to matter.
const BUFFER_PER_CACHE: u64 = 8;

/// How carefully is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thoroughness {
    /// Samples of each figure, the first, which warms up, not counted.
    pub samples: usize,
    /// Bytes that a thread reads in one sample, at least; more make it longer and steadier.
    pub sample_bytes: usize,
    /// The most memory that all threads together may take. Less than some times the last cache shows the cache.
    pub memory_bytes: usize,
}

impl Default for Thoroughness {
    /// About half a minute for two threads.
    fn default() -> Self {
        Self { samples: 9, sample_bytes: 256 << 20, memory_bytes: 2 << 30 }
    }
}

/// Bytes that each of `threads` threads goes through to measure `level`: half of its share of that cache, or memory
/// beyond the last cache. `None` where there is no such cache, or the one before it is as large.
fn working_set(level: Level, caches: &Caches, threads: usize, limit: usize) -> Option<usize> {
    if level == Level::Dram {
        let last = [Level::L3, Level::L2].into_iter().find_map(|level| level.share(caches, threads));
        let wanted = last.map_or(0, |last| last * BUFFER_PER_CACHE).max(BUFFER_BYTES / threads as u64);
        return Some(wanted.min((limit / threads) as u64) as usize);
    }
    let nearer = Level::ALL.into_iter().take_while(|nearer| *nearer < level);
    let nearer = nearer.filter_map(|nearer| nearer.share(caches, threads)).max().unwrap_or(0);
    let half = level.share(caches, threads)? / 2;
    (half > nearer).then_some(half as usize)
}

/// Measures reading from every level and multiplying on every backend that runs here, with 1 to `threads` threads.
///
/// `progress` is called with what is being measured, how many steps are done, and how many there are.
///
/// # Errors
/// When there is no memory for it or no loop can be emitted.
pub fn measure(
    caps: &HardwareCaps,
    threads: &BTreeSet<usize>,
    thoroughness: Thoroughness,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Roofline, EmitError> {
    let caps = &host::within(caps.clone());
    let Thoroughness { samples, sample_bytes, memory_bytes } = thoroughness;
    let effort = Effort { samples, bytes: sample_bytes };
    let reads: Vec<_> = Level::ALL
        .into_iter()
        .flat_map(|level| threads.iter().map(move |&threads| (level, threads)))
        .filter_map(|(level, threads)| {
            Some((level, threads, working_set(level, &caps.caches, threads, memory_bytes)?))
        })
        .collect();
    let backends: Vec<_> = backend::ALL.iter().copied().filter(|backend| backend.runs_on(caps)).collect();
    let total = reads.len() * read::steps(effort) + threads.len() * backends.len();
    let mut done = 0;
    let mut roofline = Roofline::default();
    for (level, threads, bytes) in reads {
        let name = format!("{level}, {threads} thread{}", if threads == 1 { "" } else { "s" });
        let mut step = || {
            progress(&name, done, total);
            done += 1;
        };
        roofline.reads.push(best_way(caps, (level, threads, bytes), effort, &mut step)?);
    }
    for backend in backends {
        for &threads in threads {
            progress(backend.name(), done, total);
            done += 1;
            roofline.products.extend(products(caps, backend, threads, samples)?);
        }
    }
    Ok(roofline)
}

/// How fast `threads` threads together read from `level`; `None` where there is no such cache.
///
/// # Errors
/// When there is no memory for it or no loop can be emitted.
pub fn read_rate(
    caps: &HardwareCaps,
    level: Level,
    threads: usize,
    thoroughness: Thoroughness,
) -> Result<Option<ReadRate>, EmitError> {
    let Thoroughness { samples, sample_bytes, memory_bytes } = thoroughness;
    let Some(bytes) = working_set(level, &caps.caches, threads, memory_bytes) else { return Ok(None) };
    let effort = Effort { samples, bytes: sample_bytes };
    best_way(caps, (level, threads, bytes), effort, &mut || ()).map(Some)
}

fn best_way(
    caps: &HardwareCaps,
    (level, threads, bytes): (Level, usize, usize),
    effort: Effort,
    step: &mut dyn FnMut(),
) -> Result<ReadRate, EmitError> {
    let Reading { walk: Walk { streams, prefetch }, rate } = read::best(caps, threads, bytes, effort, step)?;
    Ok(ReadRate { level, threads, bytes, streams, prefetch, rate: rate.summary() })
}

fn products(
    caps: &HardwareCaps,
    backend: &dyn Backend,
    threads: usize,
    samples: usize,
) -> Result<Option<ProductRate>, EmitError> {
    let rate = PeakProbe::on(backend, caps)?.measure(threads, samples);
    Ok(rate.map(|rate| ProductRate { backend: backend.name().to_owned(), threads, rate: rate.summary() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use craftsman_isa::recorded;

    #[test]
    fn working_sets_lie_in_their_level() {
        for (name, caps) in recorded::all() {
            for threads in [1, 2, 64] {
                let sets =
                    Level::ALL.map(|level| (level, working_set(level, &caps.caches, threads, 8 << 30)));
                for (level, bytes) in sets.into_iter().filter_map(|(level, bytes)| Some((level, bytes?))) {
                    assert_eq!(Level::holding(&caps.caches, bytes, threads), level, "{name} {threads}");
                }
            }
        }
    }

    #[test]
    fn everything_is_measured_for_each_thread_count() {
        let mut seen = Vec::new();
        let caps = HardwareCaps { caches: Caches::default(), ..HardwareCaps::detect() };
        let quick = Thoroughness { samples: 1, sample_bytes: 1, memory_bytes: 1 << 20 };
        let sizes = recorded::by_name("zen3").unwrap().caches;
        let caps = HardwareCaps { caches: Caches { l1d: sizes.l1d, ..caps.caches }, ..caps };
        let roofline = measure(&caps, &BTreeSet::from([1]), quick, &mut |what, done, total| {
            assert!(done < total, "{done} of {total}");
            seen.push(what.to_owned());
        });
        let roofline = roofline.unwrap();
        seen.dedup();
        assert_eq!(seen[..2], ["L1, 1 thread", "DRAM, 1 thread"]);
        assert_eq!(roofline.reads.len(), 2);
        assert!(roofline.products.iter().any(|products| products.backend == "portable"));
    }
}
