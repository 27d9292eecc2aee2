//! Kernels that are emitted and dropped leave nothing behind. A program of its own: other tests map memory too.

use std::fs;

use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{Batch, ExecutableMemory, KernelKey, candidates, emit};

const CYCLES: usize = 10_000;
/// Pages that may come and go with the heap; a leak of one page a cycle would be forty times as much.
const SLACK: usize = 256;

/// Mapped pages and resident ones.
fn pages() -> Option<[usize; 2]> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut numbers = text.split(' ').map_while(|number| number.parse().ok());
    Some([numbers.next()?, numbers.next()?])
}

#[test]
fn emitted_and_dropped_kernels_leak_nothing() {
    if pages().is_none() {
        println!("skipped: this system does not say how many pages are mapped");
        return;
    }
    let caps = HardwareCaps::detect();
    let key = KernelKey::new(16, 8, Batch::Decode, craftsman_golden::Granularity::Tensor);
    // The fewest instructions that the best backend has.
    let all = candidates(&caps, &key);
    let best = all.iter().filter(|config| config.backend == all[0].backend);
    let config = *best.min_by_key(|config| (config.tile.panels, config.tile.unroll)).unwrap();
    let cycles = |count: usize| {
        for _ in 0..count {
            ExecutableMemory::new(&emit(&key, &config, &caps).unwrap().product).unwrap();
        }
        pages().unwrap()
    };
    let [mapped, resident] = cycles(100);
    let [mapped_after, resident_after] = cycles(CYCLES);
    let grown = [mapped_after.saturating_sub(mapped), resident_after.saturating_sub(resident)];
    assert!(grown.iter().all(|&pages| pages < SLACK), "{CYCLES} cycles of {config} left {grown:?} pages");
}
