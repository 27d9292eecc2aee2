//! Which kernels to try: processor and key in, configurations out, the best guess first.

use craftsman_isa::HardwareCaps;

use crate::backend::{self, Backend};
use crate::config::KernelConfig;
use crate::cost::{self, Environment, Prediction};
use crate::family::{self, Family};
use crate::key::{Batch, KernelKey};
use crate::tuning::Tuning;
use crate::tuning::choose::{self, Ranking};

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
    predicted(caps, key, Environment::usual(caps)).into_iter().map(|(config, _)| config).collect()
}

/// The candidates with their predicted times, the fastest first.
pub(crate) fn predicted(
    caps: &HardwareCaps,
    key: &KernelKey,
    environment: Environment,
) -> Vec<(KernelConfig, f64)> {
    let all = considered(caps, key, environment);
    let ranked = all.into_iter().map_while(|considered| match considered {
        Considered::Candidate { config, prediction } => Some((config, prediction.cycles)),
        Considered::Dropped { .. } => None,
    });
    ranked.collect()
}

/// The candidates for each batch class of `key`, so ordered that kernels which read one layout can be taken from all of
/// them: layout by layout, the best for all classes together first, as was measured or, failing that, is predicted.
pub(crate) fn offers(
    caps: &HardwareCaps,
    key: &KernelKey,
    environment: Environment,
    tuning: &Tuning,
) -> [Vec<KernelConfig>; Batch::ALL.len()] {
    let rankings = Batch::ALL.map(|batch| {
        let key = KernelKey { batch, ..*key };
        let answer = tuning.answer(&key, environment.residence, environment.threads);
        Ranking::new(&key, answer, &predicted(caps, &key, environment))
    });
    let layouts = choose::layouts(&rankings);
    rankings.map(|ranking| ranking.by(&layouts))
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
            offered(caps, key, environment, (*backend, *family), &mut candidates, &mut dropped);
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
fn offered(
    caps: &HardwareCaps,
    key: &KernelKey,
    environment: Environment,
    (backend, family): (&dyn Backend, &dyn Family),
    candidates: &mut Vec<(KernelConfig, Prediction)>,
    dropped: &mut Vec<Considered>,
) {
    let configs = family.configs(key, backend);
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
        let mut configs = configs.iter().filter(|config| config.variant == variant).peekable();
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
