//! A tensor in its files: one part, or of a stack one part a matrix.

use std::path::PathBuf;

use craftsman_golden::TernaryMatrix;
use craftsman_golden::quants::{QuantKind, QuantMatrix};
use craftsman_kernelgen::float::HalfKind;

use super::decode::{self, DenseData, Matrix};
use super::huggingface::packing;
use super::mapping::Bytes;
use super::types::TensorType;
use crate::ModelError;

/// A matrix or vector as it is stored.
#[derive(Clone)]
pub struct Part {
    /// The file it stands in.
    pub file: PathBuf,
    pub encoding: Encoding,
    /// Row major, of the weights rather than of the bytes.
    pub shape: Vec<usize>,
    /// Byte of the file where it starts.
    pub offset: usize,
    pub bytes: Bytes,
}

/// How the weights of a part are stored.
#[derive(Clone)]
pub enum Encoding {
    /// A type of GGUF files; folders have the dense ones.
    Stored(TensorType),
    /// A dense type that is quantised to trits when it is read as a matrix.
    Online(TensorType),
    /// Hugging Face's four trits a byte, with one scale.
    Packed(f32),
    /// A type of safetensors that no model stores weights in.
    Unknown(String),
}

/// The type name of packed BitNet weights in listings.
const PACKED: &str = "BITNET_HF";

impl Encoding {
    /// The name in listings.
    pub fn name(&self) -> &str {
        match self {
            Self::Stored(kind) | Self::Online(kind) => kind.name(),
            Self::Packed(_) => PACKED,
            Self::Unknown(name) => name,
        }
    }

    /// Whether a matrix of it is ternary whatever its values.
    pub fn is_ternary(&self) -> bool {
        match self {
            Self::Stored(kind) => kind.is_ternary(),
            Self::Online(_) | Self::Packed(_) => true,
            Self::Unknown(_) => false,
        }
    }
}

impl Part {
    /// The weights as a matrix.
    pub fn matrix(&self) -> Result<Matrix, ModelError> {
        let &[m, k] = &self.shape[..] else {
            return Err(ModelError::shape(format!("has shape {:?}, expected a matrix", self.shape)));
        };
        match self.encoding {
            Encoding::Stored(kind) => decode::matrix(kind, &self.bytes, m, k),
            Encoding::Online(kind) => {
                let weights = decode::floats(decode::dense(kind, &self.bytes, m * k)?);
                packing::quantise(&weights, m, k).map(Matrix::Ternary)
            }
            Encoding::Packed(scale) => packing::unpack(&self.bytes, m, k, scale).map(Matrix::Ternary),
            Encoding::Unknown(ref name) => Err(decode::undecodable(name)),
        }
    }

    /// The weights as `count` matrices one behind the other: more than one of a type with something for the whole
    /// tensor, as the scale of `I2_S`, which is decoded whole and then divided.
    pub fn matrices(&self, count: usize) -> Result<Vec<Matrix>, ModelError> {
        let matrix = self.matrix()?;
        if count == 1 {
            return Ok(vec![matrix]);
        }
        let Matrix::Ternary(all) = matrix else {
            return Err(ModelError::shape("its bytes do not divide into its matrices"));
        };
        let m = all.m() / count;
        let matrices = (0..count).map(|at| all.rows(at * m..(at + 1) * m));
        let matrices = matrices.map(|rows| rows.map(TernaryMatrix::coarsened).map(Matrix::Ternary));
        matrices.collect::<Result<_, _>>().map_err(|error| ModelError::shape(error.to_string()))
    }

    /// Matrix number `index` of those of shape `[m, k]` that stand one behind the other in a type with something for the
    /// whole tensor: of what the others have only the blocks are decoded that it shares with them.
    pub fn matrix_at(&self, index: usize, m: usize, k: usize) -> Result<Matrix, ModelError> {
        let whole = || {
            let Matrix::Ternary(all) = self.matrix()? else {
                return Err(ModelError::shape("its bytes do not divide into its matrices"));
            };
            all.rows(index * m..(index + 1) * m).map_err(|error| ModelError::shape(error.to_string()))
        };
        let matrix = match self.encoding {
            Encoding::Stored(TensorType::Format(format)) if format.has_tensor_scale() => {
                decode::stretch(format, &self.bytes, index, m, k).unwrap_or_else(whole)?
            }
            _ => whole()?,
        };
        Ok(Matrix::Ternary(matrix.coarsened()))
    }

    /// The matrix as it is stored, if that is integers in blocks that can be multiplied with.
    pub fn quants(&self) -> Result<Option<QuantMatrix>, ModelError> {
        let (Encoding::Stored(TensorType::Format(format)), &[m, k]) = (&self.encoding, &self.shape[..])
        else {
            return Ok(None);
        };
        let matrix = QuantKind::by_name(format.name())
            .map(|kind| QuantMatrix::from_bytes(kind, m, k, self.bytes.to_vec()));
        matrix.transpose().map_err(|error| ModelError::corrupt(error.to_string()).because(error))
    }

    /// The bytes of numbers of sixteen bits, if they are stored as such.
    pub fn halves(&self) -> Option<(HalfKind, &Bytes)> {
        let (Encoding::Stored(kind) | Encoding::Online(kind)) = self.encoding else { return None };
        let half = decode::half_kind(kind, &self.bytes, self.shape.iter().product())?;
        Some((half, &self.bytes))
    }

    /// The numbers of a dense type, as stored.
    pub fn dense(&self) -> Result<DenseData, ModelError> {
        match self.encoding {
            Encoding::Stored(kind) | Encoding::Online(kind) => {
                decode::dense(kind, &self.bytes, self.shape.iter().product())
            }
            Encoding::Packed(_) => Err(decode::never_ternary(PACKED)),
            Encoding::Unknown(ref name) => Err(decode::undecodable(name)),
        }
    }
}
