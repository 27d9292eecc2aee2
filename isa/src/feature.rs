//! The table of instruction set features, and sets of them.

use crate::caps::Arch;
use crate::tier::Tier;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// What the table says about one feature.
#[derive(Clone, Copy, Debug)]
pub struct FeatureRow {
    /// The feature.
    pub feature: Feature,
    /// Its name in files and messages, as Linux and Rust spell it.
    pub name: &'static str,
    /// The architecture that has it.
    pub arch: Arch,
    /// The lowest ceiling that leaves it usable.
    pub tier: Tier,
    /// Whether a processor must have it to be of that tier.
    pub defines_tier: bool,
    /// Manual's name.
    pub title: &'static str,
}

macro_rules! features {
    ($($feature:ident $name:literal $arch:ident $tier:ident $defines:ident $title:literal)*) => {
        /// One instruction set extension.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Feature {
            $(#[doc = $title] $feature,)*
        }

        const ROWS: &[FeatureRow] = &[$(FeatureRow {
            feature: Feature::$feature,
            name: $name,
            arch: Arch::$arch,
            tier: Tier::$tier,
            defines_tier: $defines,
            title: $title,
        },)*];
    };
}

// aarch64 and WebAssembly have no tiers of their own: what is above its baseline stays under every ceiling but `portable`.
features! {
    Sse2             "sse2"             X86_64  Portable   false "SSE2"
    Sse3             "sse3"             X86_64  Avx2       false "SSE3"
    Ssse3            "ssse3"            X86_64  Avx2       false "SSSE3"
    Sse41            "sse4.1"           X86_64  Avx2       false "SSE4.1"
    Sse42            "sse4.2"           X86_64  Avx2       false "SSE4.2"
    Popcnt           "popcnt"           X86_64  Avx2       false "POPCNT"
    Bmi1             "bmi1"             X86_64  Avx2       false "BMI1"
    Bmi2             "bmi2"             X86_64  Avx2       false "BMI2"
    Lzcnt            "lzcnt"            X86_64  Avx2       false "LZCNT"
    Avx              "avx"              X86_64  Avx2       true  "AVX"
    Avx2             "avx2"             X86_64  Avx2       true  "AVX2"
    Fma              "fma"              X86_64  Avx2       true  "FMA3"
    F16c             "f16c"             X86_64  Avx2       true  "F16C"
    AvxVnni          "avxvnni"          X86_64  AvxVnni    true  "AVX-VNNI"
    Avx512F          "avx512f"          X86_64  Avx512     true  "AVX-512 Foundation"
    Avx512Bw         "avx512bw"         X86_64  Avx512     true  "AVX-512 Byte and Word"
    Avx512Vl         "avx512vl"         X86_64  Avx512     true  "AVX-512 Vector Length"
    Avx512Dq         "avx512dq"         X86_64  Avx512     true  "AVX-512 Doubleword and Quadword"
    Avx512Vbmi       "avx512vbmi"       X86_64  Avx512Vnni false "AVX-512 Vector Byte Manipulation"
    Avx512Vnni       "avx512vnni"       X86_64  Avx512Vnni true  "AVX-512 Vector Neural Network"
    Avx512Bitalg     "avx512bitalg"     X86_64  Avx512Vnni false "AVX-512 Bit Algorithms"
    Avx512Vpopcntdq  "avx512vpopcntdq"  X86_64  Avx512Vnni false "AVX-512 VPOPCNTD and VPOPCNTQ"
    AmxTile          "amx-tile"         X86_64  Amx        true  "AMX tiles"
    AmxInt8          "amx-int8"         X86_64  Amx        true  "AMX 8-bit integer products"
    Neon             "neon"             Aarch64 Portable   false "Advanced SIMD"
    Dotprod          "dotprod"          Aarch64 Avx2       false "8-bit dot products (SDOT, UDOT)"
    I8mm             "i8mm"             Aarch64 Avx2       false "8-bit matrix products (SMMLA, USDOT)"
    Sve              "sve"              Aarch64 Avx2       false "Scalable Vector Extension"
    Simd128          "simd128"          Wasm32  Portable   false "128-bit SIMD"
    RelaxedSimd      "relaxed-simd"     Wasm32  Avx2       false "Relaxed SIMD"
}

