//! How files store weights: one file a format or a few alike, one row each in [`ALL`].
//!
//! A format turns bytes into numbers, or into trits and scales, and back. It is data (name, id, sizes, where
//! the scales stand) and the functions that read and write one block. It knows nothing of files: whoever maps
//! one adds the tensor's name and offset to the errors. Every length and code is checked, so that hostile
//! bytes end in a [`FormatError`].

mod bitnet_t158;
mod dense;
mod error;
mod i2_s;
mod iq1_s;
mod iq_bn;
mod k_quants;
mod q2_0;
mod q4_0;
mod q8_0;
mod tl;
mod tq1_0;
mod tq2_0;
mod walk;

pub use dense::F32;
pub use error::FormatError;

use crate::quantize::ScaleStorage;
use crate::{ShapeError, TernaryMatrix};
use walk::{NumberCode, ReadCodes, ReadPreset, WriteCodes};

/// Every format. Of two with one id (forks disagree about some) the first is the usual one.
pub static ALL: &[&Format] = &[
    &dense::F32,
    &dense::F16,
    &dense::BF16,
    &q4_0::Q4_0,
    &q8_0::Q8_0,
    &k_quants::Q4_K,
    &k_quants::Q5_K,
    &k_quants::Q6_K,
    &iq1_s::IQ1_S,
    &tq1_0::TQ1_0,
    &tq2_0::TQ2_0,
    &i2_s::I2_S,
    &i2_s::I2_S_ARM,
    &tl::TL1,
    &tl::TL2,
    &q2_0::Q2_0,
    &q2_0::PQ2_0,
    &iq_bn::IQ1_BN,
    &iq_bn::IQ2_BN,
    &bitnet_t158::BITNET_T158,
];

/// The format of that name, as GGUF tools write it (`TQ1_0`, `F16`).
pub fn by_name(name: &str) -> Option<&'static Format> {
    ALL.iter().copied().find(|format| format.name == name)
}

/// The usual format of that GGUF tensor type id. Ids collide between forks (36 to 42): a container that can
/// tell them apart by other marks asks [`by_name`].
pub fn by_type_id(id: u32) -> Option<&'static Format> {
    ALL.iter().copied().find(|format| format.type_id == id)
}

/// One way of storing weights. Matrices are `[m, k]`, row major; in GGUF terms `k` is `ne[0]`.
#[derive(Debug)]
pub struct Format {
    name: &'static str,
    type_id: u32,
    /// Weights a block.
    weights: usize,
    /// Bytes a block, with its scale where it has one.
    bytes: usize,
    coding: Coding,
}

/// What the bytes mean.
#[derive(Debug)]
enum Coding {
    /// Numbers.
    Numbers(NumberCode),
    /// Trits and scales. Formats of other tools that nobody needs more files of have no `write`.
    Trits { scale: ScalePlace, read: ReadCodes, write: Option<WriteCodes> },
    /// Trits in an order that a table says for each shape, then one f32 scale: how many bytes the codes of a shape take,
    /// if a table knows it, and how they are read.
    Preset { codes: fn(usize, usize) -> Option<usize>, read: ReadPreset },
}

/// Where the scales stand, how far each reaches, and as what they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScalePlace {
    /// f16 before the codes of each block.
    BeforeBlock,
    /// f16 behind the codes of each block.
    AfterBlock,
    /// One a row, before its first block.
    BeforeRow(ScaleStorage),
    /// One f32 behind the codes of the whole tensor, whose blocks do not end with rows, in so many bytes.
    AfterTensor(usize),
}

impl Format {
    /// The name that GGUF tools write.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The GGUF tensor type id.
    pub fn type_id(&self) -> u32 {
        self.type_id
    }

    /// Weights a block: the granule of [`bytes`](Self::bytes).
    pub fn block_len(&self) -> usize {
        self.weights
    }

    /// Whether it stores trits and scales rather than numbers.
    pub fn is_ternary(&self) -> bool {
        matches!(self.coding, Coding::Trits { .. } | Coding::Preset { .. })
    }

    /// Whether it can be written.
    pub fn is_written(&self) -> bool {
        match &self.coding {
            Coding::Numbers(code) => code.write.is_some(),
            Coding::Trits { write, .. } => write.is_some(),
            Coding::Preset { .. } => false,
        }
    }

    /// As what its scales are stored; nothing for a format of numbers.
    pub fn scale_storage(&self) -> Option<ScaleStorage> {
        match self.coding {
            Coding::Trits { scale, .. } => Some(scale.storage()),
            Coding::Preset { .. } => Some(ScaleStorage::F32),
            Coding::Numbers(_) => None,
        }
    }

