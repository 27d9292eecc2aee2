//! macOS: sysctl.

use super::SystemReport;
use crate::{Cache, Caches, CpuIdentity, Vendor};
use std::ffi::CStr;

pub fn report() -> SystemReport {
    SystemReport {
        brand: text(c"machdep.cpu.brand_string"),
        caches: caches(),
        logical_cores: number(c"hw.logicalcpu").map(|count| count as u32),
        physical_cores: number(c"hw.physicalcpu").map(|count| count as u32),
        identity: number(c"hw.cpufamily").map(|family| CpuIdentity {
            vendor: Vendor::Apple,
            family: family as u32,
            model: number(c"hw.cpusubfamily").unwrap_or(0) as u32,
            stepping: 0,
        }),
    }
}

/// macOS has no tiles on Intel Macs.
#[cfg(target_arch = "x86_64")]
pub fn grant_tile_data() -> bool {
    false
}

/// The performance cores' caches (`perflevel0`), else the only cores'.
fn caches() -> Caches {
    let line_bytes = number(c"hw.cachelinesize").unwrap_or(64) as u32;
    let cache = |names: [&CStr; 2], shared_by: Option<u64>| {
        let size_bytes = names.into_iter().find_map(number).filter(|&size| size > 0)?;
        Some(Cache { size_bytes, line_bytes, shared_by: shared_by.unwrap_or(1).max(1) as u32 })
    };
    Caches {
        l1d: cache([c"hw.perflevel0.l1dcachesize", c"hw.l1dcachesize"], None),
        l2: cache([c"hw.perflevel0.l2cachesize", c"hw.l2cachesize"], number(c"hw.perflevel0.cpusperl2")),
        l3: cache([c"hw.perflevel0.l3cachesize", c"hw.l3cachesize"], number(c"hw.logicalcpu")),
    }
}

/// The bytes of a sysctl value.
fn bytes(name: &CStr) -> Option<Vec<u8>> {
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

fn number(name: &CStr) -> Option<u64> {
    let value = bytes(name)?;
    match value.len() {
        4 => Some(u32::from_ne_bytes(value.try_into().ok()?).into()),
        8 => Some(u64::from_ne_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

fn text(name: &CStr) -> Option<String> {
    let value = bytes(name)?;
    Some(CStr::from_bytes_until_nul(&value).ok()?.to_string_lossy().trim().to_owned())
}
