//! The ceiling of byte products: a loop of nothing else, in the instructions of the best backend.
//!
//! ```text
//! repeat:  w = load;  for each sum:  sum += dot(w, x[sum])
//! ```
//! There are enough independent sums to hide an instruction's latency, and one load a round, so that no compiler can
//! move the products out of the loop. What a kernel reaches of this rate is what unpacking and memory leave it.

use std::mem::MaybeUninit;

use craftsman_isa::HardwareCaps;

use crate::backend;
use crate::code::EmitError;
use crate::host;
use crate::memory::ExecutableMemory;
use crate::vocabulary::{Accumulation, Arguments, Emitter, Field, SCRATCH_BYTES, Scratch};

/// Rounds of one run: some milliseconds.
const ROUNDS: usize = 1 << 20;
/// Registers that are neither a sum nor an activation: the weights, and what a backend needs for itself.
const OTHER_REGISTERS: usize = 4;

/// An emitted loop of byte products, for timing.
///
/// ```
/// use craftsman_isa::HardwareCaps;
/// let probe = craftsman_kernelgen::PeakProbe::new(&HardwareCaps::detect())?;
/// let start = std::time::Instant::now();
/// probe.run();
/// println!("{}: {:.0} products/s", probe.backend(), probe.products() as f64 / start.elapsed().as_secs_f64());
/// # Ok::<(), craftsman_kernelgen::EmitError>(())
/// ```
#[derive(Debug)]
pub struct PeakProbe {
    backend: &'static str,
    products: u64,
    memory: ExecutableMemory,
}

impl PeakProbe {
    /// Emits the loop for the best backend of `caps`, or rather of what this processor has of it.
    ///
    /// # Errors
    /// When no backend can be emitted here, or there is no executable memory.
    pub fn new(caps: &HardwareCaps) -> Result<Self, EmitError> {
        let caps = host::within(caps.clone());
        let backend = backend::ALL.iter().find(|backend| backend.runs_on(&caps));
        let backend = backend.ok_or_else(|| EmitError::new("no backend runs here"))?;
        let sums = (backend.registers() - OTHER_REGISTERS) / 2;
        let code = backend.compile(&caps, &mut |emitter| say(emitter, sums))?;
        let memory = ExecutableMemory::new(&code.bytes)?;
        let products = ROUNDS * sums * backend.lanes() * 4;
        Ok(Self { backend: backend.name(), products: products as u64, memory })
    }

    /// The backend whose instructions are timed.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// How many products of two bytes one [`run`](Self::run) makes and adds.
    pub fn products(&self) -> u64 {
        self.products
    }

    /// Runs the loop once.
    pub fn run(&self) {
        let mut scratch = MaybeUninit::<Scratch>::zeroed();
        let mut arguments = Arguments { scratch: scratch.as_mut_ptr().cast(), ..Arguments::default() };
        // SAFETY: `new` emitted the code for a backend that this processor can run. It reads and writes the work space
        // only, the first `2 * sums + 1` vectors of it (`say`), which `say` asserts to be within SCRATCH_BYTES.
        unsafe { self.memory.call(&mut arguments) }
    }
}

/// Says the loop. The work space holds the weights, an activation a sum, and takes the sums.
fn say(e: &mut dyn Emitter, sums: usize) {
    let bytes = e.lanes() as i64 * 4;
    assert!((2 * sums as i64 + 1) * bytes <= SCRATCH_BYTES as i64, "the work space holds every vector");
    let scratch = e.pointer(Field::Scratch);
    let w = e.vector();
    let x: Vec<_> = (0..sums).map(|_| e.vector()).collect();
    let totals: Vec<_> = (0..sums).map(|_| e.vector()).collect();
    for (at, (&x, &total)) in (1..).zip(x.iter().zip(&totals)) {
        e.load(x, scratch, at * bytes);
        e.zero(total);
    }
    e.begin_repeat(ROUNDS, "products");
    e.load(w, scratch, 0);
    for (&x, &total) in x.iter().zip(&totals) {
        match e.accumulation() {
            Accumulation::Pairs => e.dot_pairs(total, w, x),
            Accumulation::Direct | Accumulation::DirectSmall => e.dot(total, w, x),
        }
    }
    e.end_repeat();
    for (at, &total) in (1 + sums as i64..).zip(&totals) {
        e.store(scratch, at * bytes, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craftsman_isa::Tier;

    #[test]
    fn every_tier_that_runs_here_counts_its_products() {
        for tier in Tier::ALL {
            let probe = PeakProbe::new(&HardwareCaps::detect().with_max_tier(tier)).unwrap();
            probe.run();
            assert!(probe.products() >= ROUNDS as u64 * 16, "{tier}");
        }
    }
}
