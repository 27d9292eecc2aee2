//! What a model's block consists of, one row of data an architecture.
//!
//! The layer code walks these rows and knows no single architecture. A new architecture of known kinds of layers is one
//! new file with one row, which says how it differs from `PLAIN`, and one line in [`ALL`].

mod bitnet;
mod bitnet_b158;
mod deepseek2;
mod lfm2;
mod llama;
mod maple;
mod olmoe;
mod qwen3;
mod qwen3moe;

use craftsman_golden::float::RopePairing;

use crate::container::ContainerKind;
use crate::{ErrorKind, ModelError};

/// Every architecture that can run.
pub static ALL: &[&Architecture] = &[
    &bitnet::ROW,
    &bitnet_b158::ROW,
    &deepseek2::ROW,
    &lfm2::ROW,
    &llama::ROW,
    &maple::ROW,
    &olmoe::ROW,
    &qwen3::ROW,
    &qwen3moe::ROW,
];

/// Llama's block as Hugging Face names and orders it, which most architectures vary: pre-norms, rotary positions over
/// halves of a head, a gate of `SiLU`, experts renormalised.
const PLAIN: Architecture = Architecture {
    names: &[],
    rope: Pairings { gguf: RopePairing::Neox, hugging_face: RopePairing::Neox },
    activation: Activation::Silu,
    sub_norms: false,
    query_key_norms: QueryKeyNorms::None,
    ternary: false,
    experts: ExpertDefaults { renormalise: true, limit: None },
    mixers: Mixers::Grouped,
    sliding: None,
    output_norm: "output_norm",
};

/// One architecture: what its block has, and what its metadata means when it says nothing.
#[derive(Debug)]
pub struct Architecture {
    /// The values of `general.architecture` that mean it, the usual one first.
    pub names: &'static [&'static str],
    /// How rotary embeddings pair a head's dimensions, by the container the weights came in.
    pub rope: Pairings,
    /// What the feed-forward part does between its first and second product.
    pub activation: Activation,
    /// RMS norms before the attention's output projection and the feed-forward's down projection.
    pub sub_norms: bool,
    /// RMS norms over queries and keys, before the rotation.
    pub query_key_norms: QueryKeyNorms,
    /// Whether its projections are `BitLinear` by design, so that a dense matrix whose values are all `-s`, `0` or `+s`
    /// is a ternary one that some tool has written out, and its inputs are quantised as in training.
    pub ternary: bool,
    /// How experts are mixed when the metadata does not say.
    pub experts: ExpertDefaults,
    /// What lets positions see each other.
    pub mixers: Mixers,
    /// What its sliding layers are, if it has any.
    pub sliding: Option<Sliding>,
    /// GGUF's name of the norm before the head.
    pub output_norm: &'static str,
}

/// What lets the positions of a layer see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixers {
    /// Grouped-query attention.
    Grouped,
    /// Attention over compressed rows of keys and values.
    Latent,
    /// Grouped-query attention, and in layers without key heads a short convolution.
    GroupedAndConvolutions,
}

/// What a window in the metadata means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sliding {
    /// Positions that a token sees beyond as many as the window says, its own among these.
    pub beyond: usize,
    /// Whether the layers between, which see everything, are turned by positions.
    pub global_positions: bool,
}

/// Rope pairing in a GGUF file and in a Hugging Face folder; they differ where llama.cpp's converter permutes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairings {
    /// In a GGUF file.
    pub gguf: RopePairing,
    /// In a Hugging Face folder.
    pub hugging_face: RopePairing,
}

/// Over what queries and keys are normed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKeyNorms {
    /// They are not.
    None,
    /// Over each head, all heads with one weight vector of the width of a head.
    Head,
    /// Over all heads together.
    Full,
}

/// The feed-forward part's gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `silu(gate) * up`
    Silu,
    /// `relu(gate)^2 * up`
    Relu2,
}

/// Values for absent `expert_*` keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertDefaults {
    /// Whether the weights of the chosen experts are divided by their sum.
    pub renormalise: bool,
    /// What the factors of an expert's gated product are clamped to.
    pub limit: Option<f32>,
}

impl Architecture {
    /// The architecture that calls itself `name`; the error lists those there are.
    pub fn find(name: &str) -> Result<&'static Self, ModelError> {
        ALL.iter().copied().find(|row| row.names.contains(&name)).ok_or_else(|| unknown(name))
    }

    /// The usual name.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    /// The pairing of rope dimensions for weights from `container`.
    pub fn pairing(&self, container: ContainerKind) -> RopePairing {
        match container {
            ContainerKind::Gguf => self.rope.gguf,
            ContainerKind::HuggingFace => self.rope.hugging_face,
        }
    }
}

fn unknown(name: &str) -> ModelError {
    let known: Vec<&str> = ALL.iter().flat_map(|row| row.names).copied().collect();
    let shown: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    let problem = format!("the architecture `{shown}` is unknown");
    ModelError::new(ErrorKind::Unsupported, problem, format!("use a model of one of {}", known.join(", ")))
        .key("general.architecture")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/architecture");
        let files =
            std::fs::read_dir(folder).unwrap().filter(|file| file.as_ref().unwrap().file_name() != "mod.rs");
        assert_eq!(files.count(), ALL.len());
        let mut names: Vec<_> = ALL.iter().flat_map(|row| row.names).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.iter().map(|row| row.names.len()).sum::<usize>());
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = Architecture::find("gpt-5").unwrap_err().to_string();
        assert!(message.contains("gpt-5") && message.contains("bitnet-b1.58"), "{message}");
    }
}
