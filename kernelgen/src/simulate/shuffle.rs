//! What each instruction of `whole.rs` does, as the Intel SDM says it. A block is 128 bits, the width inside which
//! most AVX instructions stay.

use super::bits::{Bytes, lane};
use super::float;
use super::operand::build;
use super::whole::Inputs;

/// Number `index` of the two-bit fields of `immediate`.
fn pair(immediate: usize, index: usize) -> usize {
    immediate >> (2 * index) & 3
}

/// Lane `index` of lanes of `size` bytes, for use as an index itself.
fn index_lane(bytes: &Bytes, size: usize, index: usize) -> usize {
    lane(bytes, size, index) as usize
}

pub(super) fn bytes(inputs: &Inputs) -> Bytes {
    build(1, inputs.width, |index| {
        let control = inputs.b[index];
        let chosen = inputs.a[index / 16 * 16 + usize::from(control & 15)];
        if control & 0x80 == 0 { chosen.into() } else { 0 }
    })
}

/// VPMULTISHIFTQB: each byte of `a` says at which bit of the quadword of `b`, as a ring, its result begins. It is
/// here and not with the lanes because its mask counts bytes.
pub(super) fn multishift(inputs: &Inputs) -> Bytes {
    build(1, inputs.width, |index| {
        let start = u32::from(inputs.a[index] & 63);
        lane(&inputs.b, 8, index / 8).rotate_right(start)
    })
}

/// VGF2P8AFFINEQB: each byte of `a`, times the matrix of 8 x 8 bits in the quadword of `b`, plus the immediate, in
/// bits. Row 0 of the matrix, for bit 0 of the result, is its last byte.
pub(super) fn affine(inputs: &Inputs) -> Bytes {
    build(1, inputs.width, |index| {
        let row = |bit: usize| inputs.b[index / 8 * 8 + 7 - bit];
        let bit = |bit: usize| u64::from((row(bit) & inputs.a[index]).count_ones() & 1) << bit;
        (0..8).map(bit).sum::<u64>() ^ inputs.immediate as u64
    })
}

pub(super) fn dwords(inputs: &Inputs) -> Bytes {
    build(4, inputs.width, |index| lane(&inputs.a, 4, index / 4 * 4 + pair(inputs.immediate, index % 4)))
}

pub(super) fn low_words(inputs: &Inputs) -> Bytes {
    build(2, inputs.width, |index| {
        let chosen = index / 8 * 8 + pair(inputs.immediate, index % 4);
        lane(&inputs.a, 2, if index % 8 < 4 { chosen } else { index })
    })
}

pub(super) fn high_words(inputs: &Inputs) -> Bytes {
    build(2, inputs.width, |index| {
        let chosen = index / 8 * 8 + 4 + pair(inputs.immediate, index % 4);
        lane(&inputs.a, 2, if index % 8 < 4 { index } else { chosen })
    })
}

pub(super) fn floats(inputs: &Inputs) -> Bytes {
    build(4, inputs.width, |index| {
        let source = if index % 4 < 2 { &inputs.a } else { &inputs.b };
        lane(source, 4, index / 4 * 4 + pair(inputs.immediate, index % 4))
    })
}

/// SHUFPD: even quadwords from `a`, odd ones from `b`, each the one of its block that its own bit says.
pub(super) fn doubles(inputs: &Inputs) -> Bytes {
    build(8, inputs.width, |index| {
        let source = if index % 2 == 0 { &inputs.a } else { &inputs.b };
        lane(source, 8, index / 2 * 2 + (inputs.immediate >> index & 1))
    })
}

/// VPERMILPS: by an immediate, or by the low bits of a second source.
pub(super) fn permute_in_blocks(inputs: &Inputs) -> Bytes {
    if inputs.sources == 1 {
        return dwords(inputs);
    }
    let chosen = |index| index / 4 * 4 + index_lane(&inputs.b, 4, index) % 4;
    build(4, inputs.width, |index| lane(&inputs.a, 4, chosen(index)))
}

