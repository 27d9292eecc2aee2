//! Memory to be read beside something else that is timed.

use craftsman_isa::HardwareCaps;

use super::read::{ReadProbe, Walk, buffer};
use crate::code::EmitError;
use crate::pages::Pages;

/// Hardware prefetchers follow several streams; these do well on every level where it was measured.
const WALK: Walk = Walk { streams: 4, prefetch: 2048 };

/// A stretch of memory and the emitted loop that reads it: what a kernel reaches of its rate, both timed in turn, is its
/// share of the bandwidth.
///
/// ```
/// use craftsman_isa::HardwareCaps;
/// let stretch = craftsman_kernelgen::roofline::Stretch::new(&HardwareCaps::detect(), 1 << 20)?;
/// let start = std::time::Instant::now();
/// stretch.read();
/// println!("{:.1} GB/s", stretch.bytes() as f64 / start.elapsed().as_secs_f64() / 1e9);
/// # Ok::<(), craftsman_kernelgen::EmitError>(())
/// ```
#[derive(Debug)]
pub struct Stretch {
    probe: ReadProbe,
    memory: Pages<u8>,
}

impl Stretch {
    /// A stretch of at most `bytes` bytes, little less.
    ///
    /// # Errors
    /// When there is no memory, no loop can be emitted here, or `bytes` is less than half a kilobyte.
    pub fn new(caps: &HardwareCaps, bytes: usize) -> Result<Self, EmitError> {
        let probe = ReadProbe::new(caps, bytes, WALK)?;
        Ok(Self { memory: buffer(probe.bytes())?, probe })
    }

    /// Bytes that [`read`](Self::read) reads.
    pub fn bytes(&self) -> usize {
        self.probe.bytes()
    }

    /// Reads all of it once.
    pub fn read(&self) {
        self.probe.run(&self.memory, 1);
    }
}
