//! Walks over the blocks of a matrix: what all formats have in common.

use half::f16;

use super::{Format, FormatError, ScalePlace};
use crate::quantize::ScaleStorage;
use crate::trit::weight_count;
use crate::{Scales, TernaryMatrix};

/// Reads the trits of one block from its codes; on an invalid code its index within the block and its bits.
pub type ReadCodes = fn(&[u8], &mut [i8]) -> Result<(), (usize, u8)>;

/// Writes the trits of one block into zeroed bytes.
pub type WriteCodes = fn(&[i8], &mut [u8]);

/// Reads the trits of a matrix of a known shape; on an invalid code its flat index and its bits.
pub type ReadPreset = fn(&[u8], [usize; 2], &mut [i8]) -> Result<(), (usize, u8)>;

/// What the codes of a preset are padded to, and the bytes that its scale takes.
const PRESET_UNIT: usize = 32;

/// Bytes of a matrix whose codes take `codes` bytes.
pub fn preset_bytes(codes: usize) -> usize {
    codes.next_multiple_of(PRESET_UNIT) + PRESET_UNIT
}

/// Appends numbers as whole blocks; on a number that cannot be stored its index.
type WriteNumbers = fn(&[f32], &mut Vec<u8>) -> Result<(), usize>;

/// How a format of numbers is read and written.
#[derive(Debug)]
pub struct NumberCode {
    /// Reads whole blocks.
    pub read: fn(&[u8], &mut [f32]),
    /// Formats of other tools that nobody needs more files of have none.
    pub write: Option<WriteNumbers>,
}

impl NumberCode {
    pub fn decode(&self, bytes: &[u8], n: usize) -> Vec<f32> {
        let mut values = vec![0.0; n];
        (self.read)(bytes, &mut values);
        values
    }
}

/// How the bytes of a tensor repeat: `run` weights under one scale, `before` bytes of it before their codes and
/// `after` bytes of it and of padding behind them.
struct Parts {
    run: usize,
    before: usize,
    after: usize,
}

impl ScalePlace {
    /// The parts of a tensor of `n` weights in rows of `k`, stored in blocks of `weights`.
    fn parts(self, n: usize, k: usize, weights: usize) -> Parts {
        match self {
            Self::BeforeBlock => Parts { run: weights, before: 2, after: 0 },
            Self::AfterBlock => Parts { run: weights, before: 0, after: 2 },
            Self::BeforeRow(storage) => Parts { run: k, before: storage.bytes(), after: 0 },
            Self::AfterTensor(after) => Parts { run: n, before: 0, after },
        }
    }

    pub(super) fn storage(self) -> ScaleStorage {
        match self {
            Self::BeforeBlock | Self::AfterBlock => ScaleStorage::F16,
            Self::BeforeRow(storage) => storage,
            Self::AfterTensor(_) => ScaleStorage::F32,
        }
    }

    /// The scales as read, in storage order.
    fn scales(self, values: Vec<f32>, weights: usize) -> Scales {
        match self {
            Self::BeforeBlock | Self::AfterBlock => Scales::Block { size: weights, values },
            Self::BeforeRow(_) => Scales::Row(values),
            Self::AfterTensor(_) => Scales::Tensor(values[0]),
        }
    }
}

impl Format {
    /// [`Format::decode_ternary`] of bytes whose length is right.
    pub(super) fn decode_blocks(
        &self,
        bytes: &[u8],
        [m, k]: [usize; 2],
        place: ScalePlace,
        read: ReadCodes,
    ) -> Result<TernaryMatrix, FormatError> {
        let n = weight_count(m, k).map_err(|source| self.misshapen(source))?;
        let Parts { run, before, after } = place.parts(n, k, self.weights);
        let mut trits = vec![0; n];
        let mut values = Vec::with_capacity(n / run);
        let parts = bytes.chunks_exact(bytes.len() / (n / run));
        for (part, trits) in parts.zip(trits.chunks_exact_mut(run)) {
            let (codes, behind) = part[before..].split_at(part.len() - before - after);
            self.read_part(codes, trits, read).map_err(|(within, code)| FormatError::Code {
                format: self.name,
                index: values.len() * run + within,
                code,
            })?;
            values.push(place.storage().read(if before > 0 { part } else { behind }));
        }
        TernaryMatrix::new(m, k, trits, place.scales(values, self.weights))
            .map_err(|source| self.misshapen(source))
    }

    /// As [`Self::decode_blocks`], of a format whose order a table says.
    pub(super) fn decode_preset(
        &self,
        bytes: &[u8],
        [m, k]: [usize; 2],
        read: ReadPreset,
    ) -> Result<TernaryMatrix, FormatError> {
        let mut trits = vec![0; m * k];
        let (codes, scale) = bytes.split_at(bytes.len() - PRESET_UNIT);
        read(codes, [m, k], &mut trits).map_err(|(index, code)| FormatError::Code {
            format: self.name,
            index,
            code,
        })?;
        let scale = Scales::Tensor(ScaleStorage::F32.read(scale));
        TernaryMatrix::new(m, k, trits, scale).map_err(|source| self.misshapen(source))
    }

