//! Stored tensors as the matrices that kernels are made from.

use craftsman_golden::TernaryMatrix;
use craftsman_golden::format::Format;
use craftsman_kernelgen::float::HalfKind;
pub use craftsman_kernelgen::float::{DenseData, DenseMatrix};
use half::{bf16, f16};

use super::types::TensorType;
use crate::{ErrorKind, ModelError};

/// A weight matrix `[rows, cols]` = (output features, input features), ternary or of floats.
#[derive(Clone, Debug, PartialEq)]
pub enum Matrix {
    /// Trits and their scales, as coarse as they can be said.
    Ternary(TernaryMatrix),
    /// Floats in their stored width.
    Dense(DenseMatrix),
}

impl Matrix {
    /// Output features.
    pub fn rows(&self) -> usize {
        match self {
            Self::Ternary(matrix) => matrix.m(),
            Self::Dense(matrix) => matrix.rows(),
        }
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        match self {
            Self::Ternary(matrix) => matrix.k(),
            Self::Dense(matrix) => matrix.cols(),
        }
    }

    /// The weights as f32, row major; exact for every stored type.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::Ternary(matrix) => matrix.dequantize(),
            Self::Dense(matrix) => matrix.widened(),
        }
    }
}

/// The values as f32; exact.
pub fn floats(data: DenseData) -> Vec<f32> {
    match data {
        DenseData::F32(values) => values,
        DenseData::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
        DenseData::BF16(values) => values.iter().map(|value| value.to_f32()).collect(),
    }
}

/// A dense matrix of `data`, whose count of numbers must be `m * k`.
pub fn dense_matrix(m: usize, k: usize, data: DenseData) -> Result<DenseMatrix, ModelError> {
    DenseMatrix::new(m, k, data).map_err(|error| ModelError::shape(error.to_string()).because(error))
}

/// What `count` numbers in `bytes` are, if they are stored in sixteen bits each.
pub fn half_kind(kind: TensorType, bytes: &[u8], count: usize) -> Option<HalfKind> {
    match kind.name() {
        _ if count.checked_mul(2) != Some(bytes.len()) => None,
        "F16" => Some(HalfKind::F16),
        "BF16" => Some(HalfKind::BF16),
        _ => None,
    }
}

/// The `rows * cols` numbers of a dense type: F16 and BF16 as they are, F32 and Q8_0 as f32.
pub fn dense(kind: TensorType, bytes: &[u8], count: usize) -> Result<DenseData, ModelError> {
    let TensorType::Format(format) = kind else { return Err(undecodable(kind.name())) };
    if format.is_ternary() {
        return Err(never_ternary(format.name()));
    }
    let halves = || bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
    match half_kind(kind, bytes, count) {
        Some(HalfKind::F16) => Ok(DenseData::F16(halves().map(f16::from_bits).collect())),
        Some(HalfKind::BF16) => Ok(DenseData::BF16(halves().map(bf16::from_bits).collect())),
        None => {
            let values = format.decode_f32(bytes, 1, count);
            values.map(DenseData::F32).map_err(|error| ModelError::corrupt(error.to_string()).because(error))
        }
    }
}

/// A stored `[m, k]` matrix, ternary or dense.
pub fn matrix(kind: TensorType, bytes: &[u8], m: usize, k: usize) -> Result<Matrix, ModelError> {
    match kind {
        TensorType::Format(format) if format.is_ternary() => {
            let decoded = format.decode_ternary(bytes, m, k);
            let decoded = decoded.map_err(|error| ModelError::corrupt(error.to_string()).because(error))?;
            Ok(Matrix::Ternary(decoded.coarsened()))
        }
        _ => dense_matrix(m, k, dense(kind, bytes, m * k)?).map(Matrix::Dense),
    }
}

/// Matrix number `index` of those of shape `[m, k]` in a tensor whose blocks do not end with rows and whose scale stands
/// behind them all, as in `I2_S`; nothing for types that are laid out in another way.
pub fn stretch(
    format: &Format,
    bytes: &[u8],
    index: usize,
    m: usize,
    k: usize,
) -> Option<Result<TernaryMatrix, ModelError>> {
    let block = format.block_len();
    let tail = format.bytes(0, block).ok()?;
    let each = format.bytes(1, block).ok()?.checked_sub(tail)?;
    let weights = index * m * k..(index + 1) * m * k;
    let blocks = weights.start / block..weights.end.div_ceil(block);
    let codes = bytes.get(blocks.start * each..blocks.end * each)?;
    let codes = [codes, bytes.get(bytes.len().checked_sub(tail)?..)?].concat();
    let decoded = format.decode_ternary(&codes, blocks.len(), block);
    let matrix = decoded.map_err(|error| ModelError::corrupt(error.to_string()).because(error));
    Some(matrix.and_then(|matrix| {
        let first = weights.start - blocks.start * block;
        let trits = matrix.trits()[first..first + m * k].to_vec();
        TernaryMatrix::new(m, k, trits, matrix.scales().clone())
            .map_err(|error| ModelError::shape(error.to_string()))
    }))
}

/// The error of asking for numbers where the file has something else.
pub fn never_ternary(type_name: &str) -> ModelError {
    ModelError::new(
        ErrorKind::WrongType,
        format!("is stored as {type_name}; routers, embeddings, norms and heads are never ternary"),
        "convert the model with these tensors in F16, BF16, F32 or Q8_0",
    )
}

/// The error of a type that cannot be decoded.
pub fn undecodable(type_name: &str) -> ModelError {
    ModelError::new(
        ErrorKind::Unsupported,
        format!("is stored as {type_name}, which cannot be decoded"),
        "convert the model to TQ1_0, TQ2_0, I2_S, F16, BF16, F32 or Q8_0",
    )
}
