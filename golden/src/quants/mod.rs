//! Matrices of small integers in blocks, as heads and embeddings are stored: `Q8_0`, `Q6_K`, `Q4_K`.
//!
//! A row is a sequence of superblocks, these of blocks. A weight is `scale * (code - zero) - minimum`, where the scale of
//! a block is the superblock's `d` times a small integer, exactly; so is the minimum, where the format has one.
//!
//! # The product
//! ```text
//! acc = 0;  for each block in ascending order:
//!     acc = mul_add(sum of (code - zero) * q, scale, acc)
//!     acc = mul_add(-(sum of q), minimum, acc)            where the format has minimums
//! y = acc / a
//! ```
//! Sums are integers and exact; a sum of more than 2^24 cannot be, with 32 products of 255 * 128.

mod q4_k;
mod q6_k;
mod q8_0;

use half::f16;

pub use q4_k::Q4_K;
pub(crate) use q4_k::six_bits;
pub use q6_k::Q6_K;
pub use q8_0::Q8_0;

/// Every kind, the most bits first.
pub static ALL: &[&QuantKind] = &[&Q8_0, &Q6_K, &Q4_K];

/// Columns of the longest superblock.
pub const MOST_COLUMNS: usize = 256;
/// Blocks of a superblock at most.
pub const MOST_BLOCKS: usize = 16;

/// The numbers that describe one way of storing blocks of integers.
#[derive(Debug)]
pub struct QuantKind {
    /// The name that GGUF tools write.
    pub name: &'static str,
    /// Bits of a code.
    pub bits: u32,
    /// Columns under one scale.
    pub block: usize,
    /// Columns of a superblock: k must be a multiple.
    pub columns: usize,
    /// Bytes of a superblock in a file.
    pub bytes: usize,
    /// The code of a weight of zero, but for the minimum.
    pub zero: u8,
    /// Whether blocks have minimums.
    pub minimums: bool,
    /// Where a superblock has its halves: what scales and minimums are multiples of.
    pub halves: &'static [usize],
    unpack: fn(&[u8], &mut Superblock),
    pack: fn(&[f32]) -> Option<Vec<u8>>,
}

/// One superblock, taken apart. What the kind does not have is 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Superblock {
    /// What the blocks' scales are multiples of.
    pub d: f16,
    /// What the blocks' minimums are multiples of.
    pub d_minimum: f16,
    /// A block's scale, in `d`.
    pub scales: [i8; MOST_BLOCKS],
    /// A block's minimum, in `d_minimum`.
    pub minimums: [u8; MOST_BLOCKS],
    /// A column's code.
    pub codes: [u8; MOST_COLUMNS],
}

impl Default for Superblock {
    fn default() -> Self {
        Self {
            d: f16::ZERO,
            d_minimum: f16::ZERO,
            scales: [0; MOST_BLOCKS],
            minimums: [0; MOST_BLOCKS],
            codes: [0; MOST_COLUMNS],
        }
    }
}

impl Superblock {
    /// The scale of block `block`: exact.
    pub fn scale(&self, block: usize) -> f32 {
        self.d.to_f32() * f32::from(self.scales[block])
    }

    /// The minimum of block `block`: exact.
    pub fn minimum(&self, block: usize) -> f32 {
        self.d_minimum.to_f32() * f32::from(self.minimums[block])
    }
}

/// Why bytes are not such a matrix, or numbers cannot be stored as one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantError {
    /// No rows, no columns, or columns that are no whole superblocks.
    #[error(
        "{kind} stores rows in superblocks of {columns} columns: {m} x {k} is no shape for it; use Q8_0 or F16"
    )]
    Shape {
        /// The kind.
        kind: &'static str,
        /// Its columns a superblock.
        columns: usize,
        /// Rows.
        m: usize,
        /// Columns.
        k: usize,
    },
    /// More or fewer bytes than the shape needs.
    #[error(
        "{kind}: {found} bytes given where the shape needs {expected}; the data is cut off or its type is another"
    )]
    Length {
        /// The kind.
        kind: &'static str,
        /// What was given.
        found: usize,
        /// What the shape needs.
        expected: usize,
    },
    /// A scale that is infinite or not a number.
    #[error(
        "{kind}: superblock {superblock} has a scale that is not finite; the data is damaged or its type is another"
    )]
    Scale {
        /// The kind.
        kind: &'static str,
        /// Which one, in row-major order.
        superblock: usize,
    },
    /// A number that is not finite, or too large for a scale of half precision.
    #[error("{kind}: superblock {superblock} holds a number that cannot be stored")]
    Value {
        /// The kind.
        kind: &'static str,
        /// Which one, in row-major order.
        superblock: usize,
    },
}

