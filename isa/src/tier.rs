//! The ladder of instruction set tiers.

use crate::feature::{Feature, FeatureSet};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How much of x86-64 a kernel may use, from least to most.
///
/// The order is that of `CRAFTSMAN_MAX_ISA`, not of inclusion: a processor of the tier `Avx512Vnni` need not
/// have AVX-VNNI (Ice Lake and Zen 4 have not), so a backend asks for its features and never for a tier.
/// Processors that are not x86-64 are `Portable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The baseline of the architecture: SSE2 on x86-64, NEON on aarch64.
    Portable,
    /// AVX2 with FMA and F16C (Haswell, Zen).
    Avx2,
    /// AVX2 with VEX-encoded VNNI (Alder Lake).
    AvxVnni,
    /// AVX-512 F, BW, VL and DQ (Skylake-X).
    Avx512,
    /// AVX-512 with VNNI (Cascade Lake, Ice Lake, Zen 4).
    Avx512Vnni,
    /// Tiles with 8-bit products (Sapphire Rapids).
    Amx,
}

impl Tier {
    /// Every tier, ascending.
    pub const ALL: [Self; 6] =
        [Self::Portable, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Avx512Vnni, Self::Amx];

    /// The name in `CRAFTSMAN_MAX_ISA`, in logs and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Amx => "amx",
        }
    }

    /// The highest tier of which `features` holds every defining feature.
    pub fn of(features: FeatureSet) -> Self {
        let defined = |tier: &Self| {
            let mut defining = Feature::rows().iter().filter(|row| row.tier == *tier && row.defines_tier);
            defining.all(|row| features.contains(row.feature))
        };
        // `Portable` is defined by nothing, so there always is one; AVX2 is below everything else.
        let base = if defined(&Self::Avx2) { &Self::ALL[..] } else { &Self::ALL[..1] };
        base.iter().rev().copied().find(defined).unwrap_or(Self::Portable)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A tier name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown instruction set tier `{given}`; use one of {}", Tier::ALL.map(Tier::name).join(", "))]
pub struct UnknownTier {
    given: String,
}

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(given: &str) -> Result<Self, UnknownTier> {
        let found = Self::ALL.into_iter().find(|tier| tier.name().eq_ignore_ascii_case(given.trim()));
        found.ok_or_else(|| UnknownTier { given: given.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for tier in Tier::ALL {
            assert_eq!(tier.name().parse::<Tier>(), Ok(tier));
            assert_eq!(serde_json::to_string(&tier).unwrap(), format!("\"{tier}\""));
        }
        assert!(Tier::ALL.is_sorted());
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_valid_ones() {
        let message = "avx1024".parse::<Tier>().unwrap_err().to_string();
        assert!(
            message.contains("`avx1024`")
                && message.contains("portable, avx2, avxvnni, avx512, avx512vnni, amx")
        );
    }

    #[test]
    fn a_tier_needs_all_its_defining_features() {
        let no_fma: FeatureSet =
            [Feature::Sse2, Feature::Avx, Feature::Avx2, Feature::F16c].into_iter().collect();
        assert_eq!(Tier::of(no_fma), Tier::Portable);
        assert_eq!(Tier::of(no_fma.with(Feature::Fma)), Tier::Avx2);
        let lone_tiles: FeatureSet = [Feature::AmxTile, Feature::AmxInt8].into_iter().collect();
        assert_eq!(Tier::of(lone_tiles), Tier::Portable);
    }
}
