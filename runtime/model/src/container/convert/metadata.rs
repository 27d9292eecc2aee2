//! The metadata of a converted file.

use std::collections::BTreeMap;

use craftsman_golden::float::{RopeScaling, RopeTable};
use craftsman_golden::format::Format;

use crate::architecture::Architecture;
use crate::config::ModelConfig;
use crate::container::checkpoint::{Checkpoint, ContainerKind};
use crate::container::gguf::GgufWriter;
use crate::container::value::Value;
use crate::{ModelError, tokenizer};

const FILE_TYPE_KEY: &str = "general.file_type";

/// `general.file_type` of the types that have one. Source: llama.cpp `llama.h`; `I2_S` as in Microsoft's files.
const FILE_TYPES: [(&str, u32); 10] = [
    ("F32", 0),
    ("F16", 1),
    ("Q8_0", 7),
    ("Q4_K", 14),
    ("Q6_K", 18),
    ("BF16", 32),
    ("TQ1_0", 36),
    ("TQ2_0", 37),
    ("I2_S", 40),
    ("Q2_0", 41),
];

/// The tensor of a GGUF file that the frequencies of rope are divided by.
pub const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Llama 3's stretched rope as GGUF files have it: a divisor of each frequency. `None` where a folder does not ask for
/// it, and of files, which have the tensor already.
pub fn rope_divisors(checkpoint: &Checkpoint) -> Result<Option<Vec<f32>>, ModelError> {
    let stretched = checkpoint.metadata().arch_get_str("rope.scaling.type")? == Some("llama3");
    if !stretched || checkpoint.kind() != ContainerKind::HuggingFace {
        return Ok(None);
    }
    let rope = ModelConfig::read(checkpoint, Architecture::find(checkpoint.architecture())?)?.rope;
    let table = |scaling: &RopeScaling| RopeTable::new(rope.dims, rope.theta, scaling);
    let (plain, stretched) = (table(&RopeScaling::None), table(&rope.scaling));
    let divisors = plain.frequencies().iter().zip(stretched.frequencies());
    Ok(Some(divisors.map(|(plain, stretched)| (plain / stretched) as f32).collect()))
}

/// A writer that has the metadata of `checkpoint`, but for what is said of shards, of the old type and, when divisors
/// say it, of stretched rope, and with the tokenizer that lies beside a folder's weights.
pub fn writer<'a>(
    checkpoint: &Checkpoint,
    target: &Format,
    has_divisors: bool,
) -> Result<GgufWriter<'a>, ModelError> {
    let metadata = checkpoint.metadata();
    let scaling = metadata.arch_key("rope.scaling.");
    let stale = |key: &str| {
        key.starts_with("split.") || key == FILE_TYPE_KEY || has_divisors && key.starts_with(&scaling)
    };
    let kept = metadata.iter().filter(|(key, _)| !stale(key));
    let mut pairs: BTreeMap<&str, Value> = kept.map(|(key, value)| (key, value.clone())).collect();
    if let Some(file) = checkpoint.tokenizer_file() {
        let vocabulary = metadata.arch_get_u32("vocab_size")?.unwrap_or(0);
        pairs.extend(tokenizer::metadata(&file, vocabulary as usize)?);
    }
    if let Some((_, number)) = FILE_TYPES.iter().find(|(name, _)| *name == target.name()) {
        pairs.insert(FILE_TYPE_KEY, Value::U32(*number));
    }
    Ok(pairs.into_iter().fold(GgufWriter::new(), |writer, (key, value)| writer.metadata(key, value)))
}