/// A matrix `[m, k]`, row major, in the bytes of its kind.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantMatrix {
    kind: &'static QuantKind,
    m: usize,
    k: usize,
    bytes: Vec<u8>,
}

impl PartialEq for QuantKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl QuantKind {
    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|kind| kind.name == name)
    }

    /// Bytes of a row of `k` columns, and of `m` such rows.
    fn size(&self, m: usize, k: usize) -> Result<(usize, usize), QuantError> {
        let Self { name: kind, columns, .. } = *self;
        let shape = QuantError::Shape { kind, columns, m, k };
        if m == 0 || k == 0 || !k.is_multiple_of(columns) {
            return Err(shape);
        }
        let row = (k / columns).checked_mul(self.bytes);
        row.and_then(|row| Some((row, row.checked_mul(m)?))).ok_or(shape)
    }

    /// Blocks of a superblock.
    pub fn blocks(&self) -> usize {
        self.columns / self.block
    }

    /// The numbers of whole superblocks, products rounded one by one, as gguf-py does.
    pub fn read(&self, bytes: &[u8], values: &mut [f32]) {
        let mut superblock = Superblock::default();
        for (bytes, values) in bytes.chunks_exact(self.bytes).zip(values.chunks_exact_mut(self.columns)) {
            self.unpack(bytes, &mut superblock);
            let blocks = values.chunks_exact_mut(self.block).zip(superblock.codes.chunks_exact(self.block));
            for (at, (values, codes)) in blocks.enumerate() {
                let (scale, minimum) = (superblock.scale(at), superblock.minimum(at));
                for (value, &code) in values.iter_mut().zip(codes) {
                    *value = scale * (f32::from(code) - f32::from(self.zero)) - minimum;
                }
            }
        }
    }

    /// Appends the bytes of whole superblocks of numbers.
    ///
    /// # Errors
    /// The index of a number that is not finite, or too large for scales of half precision.
    pub fn write(&self, values: &[f32], bytes: &mut Vec<u8>) -> Result<(), usize> {
        for (at, values) in values.chunks_exact(self.columns).enumerate() {
            let bad = values.iter().position(|value| !value.is_finite());
            let packed = if bad.is_none() { (self.pack)(values) } else { None };
            bytes.extend(packed.ok_or(at * self.columns + bad.unwrap_or_else(|| largest(values)))?);
        }
        Ok(())
    }

    /// Takes one superblock apart; `bytes` is as long as one.
    pub fn unpack(&self, bytes: &[u8], superblock: &mut Superblock) {
        (self.unpack)(bytes, superblock);
    }
}

impl QuantMatrix {
    /// The matrix that `bytes` are, as they stand in a file.
    ///
    /// # Errors
    /// When the shape or the length is wrong, or a scale is not finite.
    pub fn from_bytes(
        kind: &'static QuantKind,
        m: usize,
        k: usize,
        bytes: Vec<u8>,
    ) -> Result<Self, QuantError> {
        let (_, expected) = kind.size(m, k)?;
        if bytes.len() != expected {
            return Err(QuantError::Length { kind: kind.name, found: bytes.len(), expected });
        }
        let half = |bytes: &[u8], at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let finite = |bytes: &[u8]| kind.halves.iter().all(|&at| half(bytes, at).is_finite());
        match bytes.chunks_exact(kind.bytes).map(finite).position(|finite| !finite) {
            Some(superblock) => Err(QuantError::Scale { kind: kind.name, superblock }),
            None => Ok(Self { kind, m, k, bytes }),
        }
    }

