//! What macOS says of a processor, by the names of `sysctl`, as plain functions of what is read.

use super::SystemReport;
use crate::{Cache, Caches, CpuIdentity, Feature, FeatureSet, Vendor};

/// The report, from the bytes of the values that `read` knows.
pub fn report(read: impl Fn(&str) -> Option<Vec<u8>>) -> SystemReport {
    let values = Values(read);
    SystemReport {
        brand: values.text("machdep.cpu.brand_string"),
        caches: values.caches(),
        logical_cores: values.count("hw.logicalcpu"),
        physical_cores: values.count("hw.physicalcpu"),
        identity: values.number("hw.cpufamily").map(|family| CpuIdentity {
            vendor: Vendor::Apple,
            family: family as u32,
            model: values.number("hw.cpusubfamily").unwrap_or(0) as u32,
            stepping: 0,
        }),
        features: values.features(),
    }
}

struct Values<R>(R);

impl<R: Fn(&str) -> Option<Vec<u8>>> Values<R> {
    /// A number of four or eight bytes.
    fn number(&self, name: &str) -> Option<u64> {
        let value = self.0(name)?;
        match value.len() {
            4 => Some(u32::from_ne_bytes(value.try_into().ok()?).into()),
            8 => Some(u64::from_ne_bytes(value.try_into().ok()?)),
            _ => None,
        }
    }

    fn count(&self, name: &str) -> Option<u32> {
        u32::try_from(self.number(name)?).ok()
    }

    /// Text that ends with a zero.
    fn text(&self, name: &str) -> Option<String> {
        let value = self.0(name)?;
        let end = value.iter().position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(&value[..end]).trim().to_owned())
    }

    /// An Arm processor's features; no Mac has SVE.
    fn features(&self) -> Option<FeatureSet> {
        const NAMES: [(&str, Feature); 3] = [
            ("hw.optional.AdvSIMD", Feature::Neon),
            ("hw.optional.arm.FEAT_DotProd", Feature::Dotprod),
            ("hw.optional.arm.FEAT_I8MM", Feature::I8mm),
        ];
        let has = |name: &str| self.number(name).is_some_and(|value| value != 0);
        let found: FeatureSet =
            NAMES.into_iter().filter(|(name, _)| has(name)).map(|(_, feature)| feature).collect();
        self.number("hw.optional.arm64").map(|_| found)
    }

    /// The performance cores' caches (`perflevel0`), else the only cores'.
    fn caches(&self) -> Caches {
        let line_bytes = self.count("hw.cachelinesize").unwrap_or(64);
        let cache = |names: [&str; 2], shared_by: Option<u32>| {
            let size_bytes = names.into_iter().find_map(|name| self.number(name)).filter(|&size| size > 0)?;
            Some(Cache { size_bytes, line_bytes, shared_by: shared_by.unwrap_or(1).max(1) })
        };
        Caches {
            l1d: cache(["hw.perflevel0.l1dcachesize", "hw.l1dcachesize"], None),
            l2: cache(["hw.perflevel0.l2cachesize", "hw.l2cachesize"], self.count("hw.perflevel0.cpusperl2")),
            l3: cache(["hw.perflevel0.l3cachesize", "hw.l3cachesize"], self.count("hw.logicalcpu")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded;
    use proptest::prelude::*;

    /// What `sysctl -a` prints on an Apple M1, as far as it is asked for.
    const APPLE_M1: &[(&str, u64)] = &[
        ("hw.logicalcpu", 8),
        ("hw.physicalcpu", 8),
        ("hw.cachelinesize", 128),
        ("hw.perflevel0.l1dcachesize", 131_072),
        ("hw.perflevel0.l2cachesize", 12_582_912),
        ("hw.perflevel0.cpusperl2", 4),
        ("hw.l1dcachesize", 65_536),
        ("hw.l2cachesize", 4_194_304),
        ("hw.cpufamily", 458_787_763),
        ("hw.cpusubfamily", 2),
        ("hw.optional.arm64", 1),
        ("hw.optional.AdvSIMD", 1),
        ("hw.optional.arm.FEAT_DotProd", 1),
        ("hw.optional.arm.FEAT_I8MM", 0),
    ];

    fn of(values: &[(&str, u64)], brand: &str) -> SystemReport {
        report(|name| {
            if name == "machdep.cpu.brand_string" {
                return Some([brand.as_bytes(), &[0]].concat());
            }
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            // Sizes take eight bytes, most else four.
            let wide = name.contains("size") || u32::try_from(*value).is_err();
            Some(if wide { value.to_ne_bytes().to_vec() } else { (*value as u32).to_ne_bytes().to_vec() })
        })
    }

    #[test]
    fn an_apple_m1_is_what_was_recorded() {
        let (report, known) = (of(APPLE_M1, "Apple M1"), recorded::by_name("apple-m1").unwrap());
        assert_eq!(report.caches, known.caches);
        assert_eq!(report.identity, Some(known.identity()));
        assert_eq!(report.features, Some(known.features));
        assert_eq!((report.logical_cores, report.physical_cores), (Some(8), Some(8)));
        assert_eq!(report.brand, Some(known.brand));
    }

    #[test]
    fn cores_of_one_kind_have_no_levels() {
        let intel = [
            ("hw.logicalcpu", 12),
            ("hw.cachelinesize", 64),
            ("hw.l1dcachesize", 32_768),
            ("hw.l2cachesize", 262_144),
            ("hw.l3cachesize", 12_582_912),
        ];
        let caches = of(&intel, "Intel(R) Core(TM) i7").caches;
        assert_eq!(of(&intel, "").features, None);
        let l3 = Cache { size_bytes: 12_582_912, line_bytes: 64, shared_by: 12 };
        assert_eq!((caches.l1d.unwrap().size_bytes, caches.l3), (32_768, Some(l3)));
        assert_eq!(of(&[], "").caches, Caches::default());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let _ = report(|_| Some(bytes.clone()));
        }
    }
}
