//! Any other architecture: no vector features, and what the operating system says of caches and cores.

use super::system;
use crate::{Arch, FeatureSet, HardwareCaps, Vendor};

pub fn detect() -> HardwareCaps {
    let system = system::report();
    let logical_cores = system.logical_cores();
    HardwareCaps {
        arch: if cfg!(target_arch = "riscv64") { Arch::Riscv64 } else { Arch::Other },
        vendor: Vendor::Other,
        brand: system.brand.unwrap_or_default(),
        family: 0,
        model: 0,
        stepping: 0,
        features: FeatureSet::EMPTY,
        caches: system.caches,
        logical_cores,
        physical_cores: system.physical_cores.unwrap_or(logical_cores).clamp(1, logical_cores),
    }
}