    /// Rounds `[m, k]` numbers.
    ///
    /// # Errors
    /// When the shape is wrong, or a number cannot be stored.
    pub fn quantize(
        kind: &'static QuantKind,
        m: usize,
        k: usize,
        values: &[f32],
    ) -> Result<Self, QuantError> {
        let (_, size) = kind.size(m, k)?;
        if values.len() != m * k {
            return Err(QuantError::Length { kind: kind.name, found: 4 * values.len(), expected: 4 * m * k });
        }
        let mut bytes = Vec::with_capacity(size);
        kind.write(values, &mut bytes)
            .map_err(|index| QuantError::Value { kind: kind.name, superblock: index / kind.columns })?;
        Ok(Self { kind, m, k, bytes })
    }

    /// How it is stored.
    pub fn kind(&self) -> &'static QuantKind {
        self.kind
    }

    /// Rows: output features.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Columns: input features.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The bytes, as a file has them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, for keeps.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The superblocks of row `i`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, i: usize) -> impl Iterator<Item = Superblock> {
        self.row_bytes(i).chunks_exact(self.kind.bytes).map(|bytes| {
            let mut block = Superblock::default();
            self.kind.unpack(bytes, &mut block);
            block
        })
    }

    /// Row `i` as numbers: the embedding of a token.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row_f32(&self, i: usize) -> Vec<f32> {
        let mut values = vec![0.0; self.k];
        self.kind.read(self.row_bytes(i), &mut values);
        values
    }

    fn row_bytes(&self, i: usize) -> &[u8] {
        let bytes = self.k / self.kind.columns * self.kind.bytes;
        &self.bytes[i * bytes..][..bytes]
    }
}

/// The product of int8 activations `q` (`[n, k]`), quantised with the multipliers `a` (`[n]`): `[n, m]`. See the module's
/// introduction.
///
/// # Panics
/// When `q` is not `a.len() * k` long.
pub fn quantized_gemm(w: &QuantMatrix, q: &[i8], a: &[f32]) -> Vec<f32> {
    assert_eq!(q.len(), a.len() * w.k, "activations of {} tokens", a.len());
    q.chunks(w.k).zip(a).flat_map(|(q, &a)| (0..w.m).map(move |i| row_product(w, i, q) / a)).collect()
}

/// Row `i` times `q`, before the division.
fn row_product(w: &QuantMatrix, i: usize, q: &[i8]) -> f32 {
    let QuantKind { block, columns, zero, minimums, .. } = *w.kind;
    let mut acc = 0.0_f32;
    for (superblock, q) in w.row(i).zip(q.chunks(columns)) {
        for (at, (codes, q)) in superblock.codes.chunks(block).zip(q.chunks(block)).enumerate() {
            let products =
                codes.iter().zip(q).map(|(&c, &q)| (i32::from(c) - i32::from(zero)) * i32::from(q));
            acc = (products.sum::<i32>() as f32).mul_add(superblock.scale(at), acc);
            if minimums {
                let sum: i32 = q.iter().map(|&q| i32::from(q)).sum();
                acc = (-(sum as f32)).mul_add(superblock.minimum(at), acc);
            }
        }
    }
    acc
}

/// Where the largest magnitude is.
fn largest(values: &[f32]) -> usize {
    let magnitudes = values.iter().map(|value| value.abs()).enumerate();
    magnitudes.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(index, _)| index)
}

/// Added to a small number it leaves an integer, since floats from 2^23 to 2^24 are integers: rounded to nearest, ties to
/// even. Unlike a call of the library's, this is done on whole vectors.
const INTEGERS: f32 = 12_582_912.0;

/// `x` rounded to the nearest integer, ties to even; |x| is below 2^22.
fn round_small(x: f32) -> f32 {
    (x + INTEGERS) - INTEGERS
}

/// The low byte of `x` rounded so, in two's complement.
fn round_to_byte(x: f32) -> u8 {
    (x + INTEGERS).to_bits() as u8
}

/// A number of half precision, unless it is too large for that.
fn half(value: f32) -> Option<f16> {
    Some(f16::from_f32(value)).filter(|half| half.is_finite())
}

#[cfg(test)]
mod tests;
