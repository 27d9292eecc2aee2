//! What f32 instructions do to one lane, with the NaN rules of the Intel SDM (volume 1, 4.8.3.5 and table 4-7):
//! the first operand that is NaN, made quiet, is the result; an invalid operation gives the default NaN.

/// The result of an invalid operation.
const DEFAULT_NAN: u32 = 0xffc0_0000;
/// What makes a NaN quiet.
const QUIET: u32 = 0x0040_0000;
/// What a conversion to i32 gives when no i32 is near.
const INDEFINITE: u32 = 0x8000_0000;

pub(super) fn float(lane: u64) -> f32 {
    f32::from_bits(lane as u32)
}

/// `value`, unless an operand is NaN.
fn result(operands: &[u64], value: f32) -> u64 {
    let nan = operands.iter().find(|&&operand| float(operand).is_nan());
    let bits = match nan {
        Some(&operand) => operand as u32 | QUIET,
        None if value.is_nan() => DEFAULT_NAN,
        None => value.to_bits(),
    };
    bits.into()
}

pub(super) fn add(a: u64, b: u64) -> u64 {
    result(&[a, b], float(a) + float(b))
}

pub(super) fn sub(a: u64, b: u64) -> u64 {
    result(&[a, b], float(a) - float(b))
}

pub(super) fn mul(a: u64, b: u64) -> u64 {
    result(&[a, b], float(a) * float(b))
}

pub(super) fn div(a: u64, b: u64) -> u64 {
    result(&[a, b], float(a) / float(b))
}

/// The second operand where neither is smaller, as the processor does it.
pub(super) fn min(a: u64, b: u64) -> u64 {
    if float(a) < float(b) { a } else { b }
}

/// The second operand where neither is larger, as the processor does it.
pub(super) fn max(a: u64, b: u64) -> u64 {
    if float(a) > float(b) { a } else { b }
}

pub(super) fn sqrt(a: u64) -> u64 {
    result(&[a], float(a).sqrt())
}

/// `x * y + z`, rounded once, with the signs that the four kinds of fused instructions give to product and summand.
fn fused<const NEGATE_PRODUCT: bool, const NEGATE_SUMMAND: bool>(x: u64, y: u64, z: u64) -> u64 {
    let flip = |value: u64, negate: bool| if negate { -float(value) } else { float(value) };
    result(&[x, y, z], flip(x, NEGATE_PRODUCT).mul_add(float(y), flip(z, NEGATE_SUMMAND)))
}

/// Order 132: `old * b + a`. The parameters say which of product and summand is negated.
pub(super) fn fused_132<const P: bool, const S: bool>(old: u64, a: u64, b: u64) -> u64 {
    fused::<P, S>(old, b, a)
}

/// Order 213: `a * old + b`.
pub(super) fn fused_213<const P: bool, const S: bool>(old: u64, a: u64, b: u64) -> u64 {
    fused::<P, S>(a, old, b)
}

/// Order 231: `a * b + old`.
pub(super) fn fused_231<const P: bool, const S: bool>(old: u64, a: u64, b: u64) -> u64 {
    fused::<P, S>(a, b, old)
}

pub(super) fn from_i32(a: u64) -> u64 {
    (a as u32 as i32 as f32).to_bits().into()
}

pub(super) fn to_i32(a: u64) -> u64 {
    integer(float(a).round_ties_even())
}

pub(super) fn to_i32_truncating(a: u64) -> u64 {
    integer(float(a).trunc())
}

/// An integral float as i32.
fn integer(value: f32) -> u64 {
    // 2^31 is a float, 2^31 - 1 is not; NaN is in no range.
    let fits = (-2_147_483_648.0..2_147_483_648.0).contains(&value);
    u64::from(if fits { value as i32 as u32 } else { INDEFINITE })
}

/// VROUNDPS.
pub(super) fn round(a: u64, immediate: u64) -> u64 {
    round_scaled(a, immediate & 0xf)
}

/// VRNDSCALEPS: keeps as many fraction bits as the upper half of the immediate says.
pub(super) fn round_scaled(a: u64, immediate: u64) -> u64 {
    // Exact: an f32 times a power of two up to 2^15 is an f64, and what is rounded has no more bits than it had.
    let scale = f64::from(1_u32 << (immediate >> 4));
    let value = f64::from(float(a)) * scale;
    let rounded = match immediate & 7 {
        1 => value.floor(),
        2 => value.ceil(),
        3 => value.trunc(),
        // 4 and above take the mode of MXCSR, which is the default one.
        _ => value.round_ties_even(),
    };
    result(&[a], (rounded / scale) as f32)
}

pub(super) fn from_f16(a: u64) -> u64 {
    half::f16::from_bits(a as u16).to_f32().to_bits().into()
}

/// The 32 predicates of VCMPPS, of which the upper 16 differ in signalling only.
pub(super) fn compare(a: u64, b: u64, predicate: u64) -> bool {
    let (a, b) = (float(a), float(b));
    let unordered = a.is_nan() || b.is_nan();
    match predicate & 15 {
        0 => a == b,
        1 => a < b,
        2 => a <= b,
        3 => unordered,
        4 => a != b,
        5 => unordered || a >= b,
        6 => unordered || a > b,
        7 => !unordered,
        8 => unordered || a == b,
        9 => unordered || a < b,
        10 => unordered || a <= b,
        11 => false,
        12 => !unordered && a != b,
        13 => a >= b,
        14 => a > b,
        _ => true,
    }
}