pub(super) fn duplicate_even(inputs: &Inputs) -> Bytes {
    build(4, inputs.width, |index| lane(&inputs.a, 4, index & !1))
}

pub(super) fn duplicate_odd(inputs: &Inputs) -> Bytes {
    build(4, inputs.width, |index| lane(&inputs.a, 4, index | 1))
}

pub(super) fn duplicate_quadwords(inputs: &Inputs) -> Bytes {
    build(8, inputs.width, |index| lane(&inputs.a, 8, index & !1))
}

/// Interleaves the low or high halves of the blocks.
pub(super) fn unpack<const SIZE: usize, const HIGH: bool>(inputs: &Inputs) -> Bytes {
    let lanes = 16 / SIZE;
    build(SIZE, inputs.width, |index| {
        let source = if index.is_multiple_of(2) { &inputs.a } else { &inputs.b };
        let half = if HIGH { lanes / 2 } else { 0 };
        lane(source, SIZE, index / lanes * lanes + half + index % lanes / 2)
    })
}

/// Block by block, the narrowed lanes of `a`, then those of `b`.
pub(super) fn pack(inputs: &Inputs, from: usize, narrow: fn(u64) -> u64) -> Bytes {
    let half = 16 / from;
    build(from / 2, inputs.width, |index| {
        let (block, position) = (index / (2 * half), index % (2 * half));
        let source = if position < half { &inputs.a } else { &inputs.b };
        narrow(lane(source, from, block * half + position % half))
    })
}

pub(super) fn shift_bytes_left(inputs: &Inputs) -> Bytes {
    build(1, inputs.width, |index| {
        let inside = index % 16 >= inputs.immediate;
        if inside { inputs.a[index - inputs.immediate].into() } else { 0 }
    })
}

pub(super) fn shift_bytes_right(inputs: &Inputs) -> Bytes {
    build(1, inputs.width, |index| {
        let inside = index % 16 + inputs.immediate < 16;
        if inside { inputs.a[index + inputs.immediate].into() } else { 0 }
    })
}

/// Block by block, bytes from `immediate` on of `b` followed by `a`.
pub(super) fn align_bytes(inputs: &Inputs) -> Bytes {
    build(1, inputs.width, |index| {
        let (block, position) = (index / 16 * 16, index % 16 + inputs.immediate);
        match position {
            0..16 => inputs.b[block + position].into(),
            16..32 => inputs.a[block + position - 16].into(),
            _ => 0,
        }
    })
}

/// Lanes from `immediate` on of `b` followed by `a`.
pub(super) fn align_lanes<const SIZE: usize>(inputs: &Inputs) -> Bytes {
    let lanes = inputs.width / SIZE;
    build(SIZE, inputs.width, |index| {
        let position = index + inputs.immediate % lanes;
        if position < lanes {
            lane(&inputs.b, SIZE, position)
        } else {
            lane(&inputs.a, SIZE, position - lanes)
        }
    })
}

/// The lanes of `b` that `a` names.
pub(super) fn permute<const SIZE: usize>(inputs: &Inputs) -> Bytes {
    let lanes = inputs.width / SIZE;
    build(SIZE, inputs.width, |index| lane(&inputs.b, SIZE, index_lane(&inputs.a, SIZE, index) % lanes))
}

/// By an immediate inside 256 bits, or by a vector of indices.
pub(super) fn permute_quadwords(inputs: &Inputs) -> Bytes {
    if inputs.sources == 2 {
        return permute::<8>(inputs);
    }
    build(8, inputs.width, |index| lane(&inputs.a, 8, index / 4 * 4 + pair(inputs.immediate, index % 4)))
}

/// The lanes that `indices` names in `first` followed by `second`.
fn permute_two<const SIZE: usize>(width: usize, indices: &Bytes, first: &Bytes, second: &Bytes) -> Bytes {
    let lanes = width / SIZE;
    build(SIZE, width, |index| {
        let chosen = index_lane(indices, SIZE, index) % (2 * lanes);
        lane(if chosen < lanes { first } else { second }, SIZE, chosen % lanes)
    })
}

