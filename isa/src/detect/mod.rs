//! Asking the processor and the operating system. The only place that knows what it was compiled for.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), path = "unknown.rs")]
mod processor;

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(target_os = "macos", path = "macos.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "macos")), path = "elsewhere.rs")]
mod system;

// What the two sides do not use on every target is still compiled and tested on every target.
#[allow(dead_code)]
mod sysctl;
#[allow(dead_code)]
mod sysfs;
#[allow(dead_code)]
mod text;

pub use processor::detect;

/// What an operating system may say about the processor. Every part may be unknown.
#[derive(Default)]
struct SystemReport {
    brand: Option<String>,
    caches: crate::Caches,
    logical_cores: Option<u32>,
    physical_cores: Option<u32>,
    /// Vendor, family, model, stepping as [`crate::HardwareCaps`] has them; asked for on aarch64 only.
    #[allow(dead_code)]
    identity: Option<crate::CpuIdentity>,
    /// What it lists of an aarch64 processor's features; asked for there only.
    #[allow(dead_code)]
    features: Option<crate::FeatureSet>,
}

impl SystemReport {
    /// Hardware threads: what the system says, or what this process may use.
    fn logical_cores(&self) -> u32 {
        let usable = || std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        self.logical_cores.unwrap_or_else(usable).max(1)
    }
}
