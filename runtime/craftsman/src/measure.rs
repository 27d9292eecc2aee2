//! What the machine can do, and statistics of what was measured.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use craftsman::kernelgen::PeakProbe;
use serde::Serialize;

/// Samples of one quantity.
#[derive(Clone, Debug, Serialize)]
pub struct Samples {
    /// The middle value (of an even number, the mean of the two in the middle).
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// In the order they were measured.
    pub all: Vec<f64>,
}

impl Samples {
    /// Summarises `samples`; `None` of nothing.
    pub fn new(samples: Vec<f64>) -> Option<Self> {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median, min, max, all: samples })
    }
}

/// Buffer of the bandwidth measurement where the size of the last cache is not known.
const BUFFER_BYTES: u64 = 512 << 20;
/// How many times larger than the last cache the buffer must be for the cache not to matter.
const BUFFER_PER_CACHE: u64 = 8;
/// Largest buffer: a machine with a huge cache is not to run out of memory.
const BUFFER_LIMIT: u64 = 2 << 30;
/// How often the buffer is read, after one pass that is not counted, which brings in the pages.
const READS: usize = 9;
/// How often the loop of products runs, some milliseconds each, after one that wakes the processor.
const PRODUCT_RUNS: usize = 64;
/// Places of its stretch at which a thread reads at once: hardware prefetchers follow several, and the fastest kernels
/// have as many.
const STREAMS: usize = 4;
/// Words in a cache line.
const LINE: usize = 8;

/// Bytes a second that `threads` threads together read from main memory, each its own stretch in four streams.
///
/// The buffer is at least eight times as large as the last cache (`last_cache` bytes), up to 2 GiB.
pub fn read_bandwidth(threads: NonZeroUsize, last_cache: Option<u64>) -> Option<Samples> {
    let bytes =
        last_cache.map_or(BUFFER_BYTES, |cache| (cache * BUFFER_PER_CACHE).clamp(BUFFER_BYTES, BUFFER_LIMIT));
    let buffer = vec![1_u64; (bytes / 8) as usize];
    let stretch = buffer.len().div_ceil(threads.get());
    let pass = || {
        let start = Instant::now();
        thread::scope(|scope| {
            for part in buffer.chunks(stretch) {
                scope.spawn(move || black_box(sum(black_box(part))));
            }
        });
        bytes as f64 / start.elapsed().as_secs_f64()
    };
    pass();
    Samples::new((0..READS).map(|_| pass()).collect())
}

/// Products of two bytes a second, multiplied and added, that `threads` threads make together when nothing else is to
/// be done: the ceiling of ternary kernels.
pub fn byte_products(probe: &PeakProbe, threads: NonZeroUsize) -> Option<Samples> {
    let pass = || {
        let start = Instant::now();
        thread::scope(|scope| {
            (0..threads.get()).for_each(|_| drop(scope.spawn(|| probe.run())));
        });
        probe.products() as f64 * threads.get() as f64 / start.elapsed().as_secs_f64()
    };
    pass();
    Samples::new((0..PRODUCT_RUNS).map(|_| pass()).collect())
}

/// The sum of `words`, a line of each stream in turn.
fn sum(words: &[u64]) -> u64 {
    let lines = words.as_chunks::<LINE>().0;
    let length = lines.len() / STREAMS;
    let streams: [&[[u64; LINE]]; STREAMS] = std::array::from_fn(|at| &lines[at * length..(at + 1) * length]);
    let mut lanes = [[0_u64; LINE]; STREAMS];
    for line in 0..length {
        for (stream, lanes) in streams.iter().zip(&mut lanes) {
            lanes.iter_mut().zip(&stream[line]).for_each(|(lane, word)| *lane = lane.wrapping_add(*word));
        }
    }
    let rest = &words[length * STREAMS * LINE..];
    lanes.as_flattened().iter().chain(rest).fold(0, |sum, word| sum.wrapping_add(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let odd = Samples::new(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Samples::new(vec![4.0, 1.0]).unwrap().median, 2.5);
        assert!(Samples::new(Vec::new()).is_none());
    }

    #[test]
    fn every_word_is_read() {
        for count in [5, 31, 32, 1000, 1024] {
            let words: Vec<u64> = (0..count).collect();
            assert_eq!(sum(&words), count * (count - 1) / 2, "{count}");
        }
    }
}
