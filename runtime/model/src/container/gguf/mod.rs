//! GGUF files, read and written.
//!
//! ```text
//! "GGUF" | u32 version | u64 tensors | u64 pairs | pairs | tensor table | padding | data
//! ```

mod cursor;
mod reader;
mod shards;
mod table;
mod writer;

pub use reader::{Gguf, GgufTensor};
pub use shards::Shards;
pub use writer::{GgufWriter, TensorData};

/// What a file starts with.
const MAGIC: [u8; 4] = *b"GGUF";
/// The version that is written; version 2 has the same layout.
const VERSION: u32 = 3;
/// The key that holds the alignment of tensor data.
const ALIGNMENT_KEY: &str = "general.alignment";
/// The alignment where a file does not say.
const DEFAULT_ALIGNMENT: u32 = 32;
/// ggml's limit.
const MOST_DIMENSIONS: usize = 4;
