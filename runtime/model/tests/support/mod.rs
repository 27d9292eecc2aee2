//! Fixtures: models, and what other people's tools say about them.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craftsman_isa::HardwareCaps;
use craftsman_model::container::Checkpoint;
use craftsman_model::{LoadOptions, Model};
use safetensors::SafeTensors;

/// The outputs of a reference implementation.
pub struct Reference {
    pub tokens: Vec<Vec<u32>>,
    /// `[row][position][vocab]`, flattened from the position on.
    pub logits: Vec<Vec<f32>>,
    pub greedy: Vec<u32>,
    pub val_tokens: Vec<u32>,
    pub perplexity: Option<f64>,
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

impl Reference {
    pub fn open(folder: &str) -> Self {
        let bytes = std::fs::read(fixture(folder).join("reference.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let words = |name: &str| -> Vec<[u8; 4]> {
            let tensor = file.tensor(name);
            tensor.map_or(Vec::new(), |t| {
                t.data().chunks_exact(4).map(|word| word.try_into().unwrap()).collect()
            })
        };
        let tokens = |name: &str| -> Vec<u32> { words(name).into_iter().map(u32::from_le_bytes).collect() };
        let logits: Vec<f32> = words("logits").into_iter().map(f32::from_le_bytes).collect();
        let rows = file.tensor("tokens").unwrap().shape()[0];
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let note = header.metadata().as_ref().and_then(|notes| notes.get("perplexity"));
        let all = tokens("tokens");
        Self {
            tokens: all.chunks(all.len() / rows).map(<[u32]>::to_vec).collect(),
            logits: logits.chunks(logits.len() / rows).map(<[f32]>::to_vec).collect(),
            greedy: tokens("greedy"),
            val_tokens: tokens("val_tokens"),
            perplexity: note.map(|text| text.parse().unwrap()),
        }
    }
}

pub fn load(name: &str) -> Arc<Model> {
    load_with(name, 1, HardwareCaps::detect())
}

pub fn load_with(name: &str, threads: usize, caps: HardwareCaps) -> Arc<Model> {
    let checkpoint = Checkpoint::open(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let options =
        LoadOptions { threads: NonZeroUsize::new(threads), caps: Some(caps), ..LoadOptions::default() };
    Model::load(&checkpoint, &options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The bits of floats, so that equality means the same bits.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The place of the largest value; of equal ones the first.
pub fn argmax(values: &[f32]) -> u32 {
    let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.unwrap().0 as u32
}