    /// Whether one scale stands for the whole tensor, so that the matrices of a stack cannot be stored one
    /// behind the other.
    pub fn has_tensor_scale(&self) -> bool {
        matches!(self.coding, Coding::Trits { scale: ScalePlace::AfterTensor(_), .. } | Coding::Preset { .. })
    }

    /// How many bytes an `[m, k]` matrix takes; an error when the shape does not divide into blocks or
    /// overflows.
    pub fn bytes(&self, m: usize, k: usize) -> Result<usize, FormatError> {
        let overflow = || self.misshapen(ShapeError::Size { m, k });
        if let Coding::Preset { codes, .. } = self.coding {
            let codes = codes(m, k).ok_or(FormatError::Preset { format: self.name, m, k })?;
            return Ok(walk::preset_bytes(codes));
        }
        let (row_header, tail, rows, row) = match self.coding {
            Coding::Trits { scale: ScalePlace::BeforeRow(number), .. } => (number.bytes(), 0, m, k),
            Coding::Trits { scale: ScalePlace::AfterTensor(tail), .. } => {
                (0, tail, 1, m.checked_mul(k).ok_or_else(overflow)?)
            }
            _ => (0, 0, m, k),
        };
        if !row.is_multiple_of(self.weights) {
            return Err(FormatError::Block { format: self.name, block: self.weights, count: row });
        }
        let row = (row / self.weights).checked_mul(self.bytes).and_then(|row| row.checked_add(row_header));
        let all = row.and_then(|row| row.checked_mul(rows)).and_then(|all| all.checked_add(tail));
        all.ok_or_else(overflow)
    }

    /// The numbers of an `[m, k]` matrix; trits are multiplied by their scales.
    pub fn decode_f32(&self, bytes: &[u8], m: usize, k: usize) -> Result<Vec<f32>, FormatError> {
        self.check_length(bytes, m, k)?;
        match &self.coding {
            Coding::Numbers(code) => Ok(code.decode(bytes, m * k)),
            _ if m * k == 0 => Ok(Vec::new()),
            _ => Ok(self.decode_ternary(bytes, m, k)?.dequantize()),
        }
    }

    /// The numbers as bytes, rounded to nearest as the format's own tools do. A finite number beyond the
    /// range is an error.
    pub fn encode_f32(&self, values: &[f32]) -> Result<Vec<u8>, FormatError> {
        let Coding::Numbers(code) = &self.coding else {
            return Err(FormatError::NotDense { format: self.name });
        };
        let write = code.write.ok_or(FormatError::ReadOnly { format: self.name })?;
        let mut bytes = Vec::with_capacity(self.bytes(1, values.len())?);
        write(values, &mut bytes).map_err(|index| FormatError::Value {
            format: self.name,
            index,
            value: values[index],
        })?;
        Ok(bytes)
    }

    /// Trits and scales of an `[m, k]` matrix.
    pub fn decode_ternary(&self, bytes: &[u8], m: usize, k: usize) -> Result<TernaryMatrix, FormatError> {
        match self.coding {
            Coding::Trits { scale, read, .. } => {
                self.check_length(bytes, m, k)?;
                self.decode_blocks(bytes, [m, k], scale, read)
            }
            Coding::Preset { read, .. } => {
                self.check_length(bytes, m, k)?;
                self.decode_preset(bytes, [m, k], read)
            }
            Coding::Numbers(_) => Err(FormatError::NotTernary { format: self.name }),
        }
    }

    /// Trits and scales as bytes. Scales are never changed on the way: one that the format cannot hold
    /// exactly is an error ([`absmean_stored`](crate::quantize::absmean_stored) makes scales that can be
    /// held). Coarser scales are repeated, finer ones that agree are said once.
    pub fn encode_ternary(&self, weights: &TernaryMatrix) -> Result<Vec<u8>, FormatError> {
        match self.coding {
            Coding::Trits { scale, write: Some(write), .. } => self.encode_blocks(weights, scale, write),
            Coding::Trits { .. } | Coding::Preset { .. } => Err(FormatError::ReadOnly { format: self.name }),
            Coding::Numbers(_) => Err(FormatError::NotTernary { format: self.name }),
        }
    }

    fn misshapen(&self, source: ShapeError) -> FormatError {
        FormatError::Shape { format: self.name, source }
    }

    /// Checks that `bytes` is exactly as long as an `[m, k]` matrix.
    fn check_length(&self, bytes: &[u8], m: usize, k: usize) -> Result<(), FormatError> {
        let expected = self.bytes(m, k)?;
        if bytes.len() == expected {
            Ok(())
        } else {
            Err(FormatError::Length { format: self.name, found: bytes.len(), expected })
        }
    }
}
