//! aarch64: all is asked of the operating system, and the features of the standard library where it says nothing.

use super::system;
use crate::{Arch, CpuIdentity, Feature, FeatureSet, HardwareCaps, Vendor};
use std::arch::is_aarch64_feature_detected as has;

pub fn detect() -> HardwareCaps {
    let system = system::report();
    let logical_cores = system.logical_cores();
    let unknown = CpuIdentity { vendor: Vendor::Other, family: 0, model: 0, stepping: 0 };
    let identity = system.identity.unwrap_or(unknown);
    HardwareCaps {
        arch: Arch::Aarch64,
        vendor: identity.vendor,
        brand: system.brand.unwrap_or_default(),
        family: identity.family,
        model: identity.model,
        stepping: identity.stepping,
        features: system.features.unwrap_or_else(features),
        caches: system.caches,
        logical_cores,
        physical_cores: system.physical_cores.unwrap_or(logical_cores).clamp(1, logical_cores),
    }
}

fn features() -> FeatureSet {
    let table = [
        (Feature::Neon, has!("neon")),
        (Feature::Dotprod, has!("dotprod")),
        (Feature::I8mm, has!("i8mm")),
        (Feature::Sve, has!("sve")),
    ];
    table.into_iter().filter(|row| row.1).map(|row| row.0).collect()
}
