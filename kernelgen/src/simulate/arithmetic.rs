//! What integer instructions do to one lane, as the Intel SDM's pseudo-code says it.
//!
//! A lane of `B` bits comes zero-extended in a `u64` and leaves the same way.

use super::bits::{saturate_signed, saturate_unsigned, signed, truncate};

pub(super) fn same(a: u64) -> u64 {
    a
}

pub(super) fn and(a: u64, b: u64) -> u64 {
    a & b
}

pub(super) fn and_not(a: u64, b: u64) -> u64 {
    !a & b
}

pub(super) fn or(a: u64, b: u64) -> u64 {
    a | b
}

pub(super) fn xor(a: u64, b: u64) -> u64 {
    a ^ b
}

/// Bit by bit, the three inputs select a bit of `table`.
pub(super) fn ternary_logic(old: u64, a: u64, b: u64, table: u64) -> u64 {
    let term = |index: u64| {
        let pick = |input: u64, bit: u64| if index >> bit & 1 == 1 { input } else { !input };
        if table >> index & 1 == 1 { pick(old, 2) & pick(a, 1) & pick(b, 0) } else { 0 }
    };
    (0..8).map(term).fold(0, or)
}

pub(super) fn add<const B: usize>(a: u64, b: u64) -> u64 {
    truncate::<B>(a.wrapping_add(b))
}

pub(super) fn sub<const B: usize>(a: u64, b: u64) -> u64 {
    truncate::<B>(a.wrapping_sub(b))
}

pub(super) fn add_saturating<const B: usize>(a: u64, b: u64) -> u64 {
    saturate_signed::<B>(signed::<B>(a) + signed::<B>(b))
}

pub(super) fn sub_saturating<const B: usize>(a: u64, b: u64) -> u64 {
    saturate_signed::<B>(signed::<B>(a) - signed::<B>(b))
}

pub(super) fn add_unsigned_saturating<const B: usize>(a: u64, b: u64) -> u64 {
    saturate_unsigned::<B>(a as i64 + b as i64)
}

pub(super) fn sub_unsigned_saturating<const B: usize>(a: u64, b: u64) -> u64 {
    saturate_unsigned::<B>(a as i64 - b as i64)
}

pub(super) fn multiply_low<const B: usize>(a: u64, b: u64) -> u64 {
    truncate::<B>(a.wrapping_mul(b))
}

pub(super) fn multiply_high<const B: usize>(a: u64, b: u64) -> u64 {
    truncate::<B>((signed::<B>(a) * signed::<B>(b)) as u64 >> B)
}

pub(super) fn multiply_high_unsigned<const B: usize>(a: u64, b: u64) -> u64 {
    (a * b) >> B
}

/// VPMULHRSW.
pub(super) fn multiply_rounded(a: u64, b: u64) -> u64 {
    truncate::<16>((((signed::<16>(a) * signed::<16>(b)) >> 14) + 1) as u64 >> 1)
}

/// The low halves as signed numbers, to the whole lane of 64 bits.
pub(super) fn multiply_wide(a: u64, b: u64) -> u64 {
    (signed::<32>(a) * signed::<32>(b)) as u64
}

pub(super) fn multiply_wide_unsigned(a: u64, b: u64) -> u64 {
    truncate::<32>(a) * truncate::<32>(b)
}

pub(super) fn average(a: u64, b: u64) -> u64 {
    (a + b + 1) >> 1
}

pub(super) fn absolute<const B: usize>(a: u64) -> u64 {
    truncate::<B>(signed::<B>(a).unsigned_abs())
}

pub(super) fn sign<const B: usize>(a: u64, b: u64) -> u64 {
    truncate::<B>((signed::<B>(a) * signed::<B>(b).signum()) as u64)
}

pub(super) fn min<const B: usize>(a: u64, b: u64) -> u64 {
    if signed::<B>(a) < signed::<B>(b) { a } else { b }
}

pub(super) fn max<const B: usize>(a: u64, b: u64) -> u64 {
    if signed::<B>(a) > signed::<B>(b) { a } else { b }
}

pub(super) fn min_unsigned(a: u64, b: u64) -> u64 {
    a.min(b)
}

pub(super) fn max_unsigned(a: u64, b: u64) -> u64 {
    a.max(b)
}

pub(super) fn population(a: u64) -> u64 {
    a.count_ones().into()
}

