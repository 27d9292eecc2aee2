//! Rows of numbers as a key/value cache keeps them, read sixteen columns at a time.

use craftsman_golden::float::ROW_BLOCK;
use half::f16;

use super::reduce::padded;
use super::vector::Vector;

/// Groups of sixteen columns under one scale.
const BLOCK_GROUPS: usize = ROW_BLOCK / 16;

/// Some rows, `[len, width]`: as many numbers, or what uses them panics. What the numbers stand for is said by `craftsman_golden::float`'s rows.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// How many rows there are.
    pub len: usize,
    /// Numbers of a row.
    pub width: usize,
    /// All rows, one after the other.
    pub numbers: Numbers<'a>,
}

/// The numbers of [`Rows`].
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// Bytes, and for each row a scale a block of [`ROW_BLOCK`].
    Bytes {
        /// The bytes.
        codes: &'a [i8],
        /// The scales, `[len, ceil(width / ROW_BLOCK)]`.
        scales: &'a [f32],
    },
}

impl Rows<'_> {
    /// A bug of the caller where there are not as many numbers as the shape says.
    pub(super) fn check(&self) {
        let (count, scales) = match self.numbers {
            Numbers::F32(numbers) => (numbers.len(), None),
            Numbers::F16(numbers) => (numbers.len(), None),
            Numbers::Bytes { codes, scales } => (codes.len(), Some(scales.len())),
        };
        assert_eq!(count, self.len * self.width, "{} rows of {}", self.len, self.width);
        let blocks = self.len * self.width.div_ceil(ROW_BLOCK);
        assert!(scales.is_none_or(|scales| scales == blocks), "a scale for each of {blocks} blocks");
    }
}

/// One kind of [`Numbers`], known when a loop over them is compiled.
pub(super) trait Load: Copy {
    /// The columns `16 group` on of a row.
    fn group<V: Vector>(self, v: V, width: usize, row: usize, group: usize) -> V::F;
    /// The last columns of a row, from a multiple of sixteen on up to `end`, padded with zeros.
    fn tail<V: Vector>(self, v: V, width: usize, row: usize, columns: std::ops::Range<usize>) -> V::F;
}

/// Sixteen elements from `at` on.
#[inline(always)]
fn sixteen<T>(x: &[T], at: usize) -> &[T; 16] {
    x[at..].first_chunk().expect("rows hold whole groups before their tails")
}

impl Load for &[f32] {
    #[inline(always)]
    fn group<V: Vector>(self, v: V, width: usize, row: usize, group: usize) -> V::F {
        v.load(sixteen(self, row * width + 16 * group))
    }

    #[inline(always)]
    fn tail<V: Vector>(self, v: V, width: usize, row: usize, columns: std::ops::Range<usize>) -> V::F {
        v.load(&padded(&self[row * width + columns.start..row * width + columns.end], 0.0))
    }
}

impl Load for &[f16] {
    #[inline(always)]
    fn group<V: Vector>(self, v: V, width: usize, row: usize, group: usize) -> V::F {
        v.load_f16(sixteen(self, row * width + 16 * group))
    }

    #[inline(always)]
    fn tail<V: Vector>(self, v: V, width: usize, row: usize, columns: std::ops::Range<usize>) -> V::F {
        let mut array = [f16::ZERO; 16];
        let numbers = &self[row * width + columns.start..row * width + columns.end];
        array[..numbers.len()].copy_from_slice(numbers);
        v.load_f16(&array)
    }
}

/// Bytes with their scales.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    pub(super) codes: &'a [i8],
    pub(super) scales: &'a [f32],
}

impl Bytes<'_> {
    #[inline(always)]
    fn scale(self, width: usize, row: usize, group: usize) -> f32 {
        self.scales[row * width.div_ceil(ROW_BLOCK) + group / BLOCK_GROUPS]
    }
}

impl Load for Bytes<'_> {
    #[inline(always)]
    fn group<V: Vector>(self, v: V, width: usize, row: usize, group: usize) -> V::F {
        let codes = v.load_i8(sixteen(self.codes, row * width + 16 * group));
        v.mul(codes, v.splat(self.scale(width, row, group)))
    }

    #[inline(always)]
    fn tail<V: Vector>(self, v: V, width: usize, row: usize, columns: std::ops::Range<usize>) -> V::F {
        let mut array = [0; 16];
        let codes = &self.codes[row * width + columns.start..row * width + columns.end];
        array[..codes.len()].copy_from_slice(codes);
        v.mul(v.load_i8(&array), v.splat(self.scale(width, row, columns.start / 16)))
    }
}