impl Feature {
    /// The table: one row a feature, in the order of the enum.
    pub const fn rows() -> &'static [FeatureRow] {
        ROWS
    }

    /// This feature's row.
    pub const fn row(self) -> &'static FeatureRow {
        &ROWS[self as usize]
    }

    /// The name in files and messages.
    pub const fn name(self) -> &'static str {
        self.row().name
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A feature name that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown processor feature `{given}`; known are {}", FeatureSet::ALL)]
pub struct UnknownFeature {
    given: String,
}

impl FromStr for Feature {
    type Err = UnknownFeature;

    fn from_str(given: &str) -> Result<Self, UnknownFeature> {
        let row = ROWS.iter().find(|row| row.name == given);
        row.map(|row| row.feature).ok_or_else(|| UnknownFeature { given: given.to_owned() })
    }
}

/// A set of features. Written in files as a list of names.
///
/// ```
/// use craftsman_isa::{Feature, FeatureSet};
/// let set: FeatureSet = [Feature::Avx2, Feature::Fma].into_iter().collect();
/// assert!(set.contains(Feature::Fma) && !set.contains(Feature::AvxVnni));
/// assert_eq!(set.to_string(), "avx2, fma");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FeatureSet(u32);

impl FeatureSet {
    /// No feature.
    pub const EMPTY: Self = Self(0);
    /// Every feature in the table.
    pub const ALL: Self = Self(u32::MAX >> (u32::BITS as usize - ROWS.len()));

    /// Whether `feature` is in the set.
    pub const fn contains(self, feature: Feature) -> bool {
        self.0 >> feature as u32 & 1 == 1
    }

    /// Whether all of `other` is in the set.
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set with `feature` added.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u32)
    }

    /// The set with `feature` taken out.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u32))
    }

    /// The features that remain under a ceiling of `tier`.
    #[must_use]
    pub fn up_to(self, tier: Tier) -> Self {
        self.iter().filter(|feature| feature.row().tier <= tier).collect()
    }

    /// The members, in table order.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        ROWS.iter().map(|row| row.feature).filter(move |&feature| self.contains(feature))
    }
}

impl FromIterator<Feature> for FeatureSet {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        features.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Feature::name).collect();
        f.pad(&names.join(", "))
    }
}

impl fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for FeatureSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Feature::name))
    }
}

impl<'de> Deserialize<'de> for FeatureSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names.iter().map(|name| name.parse::<Feature>().map_err(de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_set() -> impl Strategy<Value = FeatureSet> {
        (0..=FeatureSet::ALL.0).prop_map(FeatureSet)
    }

    #[test]
    fn rows_stand_in_enum_order_with_distinct_names() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.feature as usize, index);
            assert_eq!(row.name.parse(), Ok(row.feature));
            assert_eq!(ROWS.iter().filter(|other| other.name == row.name).count(), 1);
        }
        assert_eq!(FeatureSet::ALL.iter().count(), ROWS.len());
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let error = serde_json::from_str::<FeatureSet>(r#"["avx2", "avx9000"]"#).unwrap_err();
        assert!(error.to_string().contains("unknown processor feature `avx9000`; known are sse2, "));
    }

    proptest! {
        #[test]
        fn a_set_survives_json(set in any_set()) {
            let json = serde_json::to_string(&set).unwrap();
            prop_assert_eq!(serde_json::from_str::<FeatureSet>(&json).unwrap(), set);
        }

        #[test]
        fn ceilings_are_monotone(set in any_set()) {
            prop_assert_eq!(set.up_to(Tier::Amx), set);
            for pair in Tier::ALL.windows(2) {
                prop_assert!(set.up_to(pair[1]).contains_all(set.up_to(pair[0])));
                prop_assert!(Tier::of(set.up_to(pair[0])) <= pair[0]);
            }
        }

        #[test]
        fn adding_and_taking_out_cancel(set in any_set(), index in 0..ROWS.len()) {
            let feature = ROWS[index].feature;
            prop_assert!(set.with(feature).contains(feature));
            prop_assert!(!set.without(feature).contains(feature));
            prop_assert_eq!(set.with(feature).without(feature), set.without(feature));
        }
    }
}
