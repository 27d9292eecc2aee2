//! Llama, and what shares its block: Llama3-8B-1.58, Falcon3-1.58, and with experts Mixtral.
//!
//! llama.cpp's converter permutes the rows of Q and K, so the same weights pair neighbours in a GGUF file and halves in
//! a Hugging Face folder. Mixtral's router is a softmax over the chosen experts, which is the same as renormalising.

use craftsman_golden::float::RopePairing;

use super::{Architecture, PLAIN, Pairings};

pub(super) static ROW: Architecture = Architecture {
    names: &["llama"],
    rope: Pairings { gguf: RopePairing::Norm, hugging_face: RopePairing::Neox },
    ..PLAIN
};
