//! Metadata in the vocabulary of GGUF keys, whatever container it came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::value::{Array, Value};
use crate::{ErrorKind, ModelError};

/// The key that names the architecture and so the prefix of its own keys.
pub const ARCHITECTURE: &str = "general.architecture";

const CONVERT_AGAIN: &str = "convert the model again with a current converter";

/// Key-value pairs of a checkpoint. Keys are GGUF's: `general.name`, `llama.block_count`, `tokenizer.ggml.tokens`.
///
/// Keys of the architecture are asked for without its prefix through the `arch_` methods:
/// `arch_u32("block_count")` reads `llama.block_count` of a llama model.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    file: PathBuf,
    entries: BTreeMap<String, Value>,
}

/// One accessor family per type: required, optional, and both for keys of the architecture.
macro_rules! accessors {
    ($($required:ident, $optional:ident, $arch:ident, $arch_optional:ident, $out:ty, $as:ident, $what:literal;)*) => {$(
        #[doc = concat!("The ", $what, " under `key`; an error names the key when it is missing or of another type.")]
        pub fn $required(&self, key: &str) -> Result<$out, ModelError> {
            self.$optional(key)?.ok_or_else(|| self.missing(key))
        }

        #[doc = concat!("The ", $what, " under `key`, if the key exists; an error when it is of another type.")]
        pub fn $optional(&self, key: &str) -> Result<Option<$out>, ModelError> {
            let Some(value) = self.get(key) else { return Ok(None) };
            value.$as().map(Some).ok_or_else(|| self.wrong_type(key, value, $what))
        }

        #[doc = concat!("The ", $what, " under the architecture's `key` (given without its prefix).")]
        pub fn $arch(&self, key: &str) -> Result<$out, ModelError> {
            self.$required(&self.arch_key(key))
        }

        #[doc = concat!("The ", $what, " under the architecture's `key` (given without its prefix), if it exists.")]
        pub fn $arch_optional(&self, key: &str) -> Result<Option<$out>, ModelError> {
            self.$optional(&self.arch_key(key))
        }
    )*};
}

impl Metadata {
    /// Metadata of `file`, which its errors will name.
    pub fn new(file: &Path, entries: BTreeMap<String, Value>) -> Self {
        Self { file: file.to_path_buf(), entries }
    }

    accessors! {
        u32, get_u32, arch_u32, arch_get_u32, u32, as_u32, "unsigned 32-bit integer";
        f32, get_f32, arch_f32, arch_get_f32, f32, as_f32, "number";
        bool, get_bool, arch_bool, arch_get_bool, bool, as_bool, "boolean";
        str, get_str, arch_str, arch_get_str, &str, as_str, "string";
        array, get_array, arch_array, arch_get_array, &Array, as_array, "array";
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// All pairs in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The architecture's name, or an empty text when the file has none (opening a checkpoint refuses that).
    pub fn architecture(&self) -> &str {
        self.get(ARCHITECTURE).and_then(Value::as_str).unwrap_or_default()
    }

    /// `key` with the architecture's prefix.
    pub fn arch_key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture())
    }

    /// An error about these metadata; it names their file.
    pub fn error(
        &self,
        kind: ErrorKind,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ModelError {
        self.place(ModelError::new(kind, problem, remedy))
    }

    /// Names the file of these metadata in an error that does not name one yet.
    pub fn place(&self, error: ModelError) -> ModelError {
        error.in_file(&self.file)
    }

    fn missing(&self, key: &str) -> ModelError {
        self.error(ErrorKind::Missing, "the metadata key is missing", CONVERT_AGAIN).key(key)
    }

    fn wrong_type(&self, key: &str, value: &Value, wanted: &str) -> ModelError {
        let problem = format!("holds a value of type {}, expected a {wanted} in range", value.type_name());
        self.error(ErrorKind::WrongType, problem, CONVERT_AGAIN).key(key)
    }
}
