//! Linux: sysfs and /proc/cpuinfo.

use super::{SystemReport, sysfs, text};
use crate::Caches;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

const CPU_FOLDER: &str = "/sys/devices/system/cpu";

pub fn report() -> SystemReport {
    let online = read(&Path::new(CPU_FOLDER).join("online")).and_then(|list| text::cpu_list(&list));
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    SystemReport {
        brand: text::cpuinfo_field(&cpuinfo, "model name").map(str::to_owned),
        caches: caches(online.as_deref().and_then(|cpus| cpus.first().copied()).unwrap_or(0)),
        logical_cores: online.as_ref().map(|cpus| cpus.len() as u32),
        physical_cores: online.as_deref().and_then(physical_cores),
        identity: text::arm_identity(&cpuinfo),
        features: text::arm_features(&cpuinfo),
    }
}

/// Whether the kernel lets this process use tile data. It is asked once; its answer holds for every thread of the
/// process, those to come included. (It refuses while some thread has an alternate signal stack without room for tiles,
/// so it is best asked early.)
#[cfg(target_arch = "x86_64")]
pub fn grant_tile_data() -> bool {
    static GRANTED: OnceLock<bool> = OnceLock::new();
    *GRANTED.get_or_init(request_tile_data)
}

#[cfg(target_arch = "x86_64")]
fn request_tile_data() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` of Linux's asm/prctl.h.
    const REQUEST_PERMISSION: libc::c_int = 0x1023;
    /// `XFEATURE_XTILEDATA`, the state component that is off until asked for.
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: this arch_prctl request takes two integers and no pointer; a kernel that does not know it, or a
    // processor without tiles, answers with an error and changes nothing.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|content| content.trim().to_owned())
}

/// The data caches of the logical core `cpu`.
fn caches(cpu: u32) -> Caches {
    let folder = Path::new(CPU_FOLDER).join(format!("cpu{cpu}/cache"));
    sysfs::caches(|path| read(&folder.join(path)))
}

/// Distinct sets of sibling threads.
fn physical_cores(online: &[u32]) -> Option<u32> {
    let siblings = |cpu| read(&Path::new(CPU_FOLDER).join(format!("cpu{cpu}/topology/thread_siblings_list")));
    let distinct: Option<BTreeSet<String>> = online.iter().map(siblings).collect();
    distinct.map(|sets| sets.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_holds_together() {
        let report = report();
        if let (Some(logical), Some(physical)) = (report.logical_cores, report.physical_cores) {
            assert!(physical >= 1 && physical <= logical);
        }
        for cache in [report.caches.l1d, report.caches.l2, report.caches.l3].into_iter().flatten() {
            assert!(cache.size_bytes >= 1024 && cache.line_bytes >= 16 && cache.shared_by >= 1);
        }
    }
}
