//! The metadata of a converted file.

use std::collections::BTreeMap;

use craftsman_golden::format::Format;

use crate::container::checkpoint::Checkpoint;
use crate::container::gguf::GgufWriter;
use crate::container::value::Value;
use crate::{ModelError, tokenizer};

const FILE_TYPE_KEY: &str = "general.file_type";

/// `general.file_type` of the types that have one. Source: llama.cpp `llama.h`; `I2_S` as in Microsoft's files.
const FILE_TYPES: [(&str, u32); 8] = [
    ("F32", 0),
    ("F16", 1),
    ("Q8_0", 7),
    ("BF16", 32),
    ("TQ1_0", 36),
    ("TQ2_0", 37),
    ("I2_S", 40),
    ("Q2_0", 41),
];

/// A writer that has the metadata of `checkpoint`, but for what is said of shards and of the old type, and with the
/// tokenizer that lies beside a folder's weights.
pub fn writer<'a>(checkpoint: &Checkpoint, target: &Format) -> Result<GgufWriter<'a>, ModelError> {
    let stale = |key: &str| key.starts_with("split.") || key == FILE_TYPE_KEY;
    let metadata = checkpoint.metadata();
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
