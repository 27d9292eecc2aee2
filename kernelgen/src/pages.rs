//! Memory for weights: many blocks in one mapping, whose pages are large where the system has such. With pages of 4 KiB a
//! processor spends a tenth of its time and more looking up where they are.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::MmapMut;

/// Bytes of a mapping that is shared. Only what is written to takes memory.
const REGION: usize = 64 << 20;
/// Blocks larger than this have a mapping of their own.
const LARGE: usize = 16 << 20;
/// Where blocks begin: at multiples of a small page.
const ALIGNMENT: usize = 4096;

/// Numbers, or arrays of them.
///
/// # Safety
/// Bytes that are all zero are a value of the type, it owns nothing, and its alignment divides 4096.
pub(crate) unsafe trait Plain: Copy + Send + Sync {}

// SAFETY: a byte.
unsafe impl Plain for u8 {}

/// A mapping, handed out from its beginning on, and never twice.
#[derive(Debug)]
struct Region {
    /// Never looked at: its bytes belong to the blocks.
    _pages: MmapMut,
    base: NonNull<u8>,
    used: Mutex<usize>,
    bytes: usize,
}

// SAFETY: `base` points into the mapping that the region owns, and is only used to make blocks, whose bytes are theirs alone.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// The region that small blocks come from at present, as long as one of them lives.
static CURRENT: Mutex<Weak<Region>> = Mutex::new(Weak::new());

impl Region {
    fn new(bytes: usize) -> io::Result<Arc<Self>> {
        let mut pages = MmapMut::map_anon(bytes)?;
        #[cfg(target_os = "linux")]
        if let Err(error) = pages.advise(memmap2::Advice::HugePage) {
            tracing::debug!(name: "SmallPages", %error, "no large pages");
        }
        let base = NonNull::new(pages.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Arc::new(Self { _pages: pages, base, used: Mutex::new(0), bytes }))
    }

    /// Where the next `bytes` bytes begin; `None` when so many are not left.
    fn take(&self, bytes: usize) -> Option<NonNull<u8>> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, end) = (*used, used.checked_add(bytes)?);
        if end > self.bytes {
            return None;
        }
        *used = end.next_multiple_of(ALIGNMENT);
        // SAFETY: `start` is at most `end`, which lies within the mapping.
        Some(unsafe { self.base.add(start) })
    }
}

/// A block of memory, at first all zeros.
pub(crate) struct Pages<T: Plain> {
    start: NonNull<T>,
    length: usize,
    _region: Arc<Region>,
}

// SAFETY: the block's memory is its own, and lives as long as the region that it holds on to.
unsafe impl<T: Plain> Send for Pages<T> {}
// SAFETY: as above; sharing gives only shared references to what may be shared.
unsafe impl<T: Plain> Sync for Pages<T> {}

impl<T: Plain> Pages<T> {
    /// `length` zeros.
    ///
    /// # Errors
    /// When the operating system has no memory left.
    pub(crate) fn zeroed(length: usize) -> io::Result<Self> {
        let bytes = length.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let (start, region) = if bytes > LARGE { Self::alone(bytes)? } else { Self::among_others(bytes)? };
        Ok(Self { start: start.cast(), length, _region: region })
    }

    fn alone(bytes: usize) -> io::Result<(NonNull<u8>, Arc<Region>)> {
        let region = Region::new(bytes)?;
        Ok((region.take(bytes).ok_or(io::ErrorKind::OutOfMemory)?, region))
    }

    fn among_others(bytes: usize) -> io::Result<(NonNull<u8>, Arc<Region>)> {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let region = current.upgrade();
        if let Some((start, region)) = region.and_then(|region| Some((region.take(bytes)?, region))) {
            return Ok((start, region));
        }
        let region = Region::new(REGION)?;
        *current = Arc::downgrade(&region);
        Ok((region.take(bytes).ok_or(io::ErrorKind::OutOfMemory)?, region))
    }
}

impl<T: Plain> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `length` values from `start` on lie within the region (`Region::take`), which lives as long as `self`; they
        // were zeros, which are values of a `Plain` type, and only this block reads and writes them. A region begins at a
        // page and blocks at multiples of `ALIGNMENT`, which the type's alignment divides.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T: Plain> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T: Plain> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} bytes)", size_of_val(&**self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of many sizes, written by many threads at once, stay apart.
    #[test]
    fn blocks_are_apart_and_zero_at_first() {
        let mut blocks: Vec<Pages<u8>> = (0..200)
            .map(|i| Pages::zeroed([0, 1, 4095, 4096, 4097, LARGE, LARGE + 1][i % 7]).unwrap())
            .collect();
        std::thread::scope(|scope| {
            for (block, mark) in blocks.iter_mut().zip(1..) {
                assert!(block.as_ptr().addr().is_multiple_of(ALIGNMENT));
                let end = block.len().min(8192);
                scope.spawn(move || {
                    assert!(block.iter().step_by(511).all(|&byte| byte == 0));
                    block[..end].fill(mark);
                });
            }
        });
        for (block, mark) in blocks.iter().zip(1..) {
            assert!(block[..block.len().min(8192)].iter().all(|&byte| byte == mark));
        }
    }

    #[test]
    fn too_much_is_an_error() {
        assert!(Pages::<u8>::zeroed(usize::MAX).is_err());
        assert!(Pages::<u8>::zeroed(usize::MAX / 2).is_err());
    }
}
