//! An emitted loop that is run for its time: what a [`super::PeakProbe`] and a [`super::ReadProbe`] have in common.

use craftsman_isa::HardwareCaps;

use crate::backend::{self, Backend};
use crate::code::EmitError;
use crate::host;
use crate::memory::ExecutableMemory;
use crate::vocabulary::{Arguments, Emitter};

/// Code that reads the bytes it is given, if any, and its work space, and writes nothing but the work space.
#[derive(Debug)]
pub(super) struct Probe {
    memory: ExecutableMemory,
    /// Bytes that one run reads; the code never reads beyond them.
    reads: usize,
}

impl Probe {
    /// Emits what `say` says in the words of `backend`. The code keeps the promise of the type: it reads `reads` bytes
    /// at [`Field::Weights`](crate::vocabulary::Field::Weights) at most, and within the work space.
    ///
    /// # Errors
    /// When the backend does not run here, cannot say it, or there is no executable memory.
    pub(super) fn new(
        backend: &dyn Backend,
        caps: &HardwareCaps,
        reads: usize,
        say: &mut dyn FnMut(&mut dyn Emitter),
    ) -> Result<Self, EmitError> {
        let caps = host::within(caps.clone());
        if !backend.runs_on(&caps) {
            return Err(EmitError::new(format_args!("this processor cannot run {}", backend.name())));
        }
        let code = backend.compile(&caps, say)?;
        Ok(Self { memory: ExecutableMemory::new(&code)?, reads })
    }

    /// Runs it, `rounds` being what [`Field::Tokens`](crate::vocabulary::Field::Tokens) holds.
    ///
    /// # Panics
    /// When there is less to read than it reads: a bug in the caller.
    pub(super) fn run(&self, bytes: &[u8], rounds: usize) {
        assert!(bytes.len() >= self.reads, "{} bytes to read, not {}", self.reads, bytes.len());
        let mut arguments = Arguments { weights: bytes.as_ptr(), tokens: rounds, ..Arguments::default() };
        // SAFETY: `new` emitted the code for a backend that this processor can run. By the type's promise it reads
        // `reads` bytes at most, which the check above says are there, and stays within the work space that it
        // asked for.
        unsafe { self.memory.call(&mut arguments) }
    }
}

/// The best backend that runs here.
pub(super) fn best_backend(caps: &HardwareCaps) -> Result<&'static dyn Backend, EmitError> {
    let caps = host::within(caps.clone());
    let backend = backend::ALL.iter().find(|backend| backend.runs_on(&caps));
    backend.copied().ok_or_else(|| EmitError::new("no backend runs here"))
}
