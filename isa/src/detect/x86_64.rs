//! x86-64: CPUID, with the operating system filling in what CPUID does not say.

use super::{SystemReport, system};
use crate::{Arch, Cache, Caches, Feature, FeatureSet, HardwareCaps, Vendor};
use raw_cpuid::{CacheType, CpuId, CpuIdReaderNative, ExtendedFeatures, FeatureInfo, TopologyType};

type Cpuid = CpuId<CpuIdReaderNative>;
/// Features with the bit of a leaf `L` that announces each.
type Bits<L> = [(Feature, fn(&L) -> bool)];

pub fn detect() -> HardwareCaps {
    let cpuid = CpuId::new();
    let system = system::report();
    let logical_cores = system.logical_cores();
    let identity = cpuid.get_feature_info();
    HardwareCaps {
        arch: Arch::X86_64,
        vendor: vendor(&cpuid),
        brand: brand(&cpuid, &system),
        family: identity.as_ref().map_or(0, |info| info.family_id().into()),
        model: identity.as_ref().map_or(0, |info| info.model_id().into()),
        stepping: identity.as_ref().map_or(0, |info| info.stepping_id().into()),
        features: features(&cpuid),
        caches: caches(&cpuid, &system, logical_cores),
        logical_cores,
        physical_cores: system
            .physical_cores
            .unwrap_or_else(|| logical_cores.div_ceil(threads_per_core(&cpuid)))
            .clamp(1, logical_cores),
    }
}

fn vendor(cpuid: &Cpuid) -> Vendor {
    match cpuid.get_vendor_info().as_ref().map(raw_cpuid::VendorInfo::as_str) {
        Some("GenuineIntel") => Vendor::Intel,
        Some("AuthenticAMD") => Vendor::Amd,
        _ => Vendor::Other,
    }
}

fn brand(cpuid: &Cpuid, system: &SystemReport) -> String {
    let own = cpuid.get_processor_brand_string().map(|brand| brand.as_str().trim().to_owned());
    own.filter(|brand| !brand.is_empty()).or_else(|| system.brand.clone()).unwrap_or_default()
}

/// Where leaf 1 says it.
const BASIC: &Bits<FeatureInfo> = &[
    (Feature::Sse2, FeatureInfo::has_sse2),
    (Feature::Sse3, FeatureInfo::has_sse3),
    (Feature::Ssse3, FeatureInfo::has_ssse3),
    (Feature::Sse41, FeatureInfo::has_sse41),
    (Feature::Sse42, FeatureInfo::has_sse42),
    (Feature::Popcnt, FeatureInfo::has_popcnt),
    (Feature::Avx, FeatureInfo::has_avx),
    (Feature::Fma, FeatureInfo::has_fma),
    (Feature::F16c, FeatureInfo::has_f16c),
];

/// Where leaf 7 says it.
const EXTENDED: &Bits<ExtendedFeatures> = &[
    (Feature::Bmi1, ExtendedFeatures::has_bmi1),
    (Feature::Bmi2, ExtendedFeatures::has_bmi2),
    (Feature::Avx2, ExtendedFeatures::has_avx2),
    (Feature::AvxVnni, ExtendedFeatures::has_avx_vnni),
    (Feature::Avx512F, ExtendedFeatures::has_avx512f),
    (Feature::Avx512Bw, ExtendedFeatures::has_avx512bw),
    (Feature::Avx512Vl, ExtendedFeatures::has_avx512vl),
    (Feature::Avx512Dq, ExtendedFeatures::has_avx512dq),
    (Feature::Avx512Vbmi, ExtendedFeatures::has_avx512vbmi),
    (Feature::Avx512Vnni, ExtendedFeatures::has_avx512vnni),
    (Feature::Avx512Bitalg, ExtendedFeatures::has_avx512bitalg),
    (Feature::Avx512Vpopcntdq, ExtendedFeatures::has_avx512vpopcntdq),
    (Feature::AmxTile, ExtendedFeatures::has_amx_tile),
    (Feature::AmxInt8, ExtendedFeatures::has_amx_int8),
];

fn features(cpuid: &Cpuid) -> FeatureSet {
    let basic = cpuid.get_feature_info();
    let extended = cpuid.get_extended_feature_info();
    let lzcnt = cpuid.get_extended_processor_and_feature_identifiers().is_some_and(|info| info.has_lzcnt());
    let from_basic = BASIC.iter().filter(|(_, has)| basic.as_ref().is_some_and(has)).map(|row| row.0);
    let from_extended =
        EXTENDED.iter().filter(|(_, has)| extended.as_ref().is_some_and(has)).map(|row| row.0);
    let claimed: FeatureSet =
        from_basic.chain(from_extended).chain(lzcnt.then_some(Feature::Lzcnt)).collect();
    usable(claimed, saved_state(basic.as_ref()), system::grant_tile_data)
}

/// Bits of XCR0, the register state that the operating system saves (Intel SDM volume 1, 13.3).
mod state {
    /// XMM and the upper halves of YMM.
    pub const AVX: u64 = 0b110;
    /// Mask registers, upper halves of ZMM0-15, and ZMM16-31, on top of AVX.
    pub const AVX512: u64 = 0b111 << 5 | AVX;
    /// Tile configuration and tile data.
    pub const AMX: u64 = 0b11 << 17;
}

/// XCR0, or nothing where the operating system does not use XSAVE.
fn saved_state(basic: Option<&FeatureInfo>) -> u64 {
    if !basic.is_some_and(FeatureInfo::has_oxsave) {
        return 0;
    }
    // SAFETY: OSXSAVE, checked above, says that XSAVE exists and that XGETBV may be executed at any privilege.
    unsafe { core::arch::x86_64::_xgetbv(0) }
}

