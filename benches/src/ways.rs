//! Which kernels are timed: what the selector offers, so that a new family or backend appears by itself.

use std::collections::HashSet;

use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{KernelConfig, KernelKey, candidates};

/// How much of what the selector offers is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The selector's first choice of every family on every backend.
    Best,
    /// The selector's first choice of every family on the most capable backend that has any.
    BestBackend,
    /// Every configuration.
    All,
}

/// A kernel that was offered and could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{config} for {key}: {reason}")]
pub struct UnusableKernel {
    /// What was asked for.
    pub key: KernelKey,
    /// How it should have been built.
    pub config: KernelConfig,
    /// Why there is none.
    pub reason: String,
}

/// A way to compute: its name in figures and how it is built.
///
/// Unless [all](Offer::All) are asked for, the name is `backend-family`, which outlives a change of tile.
pub fn ways(caps: &HardwareCaps, key: &KernelKey, offer: Offer) -> Vec<(String, KernelConfig)> {
    let mut seen = HashSet::new();
    let offered = candidates(caps, key);
    let best = offered.first().map(|config| config.backend);
    let wanted = |config: &KernelConfig| offer != Offer::BestBackend || Some(config.backend) == best;
    let named = offered.iter().copied().filter(wanted).map(|config| match offer {
        Offer::Best | Offer::BestBackend => (format!("{}-{}", config.backend, config.family), config),
        Offer::All => (config.to_string(), config),
    });
    named.filter(|(name, _)| seen.insert(name.clone())).collect()
}
