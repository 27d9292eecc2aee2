//! Rows of numbers as a key/value cache keeps them, read sixteen columns at a time.

use std::ops::Range;

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
    /// Some groups of sixteen columns of a row: as many as were asked for, which spares loops a check a group.
    type Groups: Copy;
    /// Groups of a row, by number.
    fn groups(self, width: usize, row: usize, groups: Range<usize>) -> Self::Groups;
    /// One of them, counted from the first that was asked for.
    fn load<V: Vector>(v: V, groups: Self::Groups, group: usize) -> V::F;
    /// The last columns of a row, from a multiple of sixteen on up to `end`, padded with zeros.
    fn tail<V: Vector>(self, v: V, width: usize, row: usize, columns: Range<usize>) -> V::F;
}

/// Those groups of sixteen of a row.
#[inline(always)]
pub(super) fn sixteens<T>(x: &[T], width: usize, row: usize, groups: Range<usize>) -> &[[T; 16]] {
    let (whole, _) = x[row * width + 16 * groups.start..].as_chunks();
    &whole[..groups.len()]
}

impl<'a> Load for &'a [f32] {
    type Groups = &'a [[f32; 16]];

    #[inline(always)]
    fn groups(self, width: usize, row: usize, groups: Range<usize>) -> Self::Groups {
        sixteens(self, width, row, groups)
    }

    #[inline(always)]
    fn load<V: Vector>(v: V, groups: Self::Groups, group: usize) -> V::F {
        v.load(&groups[group])
    }

    #[inline(always)]
    fn tail<V: Vector>(self, v: V, width: usize, row: usize, columns: Range<usize>) -> V::F {
        v.load(&padded(&self[row * width + columns.start..row * width + columns.end], 0.0))
    }
}

impl<'a> Load for &'a [f16] {
    type Groups = &'a [[f16; 16]];

    #[inline(always)]
    fn groups(self, width: usize, row: usize, groups: Range<usize>) -> Self::Groups {
        sixteens(self, width, row, groups)
    }

    #[inline(always)]
    fn load<V: Vector>(v: V, groups: Self::Groups, group: usize) -> V::F {
        v.load_f16(&groups[group])
    }

    #[inline(always)]
    fn tail<V: Vector>(self, v: V, width: usize, row: usize, columns: Range<usize>) -> V::F {
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

/// Groups of bytes, the scales of their row, and the number of the first group.
#[derive(Clone, Copy)]
pub(super) struct ByteGroups<'a> {
    codes: &'a [[i8; 16]],
    scales: &'a [f32],
    first: usize,
}

impl<'a> Bytes<'a> {
    /// The scales of a row.
    #[inline(always)]
    fn scales(self, width: usize, row: usize) -> &'a [f32] {
        let blocks = width.div_ceil(ROW_BLOCK);
        &self.scales[row * blocks..][..blocks]
    }
}

impl<'a> Load for Bytes<'a> {
    type Groups = ByteGroups<'a>;

    #[inline(always)]
    fn groups(self, width: usize, row: usize, groups: Range<usize>) -> Self::Groups {
        let (first, scales) = (groups.start, self.scales(width, row));
        ByteGroups { codes: sixteens(self.codes, width, row, groups), scales, first }
    }

    #[inline(always)]
    fn load<V: Vector>(v: V, groups: Self::Groups, group: usize) -> V::F {
        let scale = groups.scales[(groups.first + group) / BLOCK_GROUPS];
        v.mul(v.load_i8(&groups.codes[group]), v.splat(scale))
    }

    #[inline(always)]
    fn tail<V: Vector>(self, v: V, width: usize, row: usize, columns: Range<usize>) -> V::F {
        let mut array = [0; 16];
        let codes = &self.codes[row * width + columns.start..row * width + columns.end];
        array[..codes.len()].copy_from_slice(codes);
        let scale = self.scales(width, row)[columns.start / ROW_BLOCK];
        v.mul(v.load_i8(&array), v.splat(scale))
    }
}
