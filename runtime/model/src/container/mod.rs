//! Files that hold a model, behind one view: metadata under GGUF's keys, tensors under GGUF's names.
//!
//! [`Places`] finds them, [`Fingerprint`] makes sure that they are the right ones. [`Checkpoint`] is that view. [`Gguf`] and [`GgufWriter`] are the file format itself.

mod checkpoint;
mod convert;
mod decode;
mod fingerprint;
mod gguf;
mod huggingface;
mod locate;
mod mapping;
mod metadata;
mod part;
mod types;
mod value;

pub(crate) use huggingface::fuzz;

pub use checkpoint::{Checkpoint, ContainerKind};
pub use convert::{Conversion, Converted, Quantizer};
pub(crate) use decode::dense_matrix;
pub use decode::{DenseData, DenseMatrix, Matrix};
pub use fingerprint::{Fingerprint, Sha256};
pub use gguf::{Gguf, GgufTensor, GgufWriter, TensorData};
pub use locate::Places;
pub use mapping::Bytes;
pub use metadata::Metadata;
pub use types::{I2sRule, Listed, TensorType};
pub use value::{Array, ElementType, Value};

/// A tensor as a container lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// GGUF's name, or the file's own where GGUF has no name for it.
    pub name: String,
    /// Row major: `[out, in]`, a stack of experts `[experts, out, in]`.
    pub shape: Vec<usize>,
    /// The name of the stored type: `F16`, `TQ2_0`, `BITNET_HF` (Hugging Face's packing of BitNet weights) ...
    pub type_name: String,
    /// Bytes in the file.
    pub bytes: u64,
    /// Byte of the file where the data starts; of a stack that a folder keeps as one tensor an expert, where the
    /// first expert starts.
    pub offset: u64,
}