pub(super) fn leading_zeros<const B: usize>(a: u64) -> u64 {
    u64::from(a.leading_zeros()) - (64 - B as u64)
}

pub(super) fn shift_left<const B: usize>(a: u64, count: u64) -> u64 {
    if count < B as u64 { truncate::<B>(a << count) } else { 0 }
}

pub(super) fn shift_right<const B: usize>(a: u64, count: u64) -> u64 {
    if count < B as u64 { a >> count } else { 0 }
}

pub(super) fn shift_right_signed<const B: usize>(a: u64, count: u64) -> u64 {
    truncate::<B>((signed::<B>(a) >> count.min(B as u64 - 1)) as u64)
}

pub(super) fn rotate_left<const B: usize>(a: u64, count: u64) -> u64 {
    let count = count % B as u64;
    shift_left::<B>(a, count) | shift_right::<B>(a, B as u64 - count)
}

pub(super) fn rotate_right<const B: usize>(a: u64, count: u64) -> u64 {
    rotate_left::<B>(a, B as u64 - count % B as u64)
}

/// VPSADBW in one lane of 64 bits.
pub(super) fn absolute_differences(a: u64, b: u64) -> u64 {
    let difference = |(a, b): (u8, u8)| u64::from(a.abs_diff(b));
    a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(difference).sum()
}

/// Part `index` of `B` bits.
fn part<const B: usize>(value: u64, index: usize) -> u64 {
    truncate::<B>(value >> (B * index))
}

/// VPMADDWD: two signed words with two signed words. The one sum beyond 32 bits wraps.
pub(super) fn multiply_add_words(a: u64, b: u64) -> u64 {
    truncate::<32>(dot_words(a, b) as u64)
}

/// VPMADDUBSW: two unsigned bytes of `a` with two signed bytes of `b`, saturated to a signed word.
pub(super) fn multiply_add_bytes(a: u64, b: u64) -> u64 {
    let product = |index| part::<8>(a, index) as i64 * signed::<8>(part::<8>(b, index));
    saturate_signed::<16>(product(0) + product(1))
}

fn dot_words(a: u64, b: u64) -> i64 {
    let product = |index| signed::<16>(part::<16>(a, index)) * signed::<16>(part::<16>(b, index));
    product(0) + product(1)
}

fn dot_bytes(a: u64, b: u64) -> i64 {
    (0..4).map(|index| part::<8>(a, index) as i64 * signed::<8>(part::<8>(b, index))).sum()
}

/// VPDPBUSD: four unsigned bytes of `a` with four signed bytes of `b`, modulo 2^32.
pub(super) fn accumulate_bytes(old: u64, a: u64, b: u64) -> u64 {
    truncate::<32>((signed::<32>(old) + dot_bytes(a, b)) as u64)
}

/// VPDPBUSDS: as VPDPBUSD, the sum saturated.
pub(super) fn accumulate_bytes_saturating(old: u64, a: u64, b: u64) -> u64 {
    saturate_signed::<32>(signed::<32>(old) + dot_bytes(a, b))
}

/// VPDPWSSD: two signed words with two signed words, modulo 2^32.
pub(super) fn accumulate_words(old: u64, a: u64, b: u64) -> u64 {
    truncate::<32>((signed::<32>(old) + dot_words(a, b)) as u64)
}

/// VPDPWSSDS: as VPDPWSSD, the sum saturated.
pub(super) fn accumulate_words_saturating(old: u64, a: u64, b: u64) -> u64 {
    saturate_signed::<32>(signed::<32>(old) + dot_words(a, b))
}

/// A lane of `B` bits, sign-extended.
pub(super) fn extend<const B: usize>(a: u64) -> u64 {
    signed::<B>(a) as u64
}

/// A signed lane of `FROM` bits to a signed one of `TO`, saturated.
pub(super) fn narrow<const FROM: usize, const TO: usize>(a: u64) -> u64 {
    saturate_signed::<TO>(signed::<FROM>(a))
}

/// A signed lane of `FROM` bits to an unsigned one of `TO`, saturated.
pub(super) fn narrow_to_unsigned<const FROM: usize, const TO: usize>(a: u64) -> u64 {
    saturate_unsigned::<TO>(signed::<FROM>(a))
}

/// An unsigned lane to an unsigned one of `TO` bits, saturated.
pub(super) fn narrow_unsigned<const TO: usize>(a: u64) -> u64 {
    a.min((1 << TO) - 1)
}
