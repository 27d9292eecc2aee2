//! What a machine can do.

use crate::detect;
use crate::feature::{Feature, FeatureSet};
use crate::identity::CpuIdentity;
use crate::tier::{Tier, UnknownTier};
use serde::{Deserialize, Serialize};

/// The environment variable that sets a ceiling on the tier.
pub const MAX_ISA_VARIABLE: &str = "CRAFTSMAN_MAX_ISA";

/// An instruction set architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// AMD64, Intel 64.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// WebAssembly with 32-bit addresses.
    Wasm32,
    /// Anything else.
    Other,
}

/// Who designed the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// Intel.
    Intel,
    /// AMD.
    Amd,
    /// Apple.
    Apple,
    /// Arm (Cortex, Neoverse).
    Arm,
    /// Anyone else, or not known.
    Other,
}

impl Vendor {
    const ALL: [Self; 5] = [Self::Intel, Self::Amd, Self::Apple, Self::Arm, Self::Other];

    /// The name in files and identities.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
            Self::Apple => "apple",
            Self::Arm => "arm",
            Self::Other => "other",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.name() == name)
    }
}

/// One level of data cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Bytes in one instance.
    pub size_bytes: u64,
    /// Bytes in one line.
    pub line_bytes: u32,
    /// How many logical cores share one instance.
    pub shared_by: u32,
}

/// The data caches of one core; what nobody reports is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caches {
    /// First level, data.
    pub l1d: Option<Cache>,
    /// Second level.
    pub l2: Option<Cache>,
    /// Third level.
    pub l3: Option<Cache>,
}

/// What a machine can do: everything that selecting, emitting and tuning kernels may depend on.
///
/// On a hybrid processor the caches are those of the core on which detection ran.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareCaps {
    /// The architecture.
    pub arch: Arch,
    /// The designer.
    pub vendor: Vendor,
    /// The name it gives itself; empty if it gives none.
    pub brand: String,
    /// x86-64: CPUID display family. Arm: variant (the N of rNpM). Apple: `hw.cpufamily`.
    pub family: u32,
    /// x86-64: CPUID display model. Arm: part number of MIDR. Apple: `hw.cpusubfamily`.
    pub model: u32,
    /// x86-64: CPUID stepping. Arm: revision (the M of rNpM). Apple: 0.
    pub stepping: u32,
    /// What processor and operating system together let a program use.
    pub features: FeatureSet,
    /// The data caches.
    pub caches: Caches,
    /// Hardware threads online in the machine. A process may be allowed fewer:
    /// see `std::thread::available_parallelism`.
    pub logical_cores: u32,
    /// Cores online in the machine.
    pub physical_cores: u32,
}

impl HardwareCaps {
    /// The machine this runs on.
    ///
    /// A feature is reported only if it is usable: AVX and AVX-512 need the operating system to save their
    /// registers, and AMX needs Linux to grant tile data to this process, which detection asks for.
    pub fn detect() -> Self {
        detect::detect()
    }

    /// The machine this runs on, under the ceiling that `CRAFTSMAN_MAX_ISA` sets: one of `portable`, `avx2`,
    /// `avxvnni`, `avx512`, `avx512vnni`, `amx`. Unset or empty sets none.
    pub fn from_env() -> Result<Self, MaxIsaError> {
        let value = std::env::var_os(MAX_ISA_VARIABLE).unwrap_or_default();
        Self::detect().under(&value.to_string_lossy())
    }

    fn under(self, ceiling: &str) -> Result<Self, MaxIsaError> {
        if ceiling.is_empty() { Ok(self) } else { Ok(self.with_max_tier(ceiling.parse()?)) }
    }

    /// The same machine without the features above `tier`. With [`Tier::Portable`] only the architecture's
    /// baseline remains.
    #[must_use]
    pub fn with_max_tier(mut self, tier: Tier) -> Self {
        self.features = self.features.up_to(tier);
        self
    }

    /// The highest tier whose defining features are all here.
    pub fn tier(&self) -> Tier {
        Tier::of(self.features)
    }

    /// Whether a program may use `feature`.
    pub const fn has(&self, feature: Feature) -> bool {
        self.features.contains(feature)
    }

    /// Which processor model this is.
    pub const fn identity(&self) -> CpuIdentity {
        CpuIdentity { vendor: self.vendor, family: self.family, model: self.model, stepping: self.stepping }
    }
}

/// `CRAFTSMAN_MAX_ISA` holds something that is not a tier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {MAX_ISA_VARIABLE}: {0}")]
pub struct MaxIsaError(#[from] UnknownTier);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded;

    #[test]
    fn a_ceiling_is_read_from_text() {
        let caps = recorded::by_name("sapphire-rapids").unwrap();
        assert_eq!(caps.clone().under("").unwrap(), caps);
        assert_eq!(caps.clone().under("avx512").unwrap().tier(), Tier::Avx512);
        let message = caps.under("sse9").unwrap_err().to_string();
        assert!(
            message
                .starts_with("environment variable CRAFTSMAN_MAX_ISA: unknown instruction set tier `sse9`")
        );
    }

    #[test]
    fn portable_is_the_bare_architecture() {
        for (name, caps) in recorded::all() {
            let baseline = recorded::baseline(caps.arch);
            let bare = caps.with_max_tier(Tier::Portable).features;
            assert_eq!(bare, FeatureSet::EMPTY.with(baseline), "{name}");
        }
    }

    #[test]
    fn caps_survive_json() {
        let here = HardwareCaps::detect();
        for (_, caps) in recorded::all().into_iter().chain([("here", here)]) {
            let json = serde_json::to_string_pretty(&caps).unwrap();
            assert_eq!(serde_json::from_str::<HardwareCaps>(&json).unwrap(), caps);
        }
    }
}
