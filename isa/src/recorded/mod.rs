//! Real machines, recorded, so that selection can be tested for processors that are not here.
//!
//! Each file beside this one is a [`HardwareCaps`] as detection would give it on that machine, with the core
//! counts of one common part of the generation. `zen3` was detected; the others were written from what is known
//! of the parts and not compared with one, so they serve to test selection and are no reference.

use crate::HardwareCaps;

macro_rules! machines {
    ($($name:literal)*) => {
        /// Name and content of each file in this folder.
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!($name, ".json"))),)*];
    };
}

machines! {
    "bare-x86-64"
    "haswell"
    "skylake-x"
    "ice-lake"
    "alder-lake"
    "sapphire-rapids"
    "zen2"
    "zen3"
    "zen4"
    "apple-m1"
    "graviton3"
    "raspberry-pi-4"
    "browser"
    "relaxed-browser"
}

/// Every recorded machine with its name.
pub fn all() -> Vec<(&'static str, HardwareCaps)> {
    FILES.iter().map(|&(name, json)| (name, read(name, json))).collect()
}

/// The recorded machine of that name.
///
/// ```
/// let m1 = craftsman_isa::recorded::by_name("apple-m1").unwrap();
/// assert_eq!(m1.caches.l1d.unwrap().line_bytes, 128);
/// ```
pub fn by_name(name: &str) -> Option<HardwareCaps> {
    FILES.iter().find(|file| file.0 == name).map(|&(name, json)| read(name, json))
}

/// The names that [`by_name`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.0)
}

fn read(name: &str, json: &str) -> HardwareCaps {
    // The files are part of the program and a test reads each of them.
    serde_json::from_str(json).unwrap_or_else(|error| panic!("recorded/{name}.json: {error}"))
}

/// What every processor of an architecture has.
#[cfg(test)]
pub(crate) fn baseline(arch: crate::Arch) -> crate::Feature {
    match arch {
        crate::Arch::X86_64 => crate::Feature::Sse2,
        crate::Arch::Wasm32 => crate::Feature::Simd128,
        _ => crate::Feature::Neon,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tier;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_in_the_folder_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/recorded");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let json = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let in_folder: BTreeSet<_> = json.map(|path| path.file_stem().unwrap().to_owned()).collect();
        assert_eq!(in_folder, names().map(Into::into).collect());
    }

    #[test]
    fn each_machine_is_of_its_tier() {
        let expected = [
            ("bare-x86-64", Tier::Portable),
            ("haswell", Tier::Avx2),
            ("skylake-x", Tier::Avx512),
            ("ice-lake", Tier::Avx512Vnni),
            ("alder-lake", Tier::AvxVnni),
            ("sapphire-rapids", Tier::Amx),
            ("zen2", Tier::Avx2),
            ("zen3", Tier::Avx2),
            ("zen4", Tier::Avx512Vnni),
            ("apple-m1", Tier::Portable),
            ("graviton3", Tier::Portable),
            ("raspberry-pi-4", Tier::Portable),
            ("browser", Tier::Portable),
            ("relaxed-browser", Tier::Portable),
        ];
        let recorded: Vec<_> = all().into_iter().map(|(name, caps)| (name, caps.tier())).collect();
        assert_eq!(recorded, expected);
        assert!(by_name("itanium").is_none());
    }

    #[test]
    fn figures_are_plausible() {
        for (name, caps) in all() {
            assert!(caps.physical_cores >= 1 && caps.physical_cores <= caps.logical_cores, "{name}");
            assert!(caps.features.iter().all(|feature| feature.row().arch == caps.arch), "{name}");
            assert!(caps.has(baseline(caps.arch)), "{name}");
            let levels: Vec<_> =
                [caps.caches.l1d, caps.caches.l2, caps.caches.l3].into_iter().flatten().collect();
            assert!(levels.is_sorted_by_key(|cache| cache.size_bytes), "{name}");
            assert!(levels.is_sorted_by_key(|cache| cache.shared_by), "{name}");
            for cache in levels {
                assert!(cache.size_bytes % u64::from(cache.line_bytes) == 0, "{name}");
                assert!(cache.shared_by >= 1 && cache.shared_by <= caps.logical_cores, "{name}");
            }
        }
    }

    #[test]
    fn files_are_as_serialisation_writes_them() {
        for ((name, caps), (_, json)) in all().into_iter().zip(FILES) {
            assert_eq!(format!("{}\n", serde_json::to_string_pretty(&caps).unwrap()), *json, "{name}");
        }
    }
}
