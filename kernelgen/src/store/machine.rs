//! Which machine an answer holds for.

use std::fmt;

use craftsman_isa::{Cache, Caches, CpuIdentity, FeatureSet, HardwareCaps, Tier};
use serde::{Deserialize, Serialize};

/// Everything of a machine that the speed of a kernel may depend on and a program can see.
///
/// The instruction sets are those that may be used: an answer found under the ceiling of `CRAFTSMAN_MAX_ISA` is none
/// for the processor without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Vendor, family, model and stepping.
    pub identity: CpuIdentity,
    /// The data caches.
    pub caches: Caches,
    /// Cores.
    pub physical_cores: u32,
    /// Hardware threads.
    pub logical_cores: u32,
    /// Instruction sets that may be used.
    pub features: FeatureSet,
}

impl Machine {
    /// The machine with `caps`.
    pub fn new(caps: &HardwareCaps) -> Self {
        let &HardwareCaps { caches, physical_cores, logical_cores, features, .. } = caps;
        Self { identity: caps.identity(), caches, physical_cores, logical_cores, features }
    }

    /// What a file about it is called: a folder may be shared by machines that are not alike.
    pub(crate) fn file_stem(&self) -> String {
        format!("{}-{}-{}t", self.identity, Tier::of(self.features), self.logical_cores)
    }

    /// What of `other` is not so here, for people; `None` when the machines are alike.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let mut pairs = self.fields().into_iter().zip(other.fields());
        let ((name, ours), (_, theirs)) = pairs.find(|(ours, theirs)| ours != theirs)?;
        Some(format!("{name} {theirs} instead of {ours}"))
    }

    fn fields(&self) -> [(&'static str, String); 5] {
        let cache = |cache: &Cache| {
            format!("{} KiB (lines of {}, for {})", cache.size_bytes >> 10, cache.line_bytes, cache.shared_by)
        };
        let Caches { l1d, l2, l3 } = &self.caches;
        let caches: Vec<_> =
            [l1d, l2, l3].map(|level| level.as_ref().map_or("none".to_owned(), cache)).into();
        [
            ("processor", self.identity.to_string()),
            ("caches", caches.join(", ")),
            ("cores", self.physical_cores.to_string()),
            ("hardware threads", self.logical_cores.to_string()),
            ("instruction sets", self.features.to_string()),
        ]
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.file_stem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craftsman_isa::recorded;

    #[test]
    fn machines_differ_in_what_matters() {
        let zen4 = recorded::by_name("zen4").unwrap();
        let machine = Machine::new(&zen4);
        assert_eq!(machine.difference(&Machine::new(&zen4.clone())), None);
        let mut caches = zen4.clone();
        caches.caches.l3.as_mut().unwrap().size_bytes *= 2;
        let changed = [
            (recorded::by_name("zen3").unwrap(), "processor"),
            (caches, "caches"),
            (HardwareCaps { logical_cores: 3, ..zen4.clone() }, "hardware threads"),
            (zen4.with_max_tier(Tier::Avx2), "instruction sets"),
        ];
        for (caps, what) in changed {
            let said = machine.difference(&Machine::new(&caps)).unwrap();
            assert!(said.starts_with(what), "{said}");
        }
    }
}
