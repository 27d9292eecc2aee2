//! What a processor is: instruction sets, caches and cores, detected or recorded.
//!
//! [`HardwareCaps`] is the only thing the rest of Craftsman asks about a machine. It comes from the
//! processor at hand ([`HardwareCaps::detect`]), from the same with a ceiling that a user has set
//! ([`HardwareCaps::from_env`]), or from the table of real machines in [`recorded`], so that what would be
//! selected on a processor can be tested where that processor is not.
//!
//! ```
//! use craftsman_isa::{Feature, HardwareCaps, Tier, recorded};
//!
//! let here = HardwareCaps::detect();
//! println!("{}: tier {}, {}", here.identity(), here.tier(), here.features);
//!
//! let sapphire_rapids = recorded::by_name("sapphire-rapids").unwrap();
//! assert_eq!(sapphire_rapids.tier(), Tier::Amx);
//! let capped = sapphire_rapids.with_max_tier(Tier::Avx2);
//! assert!(capped.has(Feature::Fma) && !capped.has(Feature::Avx512F));
//! ```

mod caps;
mod detect;
mod feature;
mod identity;
pub mod recorded;
mod tier;

pub use caps::{Arch, Cache, Caches, HardwareCaps, MAX_ISA_VARIABLE, MaxIsaError, Vendor};
pub use feature::{Feature, FeatureRow, FeatureSet, UnknownFeature};
pub use identity::{CpuIdentity, ParseIdentityError};
pub use tier::{Tier, UnknownTier};
