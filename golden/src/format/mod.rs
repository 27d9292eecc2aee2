//! How files store weights: one file a format (the three dense ones share one), one line each in [`ALL`].
//!
//! A format turns bytes into numbers, or into trits and scales, and back. It knows nothing of files: whoever
//! maps one adds the tensor's name and offset to the errors. Every length and code is checked, so that
//! hostile bytes end in a [`FormatError`].

mod bitnet_t158;
mod dense;
mod i2_s;
mod q8_0;
mod tq1_0;
mod tq2_0;

use half::f16;

use crate::{Granularity, Scales, ShapeError, TernaryMatrix};

/// Every format.
pub static ALL: &[&dyn Format] = &[
    &dense::F32,
    &dense::F16,
    &dense::Bf16,
    &q8_0::Q8_0,
    &tq1_0::Tq1_0,
    &tq2_0::Tq2_0,
    &i2_s::I2S,
    &bitnet_t158::BitnetT158,
];

/// The format of that name, as GGUF tools write it (`TQ1_0`, `F16`).
pub fn by_name(name: &str) -> Option<&'static dyn Format> {
    ALL.iter().copied().find(|format| format.name() == name)
}

/// The format of that GGUF tensor type id. Ids collide between forks (36 to 42): a container that can tell
/// them apart by other marks asks [`by_name`].
pub fn by_type_id(id: u32) -> Option<&'static dyn Format> {
    ALL.iter().copied().find(|format| format.type_id() == id)
}

/// Why bytes are not weights of a format, or weights not bytes.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FormatError {
    /// The shape does not divide into the format's blocks.
    #[error(
        "{format} stores blocks of {block} weights, and {count} weights do not divide into them; use a format with smaller blocks"
    )]
    Block {
        /// The format.
        format: &'static str,
        /// Weights a block.
        block: usize,
        /// Weights a row, or in the tensor for a format that ignores rows.
        count: usize,
    },
    /// The bytes are more or fewer than the shape needs.
    #[error(
        "{format}: {found} bytes given where the shape needs {expected}; the data is cut off or its type is another"
    )]
    Length {
        /// The format.
        format: &'static str,
        /// What was given.
        found: usize,
        /// What the shape needs.
        expected: usize,
    },
    /// A code that the format does not allow.
    #[error(
        "{format}: weight {index} has the invalid code {code}; the data is damaged or its type is another"
    )]
    Code {
        /// The format.
        format: &'static str,
        /// Flat row-major index of the weight.
        index: usize,
        /// The bits found.
        code: u8,
    },
    /// Asked for trits of a format of numbers.
    #[error("{format} stores numbers, not trits; quantise them first")]
    NotTernary {
        /// The format.
        format: &'static str,
    },
    /// Asked to write numbers in a format of trits.
    #[error("{format} stores trits; quantise the numbers first")]
    NotDense {
        /// The format.
        format: &'static str,
    },
    /// The scales are finer or otherwise divided than the format can say.
    #[error("{format} cannot say scales of granularity {granularity:?}; quantise again with one that it has")]
    Granularity {
        /// The format.
        format: &'static str,
        /// What was given.
        granularity: Granularity,
    },
    /// A number or scale that the format's number type cannot hold: beyond its range, or for a scale not
    /// exactly it.
    #[error(
        "{format}: {value} (number {index}) cannot be stored as the format's number type without changing it"
    )]
    Value {
        /// The format.
        format: &'static str,
        /// Index among the numbers or scales.
        index: usize,
        /// What was given.
        value: f32,
    },
    /// What the bytes say is no matrix: an infinite scale, say.
    #[error("{format}: {source}")]
    Shape {
        /// The format.
        format: &'static str,
        /// Why.
        source: ShapeError,
    },
}

/// One way of storing weights. Matrices are `[m, k]`, row major; in GGUF terms `k` is `ne[0]`.
pub trait Format: Sync {
    /// The name that GGUF tools write.
    fn name(&self) -> &'static str;

    /// The GGUF tensor type id.
    fn type_id(&self) -> u32;

    /// Weights a block: the granule of [`bytes`](Self::bytes).
    fn block_len(&self) -> usize;

    /// Whether it stores trits and scales rather than numbers.
    fn is_ternary(&self) -> bool;

    /// How many bytes an `[m, k]` matrix takes; an error when the shape does not divide into blocks or
    /// overflows.
    fn bytes(&self, m: usize, k: usize) -> Result<usize, FormatError>;

    /// The `n` numbers of a run of whole blocks; trits are multiplied by their scales.
    fn decode_f32(&self, bytes: &[u8], n: usize) -> Result<Vec<f32>, FormatError>;

    /// The numbers as bytes, rounded to nearest as the format's own tools do.
    fn encode_f32(&self, _values: &[f32]) -> Result<Vec<u8>, FormatError> {
        Err(FormatError::NotDense { format: self.name() })
    }

    /// Trits and scales of an `[m, k]` matrix.
    fn decode_ternary(&self, _bytes: &[u8], _m: usize, _k: usize) -> Result<TernaryMatrix, FormatError> {
        Err(FormatError::NotTernary { format: self.name() })
    }

    /// Trits and scales as bytes. Scales are never changed on the way: one that the format cannot hold
    /// exactly is an error ([`absmean_stored`](crate::quantize::absmean_stored) makes scales that can be
    /// held).
    fn encode_ternary(&self, _weights: &TernaryMatrix) -> Result<Vec<u8>, FormatError> {
        Err(FormatError::NotTernary { format: self.name() })
    }
}

