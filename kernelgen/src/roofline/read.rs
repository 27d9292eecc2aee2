//! The ceiling of reading: a loop of nothing but loads, in the instructions of the best backend.
//!
//! ```text
//! repeat passes:  repeat rounds:  for each stream:  sum += two lines of it;  prefetch;  advance
//! ```
//! Memory is read in one to eight places at once, each its own stretch: hardware prefetchers follow several streams.
//! How many, and whether asking ahead helps, differs by processor and level, so [`best`] tries them all.

use craftsman_isa::HardwareCaps;

use super::probe::{Probe, best_backend};
use super::samples::Samples;
use crate::clock::drive;
use crate::code::EmitError;
use crate::pages::Pages;
use crate::vocabulary::{Binary, Emitter, Field};

/// Bytes of a stream that a round reads: two cache lines.
const ROUND_BYTES: usize = 128;
/// Sums that loads go to, so that none waits for another.
const SUMS: usize = 4;

/// How the memory is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walk {
    /// Places that are read at once.
    pub(super) streams: usize,
    /// How far ahead the cache is asked, in bytes; 0 for not at all.
    pub(super) prefetch: usize,
}

/// What [`best`] tries. Distances beyond some KiB have never won where this was measured.
const WALKS: [Walk; 8] = [
    Walk { streams: 1, prefetch: 0 },
    Walk { streams: 2, prefetch: 0 },
    Walk { streams: 4, prefetch: 0 },
    Walk { streams: 8, prefetch: 0 },
    Walk { streams: 1, prefetch: 2048 },
    Walk { streams: 2, prefetch: 2048 },
    Walk { streams: 4, prefetch: 2048 },
    Walk { streams: 8, prefetch: 1024 },
];

/// An emitted loop that reads a stretch of memory, for timing.
#[derive(Debug)]
pub(super) struct ReadProbe {
    probe: Probe,
    bytes: usize,
}

impl ReadProbe {
    /// Emits the loop that reads at most `bytes` bytes as `walk` says.
    ///
    /// # Errors
    /// When no backend can be emitted here, there is no executable memory, or `bytes` is less than a round of it.
    pub(super) fn new(caps: &HardwareCaps, bytes: usize, walk: Walk) -> Result<Self, EmitError> {
        // An odd number of rounds: streams a power of two apart would meet in the same sets of the caches.
        let rounds = (bytes / (walk.streams.max(1) * ROUND_BYTES)).wrapping_sub(1) | 1;
        let bytes = rounds.saturating_mul(walk.streams * ROUND_BYTES);
        if rounds > u32::MAX as usize || walk.streams == 0 {
            return Err(EmitError::new(format_args!("nothing to read in {} streams", walk.streams)));
        }
        let probe = Probe::new(best_backend(caps)?, caps, bytes, &mut |e| say(e, rounds, walk))?;
        Ok(Self { probe, bytes })
    }

    /// Bytes that a pass reads.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reads the first [`bytes`](Self::bytes) of `memory`, `passes` times.
    ///
    /// # Panics
    /// When there are fewer: a bug in the caller.
    pub(super) fn run(&self, memory: &[u8], passes: usize) {
        self.probe.run(memory, passes);
    }
}

/// Says the loop. Every load lies in the first `rounds * streams * ROUND_BYTES` bytes.
fn say(e: &mut dyn Emitter, rounds: usize, walk: Walk) {
    let sums: Vec<_> = (0..SUMS).map(|_| e.vector()).collect();
    let line = e.vector();
    for &sum in &sums {
        e.zero(sum);
    }
    let at = e.pointer(Field::Weights);
    let width = e.lanes() * 4;
    e.begin_while(Field::Tokens, 1, "passes");
    e.reload(at, Field::Weights);
    e.begin_repeat(rounds, "rounds");
    for stream in 0..walk.streams {
        let start = stream * rounds * ROUND_BYTES;
        for (offset, &sum) in (start..start + ROUND_BYTES).step_by(width).zip(sums.iter().cycle()) {
            e.load(line, at, offset as i64);
            e.binary(Binary::Add32, sum, sum, line);
        }
        if walk.prefetch > 0 {
            for line in (start..start + ROUND_BYTES).step_by(64) {
                e.prefetch(at, (line + walk.prefetch) as i64);
            }
        }
    }
    e.advance(at, ROUND_BYTES as i64);
    e.end_repeat();
    e.end_while();
    // What is stored nowhere, a compiler need not load.
    e.reserve_scratch(sums.len() * width);
    let scratch = e.pointer(Field::Scratch);
    for (place, &sum) in sums.iter().enumerate() {
        e.store(scratch, (place * width) as i64, sum);
    }
}

