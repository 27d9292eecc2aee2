//! The ceiling of byte products: a loop of nothing else, in the instructions of one backend.
//!
//! ```text
//! repeat:  w = load;  for each sum:  sum += dot(w, x[sum])
//! ```
//! There are enough independent sums to hide an instruction's latency, and one load a round, so that no compiler can
//! move the products out of the loop. Where there are tiles, products are those of whole tiles. What a kernel reaches of
//! this rate is what unpacking and memory leave it.

use craftsman_isa::HardwareCaps;

use super::probe::{Probe, best_backend};
use super::samples::Samples;
use crate::backend::Backend;
use crate::clock::drive;
use crate::code::EmitError;
use crate::vocabulary::{
    Accumulate, Accumulation, Binary, Emitter, Field, TileRegister, TileShape, Word, tiles,
};

/// Rounds of one run: some milliseconds.
const ROUNDS: usize = 1 << 20;
/// The same with tiles, whose products take some sixteen cycles.
const TILE_ROUNDS: usize = 1 << 17;
/// Tiles that are sums; the last two are the factors.
const TILE_SUMS: usize = tiles::REGISTERS - 2;
/// Registers that are neither a sum nor an activation: the weights, and what a backend needs for itself.
const OTHER_REGISTERS: usize = 4;

/// An emitted loop of byte products, for timing.
///
/// ```
/// use craftsman_isa::HardwareCaps;
/// let probe = craftsman_kernelgen::roofline::PeakProbe::new(&HardwareCaps::detect())?;
/// let rate = probe.measure(1, 3).expect("three samples");
/// println!("{}: {:.0} products a second", probe.backend(), rate.median);
/// # Ok::<(), craftsman_kernelgen::EmitError>(())
/// ```
#[derive(Debug)]
pub struct PeakProbe {
    backend: &'static str,
    products: u64,
    probe: Probe,
}

impl PeakProbe {
    /// Emits the loop for the best backend of `caps`, or rather of what this processor has of it.
    ///
    /// # Errors
    /// When no backend can be emitted here, or there is no executable memory.
    pub fn new(caps: &HardwareCaps) -> Result<Self, EmitError> {
        Self::on(best_backend(caps)?, caps)
    }

    /// Emits the loop for `backend`.
    ///
    /// # Errors
    /// When it does not run here, multiplies no bytes, or there is no executable memory.
    pub fn on(backend: &dyn Backend, caps: &HardwareCaps) -> Result<Self, EmitError> {
        let sums = (backend.registers() - OTHER_REGISTERS) / 2;
        let (probe, products) = if backend.says(Word::Tiles) {
            let probe = Probe::new(backend, caps, 0, &mut |emitter| say_tiles(emitter, TILE_ROUNDS))?;
            (probe, TILE_ROUNDS * TILE_SUMS * tiles::ROWS * tiles::ROW_BYTES * tiles::ROWS)
        } else {
            let probe = Probe::new(backend, caps, 0, &mut |emitter| say(emitter, sums))?;
            (probe, ROUNDS * sums * backend.lanes() * 4)
        };
        Ok(Self { backend: backend.name(), products: products as u64, probe })
    }

    /// The backend whose instructions are timed.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// How many products of two bytes one [`run`](Self::run) makes and adds.
    pub fn products(&self) -> u64 {
        self.products
    }

    /// Runs the loop once, for some milliseconds.
    pub fn run(&self) {
        self.probe.run(&[], 1);
    }

    /// Products of two bytes a second, multiplied and added, that `threads` threads make together; `samples` times,
    /// after one that wakes the processor. `None` of no samples.
    pub fn measure(&self, threads: usize, samples: usize) -> Option<Samples> {
        let pass = |_| {
            let seconds = drive(vec![(); threads], 1, |(), _| self.run());
            self.products as f64 * threads as f64 / seconds
        };
        pass(0);
        Samples::new((0..samples).map(pass).collect())
    }
}

