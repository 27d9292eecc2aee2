//! macOS: sysctl.

use std::ffi::CString;

use super::{SystemReport, sysctl};

pub fn report() -> SystemReport {
    sysctl::report(bytes)
}

/// macOS has no tiles on Intel Macs.
#[cfg(target_arch = "x86_64")]
pub fn grant_tile_data() -> bool {
    false
}

/// The bytes of a sysctl value.
fn bytes(name: &str) -> Option<Vec<u8>> {
    let name = CString::new(name).ok()?;
    let mut length = 0;
    // SAFETY: `name` is a C string; with a null buffer sysctl only writes the value's length to `length`.
    let asked = unsafe {
        libc::sysctlbyname(name.as_ptr(), std::ptr::null_mut(), &raw mut length, std::ptr::null_mut(), 0)
    };
    let mut value = vec![0u8; if asked == 0 { length } else { return None }];
    // SAFETY: `value` has `length` writable bytes, and sysctl writes no more than `length`, which it updates.
    let read = unsafe {
        let buffer = value.as_mut_ptr().cast();
        libc::sysctlbyname(name.as_ptr(), buffer, &raw mut length, std::ptr::null_mut(), 0)
    };
    value.truncate(length);
    (read == 0).then_some(value)
}