/// The fastest way that was found to read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// The way.
    pub(super) walk: Walk,
    /// Bytes a second of all threads together.
    pub(super) rate: Samples,
}

/// Memory of one thread, all of it there.
pub(super) fn buffer(bytes: usize) -> Result<Pages<u8>, EmitError> {
    let no_memory = |error| EmitError::new(format_args!("no memory to read: {error}"));
    let mut pages = Pages::zeroed(bytes).map_err(no_memory)?;
    pages.fill(1);
    Ok(pages)
}

/// How often and how long the best rate is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Samples of each walk, in rounds over all of them.
    pub(super) samples: usize,
    /// Bytes that a thread reads in a sample at least.
    pub(super) bytes: usize,
}

/// The best rate at which `threads` threads read `bytes` each, over and over, from memory of their own.
///
/// All ways of walking are measured in turn, so that a burst of other work hits all alike; `step` is called after each
/// sample.
///
/// # Errors
/// When there is no memory, or no backend can be emitted here.
pub(super) fn best(
    caps: &HardwareCaps,
    threads: usize,
    bytes: usize,
    effort: Effort,
    step: &mut dyn FnMut(),
) -> Result<Reading, EmitError> {
    let buffers = (0..threads).map(|_| buffer(bytes)).collect::<Result<Vec<_>, _>>()?;
    let probes: Result<Vec<_>, _> = WALKS.iter().map(|&walk| ReadProbe::new(caps, bytes, walk)).collect();
    let probes = probes?;
    let mut rates = vec![Vec::new(); WALKS.len()];
    for sample in 0..=effort.samples {
        for (probe, rates) in probes.iter().zip(&mut rates) {
            let passes = effort.bytes.div_ceil(probe.bytes()).max(1);
            let seconds = drive(buffers.iter().collect(), 1, |buffer, _| probe.run(buffer, passes));
            // The first sample brings in the pages and wakes the processor.
            if sample > 0 {
                rates.push((probe.bytes() * passes * threads) as f64 / seconds);
            }
            step();
        }
    }
    let readings = WALKS
        .into_iter()
        .zip(rates)
        .filter_map(|(walk, rates)| Some(Reading { walk, rate: Samples::new(rates)? }));
    let best = readings.max_by(|a, b| a.rate.median.total_cmp(&b.rate.median));
    best.ok_or_else(|| EmitError::new("no samples were asked for"))
}

/// How many times [`best`] calls `step`.
pub(super) fn steps(effort: Effort) -> usize {
    (effort.samples + 1) * WALKS.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_walk_reads_almost_all_and_no_more() {
        let caps = HardwareCaps::detect();
        for bytes in [1 << 10, 10_000, 1 << 16] {
            for walk in WALKS {
                let probe = ReadProbe::new(&caps, bytes, walk).unwrap();
                let round = walk.streams * ROUND_BYTES;
                assert!(probe.bytes() <= bytes && bytes - probe.bytes() < 2 * round, "{bytes} {walk:?}");
                probe.run(&vec![0; probe.bytes()], 2);
            }
        }
    }

    #[test]
    fn too_little_memory_is_an_error() {
        let caps = HardwareCaps::detect();
        assert!(ReadProbe::new(&caps, 100, Walk { streams: 1, prefetch: 0 }).is_err());
        assert!(ReadProbe::new(&caps, 100, Walk { streams: 0, prefetch: 0 }).is_err());
    }

    #[test]
    fn a_rate_is_found_for_several_threads() {
        let mut count = 0;
        let effort = Effort { samples: 1, bytes: 1 << 16 };
        let reading = best(&HardwareCaps::detect(), 2, 1 << 14, effort, &mut || count += 1).unwrap();
        assert_eq!(count, steps(effort));
        assert!(reading.rate.median > 0.0 && WALKS.contains(&reading.walk));
    }
}