/// Says the loop. The work space holds the weights, an activation a sum, and takes the sums.
fn say(e: &mut dyn Emitter, sums: usize) {
    let bytes = e.lanes() as i64 * 4;
    e.reserve_scratch((2 * sums + 1) * bytes as usize);
    let scratch = e.pointer(Field::Scratch);
    let (w, product) = (e.vector(), e.vector());
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
            Accumulation::Pairs => {
                e.binary(Binary::MulPairs, product, w, x);
                e.binary(Binary::Add16, total, total, product);
            }
            _ => e.accumulate(Accumulate::Dot, total, w, x),
        }
    }
    e.end_repeat();
    for (at, &total) in (1 + sums as i64..).zip(&totals) {
        e.store(scratch, at * bytes, total);
    }
}

/// Says the loop of products of tiles. The work space holds the factors, and takes the sums.
fn say_tiles(e: &mut dyn Emitter, rounds: usize) {
    e.reserve_scratch(tiles::ROWS * tiles::ROW_BYTES);
    let scratch = e.pointer(Field::Scratch);
    let [a, b] = [0, 1].map(|factor| TileRegister((TILE_SUMS + factor) as u32));
    let sums = || (0..TILE_SUMS as u32).map(TileRegister);
    let shape = TileShape { rows: tiles::ROWS, row_bytes: tiles::ROW_BYTES };
    if let Some(e) = e.tiles() {
        e.configure(&[shape; tiles::REGISTERS]);
        for factor in [a, b] {
            e.load_rows(factor, scratch, 0, tiles::ROW_BYTES);
        }
    }
    e.begin_repeat(rounds, "products of tiles");
    if let Some(e) = e.tiles() {
        sums().for_each(|sum| e.multiply(sum, a, b));
    }
    e.end_repeat();
    if let Some(e) = e.tiles() {
        sums().for_each(|sum| e.store_rows(scratch, 0, tiles::ROW_BYTES, sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend;
    use crate::simulate::{Access, Machine};
    use crate::vocabulary::Arguments;
    use craftsman_isa::recorded;

    #[test]
    fn every_backend_that_runs_here_counts_its_products() {
        let caps = HardwareCaps::detect();
        for backend in backend::ALL.iter().filter(|backend| backend.runs_on(&caps)) {
            let probe = PeakProbe::on(*backend, &caps).unwrap();
            assert_eq!(probe.backend(), backend.name());
            assert!(probe.products() >= ROUNDS as u64 * 16, "{}", backend.name());
            assert!(probe.measure(2, 1).unwrap().median > 0.0);
        }
    }

    #[test]
    fn a_backend_that_does_not_run_here_is_refused() {
        let bare = craftsman_isa::recorded::by_name("bare-x86-64").unwrap();
        let above = backend::ALL.iter().find(|backend| !backend.runs_on(&bare)).unwrap();
        assert!(PeakProbe::on(*above, &bare).is_err());
    }

    #[test]
    fn tiles_are_multiplied_as_often_as_is_counted() {
        let caps = recorded::by_name("sapphire-rapids").unwrap();
        let backend = backend::by_name("amx").unwrap();
        let code = backend.compile(&caps, &mut |e| say_tiles(e, 3)).unwrap();
        let mut machine = Machine::new();
        let (arguments, scratch) = (0x1000_u64, 0x2000_u64);
        let mut bytes = vec![0; size_of::<Arguments>()];
        bytes[Field::Scratch.offset() as usize..][..8].copy_from_slice(&scratch.to_ne_bytes());
        machine.map(arguments, bytes, Access::Read).unwrap();
        machine.map(scratch, vec![1; code.scratch], Access::ReadWrite).unwrap();
        let outcome = machine.run(&code.bytes, 0x10_0000, &[arguments]).unwrap();
        assert_eq!(outcome.count("tdpbsud"), 3 * TILE_SUMS as u64);
        // Three rounds of sixty-four products of ones.
        assert_eq!(machine.bytes(scratch).unwrap()[..4], (3 * 64_u32).to_ne_bytes());
    }
}