    /// The blocks under one scale.
    fn read_part(&self, codes: &[u8], trits: &mut [i8], read: ReadCodes) -> Result<(), (usize, u8)> {
        let codes = codes.chunks_exact(codes.len() / (trits.len() / self.weights));
        for (block, (codes, trits)) in codes.zip(trits.chunks_exact_mut(self.weights)).enumerate() {
            read(codes, trits).map_err(|(within, code)| (block * self.weights + within, code))?;
        }
        Ok(())
    }

    /// [`Format::encode_ternary`].
    pub(super) fn encode_blocks(
        &self,
        weights: &TernaryMatrix,
        place: ScalePlace,
        write: WriteCodes,
    ) -> Result<Vec<u8>, FormatError> {
        let (format, n) = (self.name, weights.trits().len());
        let mut bytes = vec![0; self.bytes(weights.m(), weights.k())?];
        let Parts { run, before, after } = place.parts(n, weights.k(), self.weights);
        let size = bytes.len() / (n / run);
        let parts = bytes.chunks_exact_mut(size);
        for (index, (part, trits)) in parts.zip(weights.trits().chunks_exact(run)).enumerate() {
            let granularity = weights.granularity();
            let value = weights.scale_over(index * run..(index + 1) * run);
            let value = value.ok_or(FormatError::Granularity { format, granularity })?;
            let codes = part.len() - before - after;
            let at = if before > 0 { 0 } else { codes };
            place.storage().write(value, &mut part[at..]).ok_or(FormatError::Value {
                format,
                index,
                value,
            })?;
            let codes = &mut part[before..before + codes];
            let each = codes.len() / (run / self.weights);
            for (codes, trits) in codes.chunks_exact_mut(each).zip(trits.chunks_exact(self.weights)) {
                write(trits, codes);
            }
        }
        Ok(bytes)
    }
}

impl ScaleStorage {
    /// Bytes of a scale.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The scale at the beginning of `bytes`.
    fn read(self, bytes: &[u8]) -> f32 {
        match self {
            Self::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Self::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        }
    }

    /// Writes `value` to the beginning of `bytes`; nothing when storing would change it.
    fn write(self, value: f32, bytes: &mut [u8]) -> Option<()> {
        match self {
            Self::F16 => {
                let stored = f16::from_f32(value);
                let exact = stored.to_f32().to_bits() == value.to_bits();
                exact.then(|| bytes[..2].copy_from_slice(&stored.to_le_bytes()))
            }
            Self::F32 => {
                bytes[..4].copy_from_slice(&value.to_le_bytes());
                Some(())
            }
        }
    }
}

/// Trits from two-bit codes 0, 1, 2 less one: `bytes` are walked once for each of `shifts`, so that with
/// `[0, 2, 4, 6]` the lowest bits of all bytes come first, then the next ones. Code 3 is invalid.
pub fn read_planes(bytes: &[u8], shifts: [u32; 4], trits: &mut [i8]) -> Result<(), (usize, u8)> {
    for (shift, trits) in shifts.iter().zip(trits.chunks_exact_mut(bytes.len())) {
        for (trit, code) in trits.iter_mut().zip(bytes) {
            *trit = (code >> shift & 3) as i8 - 1;
        }
    }
    code_three(trits)
}

/// The reverse of [`read_planes`], into zeroed bytes.
pub fn write_planes(trits: &[i8], shifts: [u32; 4], bytes: &mut [u8]) {
    for (shift, trits) in shifts.iter().zip(trits.chunks_exact(bytes.len())) {
        for (code, trit) in bytes.iter_mut().zip(trits) {
            *code |= ((trit + 1) as u8) << shift;
        }
    }
}

/// The place of the first trit that was decoded as code minus one from the invalid code 3, if there is one.
pub fn code_three(trits: &[i8]) -> Result<(), (usize, u8)> {
    match trits.iter().fold(0, |seen, trit| seen | (trit & 2 & !(trit >> 7))) {
        0 => Ok(()),
        _ => Err((trits.iter().position(|&trit| trit == 2).unwrap_or_default(), 3)),
    }
}

/// Digit `n` (0 is the most significant) of the base-3 fraction that `byte` / 256 is, rounded up when it was
/// made: a byte `ceil(256 q / 243)` holds the five digits of `q`.
pub fn fraction_digit(byte: u8, n: u32) -> i8 {
    let fraction = byte.wrapping_mul(3_u8.pow(n));
    ((u16::from(fraction) * 3) >> 8) as i8
}
