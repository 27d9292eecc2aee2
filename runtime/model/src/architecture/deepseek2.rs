//! DeepSeek-V2-Lite and what shares its block, GLM-4.7-Flash: latent attention, leading dense layers, experts that
//! every token uses beside those that are chosen, by a softmax or by sigmoids with a selection bias.
//!
//! Rope pairs neighbours in both containers, and turns the last dimensions of a query only.

use craftsman_golden::float::RopePairing;

use super::{Architecture, ExpertDefaults, Mixers, PLAIN, Pairings};

pub(super) static ROW: Architecture = Architecture {
    names: &["deepseek2"],
    rope: Pairings { gguf: RopePairing::Norm, hugging_face: RopePairing::Norm },
    experts: ExpertDefaults { renormalise: false, ..PLAIN.experts },
    mixers: Mixers::Latent,
    ..PLAIN
};