/// What of `claimed` a program may use when the system saves the state `saved`. `grant_tile_data` is asked
/// only where tiles are possible at all.
fn usable(claimed: FeatureSet, saved: u64, grant_tile_data: impl FnOnce() -> bool) -> FeatureSet {
    let saves = |state: u64| saved & state == state;
    let avx = saves(state::AVX);
    let avx512 = saves(state::AVX512);
    let amx = claimed.contains(Feature::AmxTile) && saves(state::AMX) && grant_tile_data();
    let allowed = |feature: &Feature| match feature {
        Feature::Avx | Feature::Avx2 | Feature::Fma | Feature::F16c | Feature::AvxVnni => avx,
        Feature::Avx512F
        | Feature::Avx512Bw
        | Feature::Avx512Vl
        | Feature::Avx512Dq
        | Feature::Avx512Vbmi
        | Feature::Avx512Vnni
        | Feature::Avx512Bitalg
        | Feature::Avx512Vpopcntdq => avx512,
        Feature::AmxTile | Feature::AmxInt8 => amx,
        _ => true,
    };
    claimed.iter().filter(allowed).collect()
}

/// Leaf 4 (Intel) or 0x8000001D (AMD), level by level, else the operating system's word.
fn caches(cpuid: &Cpuid, system: &SystemReport, logical_cores: u32) -> Caches {
    let mut found = Caches::default();
    for cache in cpuid.get_cache_parameters().into_iter().flatten() {
        let sets = cache.sets() as u64 * cache.associativity() as u64;
        let described = Cache {
            size_bytes: sets * cache.physical_line_partitions() as u64 * cache.coherency_line_size() as u64,
            line_bytes: cache.coherency_line_size() as u32,
            // The leaf counts identifiers that could exist, which is often more than do.
            shared_by: (cache.max_cores_for_cache() as u32).clamp(1, logical_cores),
        };
        match (cache.level(), cache.cache_type()) {
            (1, CacheType::Data) => found.l1d = Some(described),
            (2, CacheType::Data | CacheType::Unified) => found.l2 = Some(described),
            (3, CacheType::Data | CacheType::Unified) => found.l3 = Some(described),
            _ => {}
        }
    }
    Caches {
        l1d: found.l1d.or(system.caches.l1d),
        l2: found.l2.or(system.caches.l2),
        l3: found.l3.or(system.caches.l3),
    }
}

/// Leaf 0xB, else AMD's 0x8000001E, else one.
fn threads_per_core(cpuid: &Cpuid) -> u32 {
    let levels = cpuid.get_extended_topology_info().into_iter().flatten();
    let mut threads = levels.filter(|level| level.level_type() == TopologyType::SMT);
    let from_topology = threads.next().map(|level| u32::from(level.processors()));
    let from_amd = || cpuid.get_processor_topology_info().map(|info| u32::from(info.threads_per_core()));
    from_topology.filter(|&count| count > 0).or_else(from_amd).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tier, recorded};

    macro_rules! assert_agrees {
        ($caps:ident: $($feature:ident $name:tt)*) => {$(
            assert_eq!($caps.has(Feature::$feature), std::is_x86_feature_detected!($name), $name);
        )*};
    }

    #[test]
    fn detection_agrees_with_the_standard_library() {
        let caps = HardwareCaps::detect();
        assert_agrees!(caps:
            Sse2 "sse2" Sse3 "sse3" Ssse3 "ssse3" Sse41 "sse4.1" Sse42 "sse4.2" Popcnt "popcnt" Bmi1 "bmi1"
            Bmi2 "bmi2" Lzcnt "lzcnt" Avx "avx" Avx2 "avx2" Fma "fma" F16c "f16c" AvxVnni "avxvnni"
            Avx512F "avx512f" Avx512Bw "avx512bw" Avx512Vl "avx512vl" Avx512Dq "avx512dq"
            Avx512Vbmi "avx512vbmi" Avx512Vnni "avx512vnni" Avx512Bitalg "avx512bitalg"
            Avx512Vpopcntdq "avx512vpopcntdq");
    }

    #[test]
    fn cpuid_and_the_system_tell_one_story() {
        let (caps, system) = (HardwareCaps::detect(), system::report());
        let sizes = |caches: Caches| [caches.l1d, caches.l2].map(|cache| cache.map(|cache| cache.size_bytes));
        for (ours, theirs) in sizes(caps.caches).into_iter().zip(sizes(system.caches)) {
            assert!(ours == theirs || theirs.is_none(), "{ours:?} and {theirs:?}");
        }
        assert!(caps.physical_cores >= 1 && caps.physical_cores <= caps.logical_cores);
        assert!(threads_per_core(&CpuId::new()) >= 1);
    }

    #[test]
    fn unsaved_state_takes_features_away() {
        let claimed = recorded::by_name("sapphire-rapids").unwrap().features;
        let tier = |saved, granted| Tier::of(usable(claimed, saved, || granted));
        assert_eq!(tier(0, true), Tier::Portable);
        assert_eq!(tier(state::AVX, true), Tier::AvxVnni);
        assert_eq!(tier(state::AVX512, true), Tier::Avx512Vnni);
        assert_eq!(tier(state::AVX512 | state::AMX, false), Tier::Avx512Vnni);
        assert_eq!(tier(state::AVX512 | state::AMX, true), Tier::Amx);
    }

    #[test]
    fn tiles_are_asked_for_only_where_they_exist() {
        let claimed = recorded::by_name("haswell").unwrap().features;
        assert_eq!(usable(claimed, u64::MAX, || panic!("no tiles here")), claimed);
    }
}
