//! Memory that kernels work in: aligned to cache lines, and reused.

use std::cell::RefCell;

/// Cache lines, and the widest vectors, begin at multiples of this.
const ALIGNMENT: usize = 64;

/// Bytes that begin at a multiple of 64.
#[derive(Debug, Default)]
pub(crate) struct AlignedBytes {
    buffer: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBytes {
    /// Makes it `length` bytes long. What it holds is then of no meaning.
    pub(crate) fn resize(&mut self, length: usize) {
        if self.buffer.len() < length + ALIGNMENT {
            self.buffer = vec![0; length + ALIGNMENT];
        }
        self.start = self.buffer.as_ptr().align_offset(ALIGNMENT);
        self.length = length;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..][..self.length]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..][..self.length]
    }
}

thread_local! {
    static WORK_SPACE: RefCell<AlignedBytes> = RefCell::default();
}

/// Lends this thread's work space to a call of emitted code, which calls nothing that would ask for it again.
pub(crate) fn with_work_space<R>(length: usize, call: impl FnOnce(*mut u8) -> R) -> R {
    WORK_SPACE.with_borrow_mut(|space| {
        space.resize(length);
        call(space.bytes_mut().as_mut_ptr())
    })
}