/// VPERMI2: the destination held the indices.
pub(super) fn permute_two_by_destination<const SIZE: usize>(inputs: &Inputs) -> Bytes {
    permute_two::<SIZE>(inputs.width, &inputs.old, &inputs.a, &inputs.b)
}

/// VPERMT2: the destination held the first table.
pub(super) fn permute_two_by_source<const SIZE: usize>(inputs: &Inputs) -> Bytes {
    permute_two::<SIZE>(inputs.width, &inputs.a, &inputs.old, &inputs.b)
}

/// VPERM2I128: each half is one of four blocks, or zero.
pub(super) fn permute_halves(inputs: &Inputs) -> Bytes {
    build(8, inputs.width, |index| {
        let control = inputs.immediate >> (4 * (index / 2));
        let source = if control & 2 == 0 { &inputs.a } else { &inputs.b };
        if control & 8 == 0 { lane(source, 8, (control & 1) * 2 + index % 2) } else { 0 }
    })
}

/// VSHUFI32X4: the lower half of the blocks from `a`, the upper from `b`.
pub(super) fn shuffle_blocks(inputs: &Inputs) -> Bytes {
    let blocks = inputs.width / 16;
    let bits = blocks / 2;
    build(8, inputs.width, |index| {
        let block = index / 2;
        let source = if block < blocks / 2 { &inputs.a } else { &inputs.b };
        lane(source, 8, (inputs.immediate >> (block * bits) & (blocks - 1)) * 2 + index % 2)
    })
}

/// `a` with one part of `SIZE` bytes replaced by the beginning of `b`.
pub(super) fn insert<const SIZE: usize>(inputs: &Inputs) -> Bytes {
    let part = inputs.immediate % (inputs.width / SIZE);
    let mut result = inputs.a;
    result[part * SIZE..][..SIZE].copy_from_slice(&inputs.b[..SIZE]);
    result
}

pub(super) fn high_to_low(inputs: &Inputs) -> Bytes {
    build(8, inputs.width, |index| lane(if index == 0 { &inputs.b } else { &inputs.a }, 8, 1))
}

pub(super) fn low_to_high(inputs: &Inputs) -> Bytes {
    build(8, inputs.width, |index| lane(if index == 0 { &inputs.a } else { &inputs.b }, 8, 0))
}

/// Lanes of `b` where the immediate, over and over, has a bit.
pub(super) fn blend<const SIZE: usize>(inputs: &Inputs) -> Bytes {
    build(SIZE, inputs.width, |index| {
        let chosen = inputs.immediate >> (index % 8) & 1 == 1;
        lane(if chosen { &inputs.b } else { &inputs.a }, SIZE, index)
    })
}

/// Lanes of `b` where the lane of `c` is negative.
pub(super) fn blend_by_sign<const SIZE: usize>(inputs: &Inputs) -> Bytes {
    build(SIZE, inputs.width, |index| {
        let chosen = lane(&inputs.c, SIZE, index) >> (8 * SIZE - 1) == 1;
        lane(if chosen { &inputs.b } else { &inputs.a }, SIZE, index)
    })
}

/// Block by block, sums of neighbours of `a`, then of `b`.
fn neighbours(inputs: &Inputs, size: usize, add: impl Fn(u64, u64) -> u64) -> Bytes {
    let lanes = 16 / size;
    build(size, inputs.width, |index| {
        let source = if index % lanes < lanes / 2 { &inputs.a } else { &inputs.b };
        let first = index / lanes * lanes + index % (lanes / 2) * 2;
        add(lane(source, size, first), lane(source, size, first + 1))
    })
}

pub(super) fn add_neighbours<const SIZE: usize>(inputs: &Inputs) -> Bytes {
    neighbours(inputs, SIZE, u64::wrapping_add)
}

pub(super) fn add_float_neighbours(inputs: &Inputs) -> Bytes {
    neighbours(inputs, 4, float::add)
}
