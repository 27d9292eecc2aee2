//! Which kernels to try: processor and key in, configurations out, the best guess first.

use craftsman_isa::HardwareCaps;

use crate::backend::{self, Backend};
use crate::config::KernelConfig;
use crate::cost::{self, Environment, Prediction};
use crate::family::{self, Family};
use crate::key::KernelKey;

/// Every way to build `key` that a processor with `caps` could run, the best guess first.
///
/// The order is that of [`cost::predict`] for what models need: weights in main memory, a thread a core. Nothing is run,
/// so this answers for processors that are not here.
///
/// ```
/// use craftsman_isa::recorded;
/// use craftsman_kernelgen::candidates;
/// let key = "2560x6912-decode-tensor-a8".parse()?;
/// let caps = recorded::by_name("zen4").unwrap();
/// assert_eq!(candidates(&caps, &key)[0].backend, "avx512vnni");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn candidates(caps: &HardwareCaps, key: &KernelKey) -> Vec<KernelConfig> {
    let all = considered(caps, key, Environment::usual(caps));
    let ranked = all.into_iter().map_while(|considered| match considered {
        Considered::Candidate { config, .. } => Some(config),
        Considered::Dropped { .. } => None,
    });
    ranked.collect()
}

/// A way to build a key that was thought of.
#[derive(Debug, Clone)]
pub enum Considered {
    /// It can be built.
    Candidate {
        /// The way.
        config: KernelConfig,
        /// What it should take.
        prediction: Prediction,
    },
    /// It cannot.
    Dropped {
        /// Backend, family and variant, or a whole configuration.
        what: String,
        /// Why not.
        reason: String,
    },
}

/// Everything that was thought of for `key` on a processor with `caps`: first the candidates, the fastest by prediction
/// in front, then what was dropped, with the reason.
pub fn considered(caps: &HardwareCaps, key: &KernelKey, environment: Environment) -> Vec<Considered> {
    let mut candidates = Vec::new();
    let mut dropped = Vec::new();
    for backend in backend::ALL {
        let missing: Vec<_> = backend.requires().iter().filter(|feature| !caps.has(**feature)).collect();
        if !missing.is_empty() {
            let missing: Vec<_> = missing.into_iter().map(ToString::to_string).collect();
            let reason = format!("the processor has no {}", missing.join(", "));
            dropped.push(Considered::Dropped { what: backend.name().to_owned(), reason });
            continue;
        }
        for family in family::ALL {
            offers(caps, key, environment, (*backend, *family), &mut candidates, &mut dropped);
        }
    }
    candidates.sort_by(|a: &(_, Prediction), b| a.1.cycles.total_cmp(&b.1.cycles));
    let candidates = candidates.into_iter();
    candidates
        .map(|(config, prediction)| Considered::Candidate { config, prediction })
        .chain(dropped)
        .collect()
}

/// What one family offers on one backend that can run.
fn offers(
    caps: &HardwareCaps,
    key: &KernelKey,
    environment: Environment,
    (backend, family): (&dyn Backend, &dyn Family),
    candidates: &mut Vec<(KernelConfig, Prediction)>,
    dropped: &mut Vec<Considered>,
) {
    let offered = family.configs(key, backend);
    for variant in family.variants() {
        let mut drop = |what: String, reason: String| dropped.push(Considered::Dropped { what, reason });
        let name = || format!("{}-{}.{variant}", backend.name(), family.name());
        let needs = family.needs(variant);
        if let Some(word) = needs.iter().find(|word| !backend.says(**word)) {
            drop(name(), format!("{} cannot say {word:?}", backend.name()));
            continue;
        }
        if !backend.serves(needs) {
            drop(name(), "a lesser backend says the same".to_owned());
            continue;
        }
        let mut configs = offered.iter().filter(|config| config.variant == variant).peekable();
        if configs.peek().is_none() {
            drop(name(), "the family offers no way to compute this so".to_owned());
        }
        for config in configs {
            match cost::predict(key, config, caps, environment) {
                Ok(prediction) => candidates.push((*config, prediction)),
                Err(error) => drop(config.to_string(), error.to_string()),
            }
        }
    }
}
