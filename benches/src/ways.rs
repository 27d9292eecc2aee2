//! Which kernels are timed: what the selector offers, so that a new family or backend appears by itself.

use std::collections::HashSet;

use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{KernelConfig, KernelKey, candidates};

/// How much of what the selector offers is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The selector's first choice of every family on every backend.
    Best,
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
/// Under [`Offer::Best`] the name is `backend-family`, which outlives a change of tile; else it is the configuration's.
pub fn ways(caps: &HardwareCaps, key: &KernelKey, offer: Offer) -> Vec<(String, KernelConfig)> {
    let mut seen = HashSet::new();
    let named = candidates(caps, key).into_iter().map(|config| match offer {
        Offer::Best => (format!("{}-{}", config.backend, config.family), config),
        Offer::All => (config.to_string(), config),
    });
    named.filter(|(name, _)| seen.insert(name.clone())).collect()
}
