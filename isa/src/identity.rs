//! The name under which answers about one kind of processor are stored.

use crate::caps::Vendor;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// Which processor model this is: `vendor-family-model-stepping`, for tuning keys and logs.
///
/// ```
/// use craftsman_isa::{CpuIdentity, recorded};
/// let identity = recorded::by_name("zen4").unwrap().identity();
/// assert_eq!(identity.to_string(), "amd-25-97-2");
/// assert_eq!("amd-25-97-2".parse::<CpuIdentity>(), Ok(identity));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuIdentity {
    /// Who made it.
    pub vendor: Vendor,
    /// See [`crate::HardwareCaps::family`].
    pub family: u32,
    /// See [`crate::HardwareCaps::model`].
    pub model: u32,
    /// See [`crate::HardwareCaps::stepping`].
    pub stepping: u32,
}

impl fmt::Display for CpuIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}-{}-{}", self.vendor.name(), self.family, self.model, self.stepping))
    }
}

/// A processor identity that is not `vendor-family-model-stepping`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no processor identity: expected vendor-family-model-stepping, such as intel-6-143-8")]
pub struct ParseIdentityError {
    given: String,
}

impl FromStr for CpuIdentity {
    type Err = ParseIdentityError;

    fn from_str(given: &str) -> Result<Self, ParseIdentityError> {
        parse(given).ok_or_else(|| ParseIdentityError { given: given.to_owned() })
    }
}

fn parse(text: &str) -> Option<CpuIdentity> {
    let mut parts = text.split('-');
    let vendor = Vendor::from_name(parts.next()?)?;
    let mut number = || parts.next()?.parse().ok();
    let identity = CpuIdentity { vendor, family: number()?, model: number()?, stepping: number()? };
    parts.next().is_none().then_some(identity)
}

impl Serialize for CpuIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CpuIdentity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_identity_is_refused() {
        for text in [
            "",
            "intel",
            "intel-6",
            "intel-6-143",
            "intel-6-143-8-1",
            "acme-1-2-3",
            "intel-6-x-8",
            "intel-6--1-8",
        ] {
            assert!(text.parse::<CpuIdentity>().is_err(), "{text}");
        }
    }

    #[test]
    fn identities_survive_json() {
        for (_, caps) in crate::recorded::all() {
            let json = serde_json::to_string(&caps.identity()).unwrap();
            assert_eq!(serde_json::from_str::<CpuIdentity>(&json).unwrap(), caps.identity());
        }
    }
}
