//! Vectors as bytes, lanes as unsigned integers.

/// A vector register.
pub(super) type Bytes = [u8; 64];

/// Lane `index` of lanes of `size` bytes (at most 8), zero-extended.
pub(super) fn lane(bytes: &Bytes, size: usize, index: usize) -> u64 {
    let mut value = [0; 8];
    value[..size].copy_from_slice(&bytes[index * size..][..size]);
    u64::from_le_bytes(value)
}

/// Sets lane `index` of lanes of `size` bytes (at most 8) to the low bits of `value`.
pub(super) fn set_lane(bytes: &mut Bytes, size: usize, index: usize, value: u64) {
    bytes[index * size..][..size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// The low `bits` bits set.
pub(super) const fn low_bits(bits: usize) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// The low `B` bits of `value`.
pub(super) const fn truncate<const B: usize>(value: u64) -> u64 {
    value & low_bits(B)
}

/// The low `B` bits of `value` as a two's complement number.
pub(super) const fn signed<const B: usize>(value: u64) -> i64 {
    ((value << (64 - B)) as i64) >> (64 - B)
}

/// `value` clamped to a signed number of `B` bits.
pub(super) fn saturate_signed<const B: usize>(value: i64) -> u64 {
    let limit = 1_i64 << (B - 1);
    truncate::<B>(value.clamp(-limit, limit - 1) as u64)
}

/// `value` clamped to an unsigned number of `B` bits.
pub(super) fn saturate_unsigned<const B: usize>(value: i64) -> u64 {
    value.clamp(0, (1_i64 << B) - 1) as u64
}
