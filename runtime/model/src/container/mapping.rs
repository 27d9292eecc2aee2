//! The bytes of a model file: a read-only mapping, or memory that a test or a fuzzer owns.

use std::fmt;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::ModelError;

enum Source {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

/// A shared, immutable range of a file's bytes. Cloning copies no data.
#[derive(Clone)]
pub struct Bytes {
    source: Arc<Source>,
    range: Range<usize>,
}

impl Bytes {
    /// Maps a whole file. The file must not be shortened while it is in use: the operating system would then
    /// end the process at the next read behind its new end, as for every program that maps files.
    pub fn map(path: &Path) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(|error| ModelError::io(path, error))?;
        let length = file.metadata().map_err(|error| ModelError::io(path, error))?.len();
        // An empty file cannot be mapped on every system; it is refused by its reader like any other short file.
        if length == 0 {
            return Ok(Self::from(Vec::new()));
        }
        // SAFETY: the mapping is read-only and private to this process, and nothing here writes to the file.
        // Another process that changes the file can change the bytes seen, never their number (see above): all
        // lengths and offsets are checked against `Mmap::len` when they are read, and are kept, not read again.
        #[expect(unsafe_code, reason = "mapping a file is the one unsafe operation of this crate")]
        let map = unsafe { Mmap::map(&file) }.map_err(|error| ModelError::io(path, error))?;
        let range = 0..map.len();
        Ok(Self { source: Arc::new(Source::Mapped(map)), range })
    }

    /// The part `range` of these bytes, or `None` if it leaves them.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        self.get(range.clone())?;
        let start = self.range.start;
        Some(Self { source: Arc::clone(&self.source), range: start + range.start..start + range.end })
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(data: Vec<u8>) -> Self {
        let range = 0..data.len();
        Self { source: Arc::new(Source::Owned(data)), range }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let whole: &[u8] = match &*self.source {
            Source::Mapped(map) => map,
            Source::Owned(data) => data,
        };
        &whole[self.range.clone()]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}