/// Checks that `bytes` is exactly as long as an `[m, k]` matrix of `format`.
fn check_length(format: &dyn Format, bytes: &[u8], m: usize, k: usize) -> Result<(), FormatError> {
    let expected = format.bytes(m, k)?;
    if bytes.len() == expected {
        Ok(())
    } else {
        Err(FormatError::Length { format: format.name(), found: bytes.len(), expected })
    }
}

/// Bytes of `m` rows of `k` weights in blocks of `block_bytes`.
fn block_bytes(format: &dyn Format, m: usize, k: usize, block_bytes: usize) -> Result<usize, FormatError> {
    let block = format.block_len();
    if !k.is_multiple_of(block) {
        return Err(FormatError::Block { format: format.name(), block, count: k });
    }
    let bytes = (k / block).checked_mul(m).and_then(|blocks| blocks.checked_mul(block_bytes));
    bytes.ok_or(FormatError::Shape { format: format.name(), source: ShapeError::Size { m, k } })
}

/// Trits of one block format: `BYTES` bytes for 256 weights, the last two a scale in f16.
///
/// What `TQ1_0`, `TQ2_0` and `BITNET_T158` have in common; each says only where its trits are.
trait TernaryBlock: Format + Sized {
    /// Bytes a block, scale included.
    const BYTES: usize;

    /// Reads 256 trits; on an invalid code its index within the block and its bits.
    fn read(codes: &[u8], trits: &mut [i8; 256]) -> Result<(), (usize, u8)>;

    /// Writes 256 trits into zeroed bytes.
    fn write(trits: &[i8; 256], codes: &mut [u8]);

    /// [`Format::decode_ternary`].
    fn decode_blocks(&self, bytes: &[u8], m: usize, k: usize) -> Result<TernaryMatrix, FormatError> {
        check_length(self, bytes, m, k)?;
        let format = self.name();
        let mut trits = Vec::with_capacity(m * k);
        let mut values = Vec::with_capacity(m * k / 256);
        for block in bytes.chunks_exact(Self::BYTES) {
            let (codes, scale) = block.split_at(Self::BYTES - 2);
            let mut decoded = [0; 256];
            Self::read(codes, &mut decoded).map_err(|(at, code)| FormatError::Code {
                format,
                index: trits.len() + at,
                code,
            })?;
            trits.extend_from_slice(&decoded);
            values.push(f16::from_le_bytes([scale[0], scale[1]]).to_f32());
        }
        TernaryMatrix::new(m, k, trits, Scales::Block { size: 256, values })
            .map_err(|source| FormatError::Shape { format, source })
    }

    /// [`Format::decode_f32`].
    fn decode_numbers(&self, bytes: &[u8], n: usize) -> Result<Vec<f32>, FormatError> {
        check_length(self, bytes, 1, n)?;
        if n == 0 {
            return Ok(Vec::new());
        }
        Ok(self.decode_blocks(bytes, n / 256, 256)?.dequantize())
    }

    /// [`Format::encode_ternary`]: coarser scales are repeated in each block.
    fn encode_blocks(&self, weights: &TernaryMatrix) -> Result<Vec<u8>, FormatError> {
        let format = self.name();
        let (m, k) = (weights.m(), weights.k());
        let mut bytes = Vec::with_capacity(self.bytes(m, k)?);
        if let granularity @ Granularity::Block(64 | 128) = weights.granularity() {
            return Err(FormatError::Granularity { format, granularity });
        }
        for row in 0..m {
            let scales = weights.row_scales(row);
            let (blocks, _) = weights.row(row).as_chunks::<256>();
            for (at, trits) in blocks.iter().enumerate() {
                let value = scales[at.min(scales.len() - 1)];
                let start = bytes.len();
                bytes.resize(start + Self::BYTES - 2, 0);
                Self::write(trits, &mut bytes[start..]);
                let index = row * blocks.len() + at;
                bytes.extend(
                    exact_f16(value).ok_or(FormatError::Value { format, index, value })?.to_le_bytes(),
                );
            }
        }
        Ok(bytes)
    }
}

/// The place of the first trit that was decoded as code minus one from the invalid code 3, if there is one.
fn code_three(trits: &[i8]) -> Result<(), (usize, u8)> {
    match trits.iter().fold(0, |seen, trit| seen | (trit & 2 & !(trit >> 7))) {
        0 => Ok(()),
        _ => Err((trits.iter().position(|&trit| trit == 2).unwrap_or_default(), 3)),
    }
}

/// `value` as f16 when that changes nothing.
fn exact_f16(value: f32) -> Option<f16> {
    let stored = f16::from_f32(value);
    (stored.to_f32().to_bits() == value.to_bits()).then_some(stored)
}

/// The trait methods of a format that is a [`TernaryBlock`].
macro_rules! ternary_block_format {
    ($format:ty, $name:literal, $id:literal) => {
        impl Format for $format {
            fn name(&self) -> &'static str {
                $name
            }
            fn type_id(&self) -> u32 {
                $id
            }
            fn block_len(&self) -> usize {
                256
            }
            fn is_ternary(&self) -> bool {
                true
            }
            fn bytes(&self, m: usize, k: usize) -> Result<usize, FormatError> {
                block_bytes(self, m, k, Self::BYTES)
            }
            fn decode_f32(&self, bytes: &[u8], n: usize) -> Result<Vec<f32>, FormatError> {
                self.decode_numbers(bytes, n)
            }
            fn decode_ternary(&self, bytes: &[u8], m: usize, k: usize) -> Result<TernaryMatrix, FormatError> {
                self.decode_blocks(bytes, m, k)
            }
            fn encode_ternary(&self, weights: &TernaryMatrix) -> Result<Vec<u8>, FormatError> {
                self.encode_blocks(weights)
            }
        }
    };
}
use ternary_block_format;
