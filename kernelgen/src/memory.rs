//! Executable memory: written first, executable after, never both; freed when dropped.
//!
//! macOS lets a program do that as long as it is not signed for the hardened runtime; one that is needs the entitlement
//! `com.apple.security.cs.allow-unsigned-executable-memory`, or kernels that were [written ahead of time](crate::aot).

use memmap2::{Mmap, MmapMut};

use crate::code::{Code, EmitError};
use crate::scratch::with_work_space;
use crate::vocabulary::Arguments;

/// One kernel's machine code in pages of its own, readable and executable but not writable.
#[derive(Debug)]
pub struct ExecutableMemory {
    pages: Mmap,
    length: usize,
    scratch: usize,
}

impl ExecutableMemory {
    /// Copies `code` into fresh pages and makes them executable.
    ///
    /// # Errors
    /// What the operating system says when it has no memory or forbids executable memory.
    pub fn new(code: &Code) -> Result<Self, EmitError> {
        Self::map(&code.bytes, code.scratch)
            .map_err(|error| EmitError::new(format_args!("no executable memory: {error}")))
    }

    fn map(code: &[u8], scratch: usize) -> std::io::Result<Self> {
        let mut pages = MmapMut::map_anon(code.len().max(1))?;
        pages[..code.len()].copy_from_slice(code);
        let pages = pages.make_exec()?;
        forget_instructions(&pages);
        Ok(Self { pages, length: code.len(), scratch })
    }

    /// The code as it lies in memory.
    pub fn code(&self) -> &[u8] {
        &self.pages[..self.length]
    }

    /// Enters the code at its first byte, with the work space that it asked for.
    ///
    /// # Safety
    /// The code must be a whole kernel as an [`Emitter`](crate::vocabulary::Emitter) makes it, for this processor, and
    /// `arguments` must satisfy it: every pointer but that of the work space valid for what the kernel's shapes say it
    /// reads and writes.
    pub unsafe fn call(&self, arguments: &mut Arguments) {
        with_work_space(self.scratch, |scratch| {
            arguments.scratch = scratch;
            // SAFETY: the caller promises that the bytes are a kernel, which is a function of this type, and valid
            // pointers; the work space is as long as the code asked for. The pages are executable (`new`) and live as
            // long as `self`.
            unsafe {
                let entry: Entry = std::mem::transmute(self.pages.as_ptr());
                entry(arguments);
            }
        });
    }
}

/// How kernels are called: one calling convention an architecture, whatever the operating system.
#[cfg(target_arch = "x86_64")]
type Entry = unsafe extern "sysv64" fn(*mut Arguments);
/// How kernels are called: one calling convention an architecture, whatever the operating system.
#[cfg(not(target_arch = "x86_64"))]
type Entry = unsafe extern "C" fn(*mut Arguments);

/// Makes the processor fetch what was written, and not what it fetched there before.
#[cfg(not(target_arch = "aarch64"))]
fn forget_instructions(_: &[u8]) {
    // x86 sees to it itself.
}

/// Makes the processor fetch what was written, and not what it fetched there before: caches of instructions and of data
/// know nothing of each other.
#[cfg(all(target_arch = "aarch64", not(target_os = "macos")))]
fn forget_instructions(pages: &[u8]) {
    use std::ffi::c_char;
    unsafe extern "C" {
        /// Of the compiler's run-time library.
        fn __clear_cache(begin: *mut c_char, end: *mut c_char);
    }
    let pages = pages.as_ptr_range();
    // SAFETY: the range is mapped; nothing is written.
    unsafe { __clear_cache(pages.start.cast_mut().cast(), pages.end.cast_mut().cast()) }
}

/// Makes the processor fetch what was written, and not what it fetched there before: caches of instructions and of data
/// know nothing of each other.
#[cfg(all(target_arch = "aarch64", target_os = "macos"))]
fn forget_instructions(pages: &[u8]) {
    use std::ffi::c_void;
    unsafe extern "C" {
        /// Of libSystem.
        fn sys_icache_invalidate(begin: *mut c_void, length: usize);
    }
    // SAFETY: the range is mapped; nothing is written.
    unsafe { sys_icache_invalidate(pages.as_ptr().cast_mut().cast(), pages.len()) }
}
