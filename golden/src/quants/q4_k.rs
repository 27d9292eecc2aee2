//! `Q4_K`: 4.5 bits a weight.

use half::f16;

use super::{QuantKind, Superblock, half, round_small, round_to_byte};

/// `{ f16 d; f16 dmin; u8 scales[12]; u8 qs[128] }`: eight blocks of 32 with a scale and a minimum of six bits each.
/// Blocks 2 j and 2 j + 1 are the low and high nibbles of `qs[32 j ..]`. Scale and minimum of blocks 0 to 3 are the
/// low six bits of bytes j and j + 4; those of blocks 4 to 7 the nibbles of byte j + 4, with their high two bits on top of
/// bytes j - 4 and j. Source: llama.cpp, `dequantize_row_q4_K` and `get_scale_min_k4`.
pub static Q4_K: QuantKind = QuantKind {
    name: "Q4_K",
    bits: 4,
    block: 32,
    columns: 256,
    bytes: 144,
    zero: 0,
    minimums: true,
    halves: &[0, 2],
    unpack,
    pack,
};

/// Where a row of six-bit numbers begins, and the codes.
const SCALES: usize = 4;
const CODES: usize = 16;

fn unpack(bytes: &[u8], out: &mut Superblock) {
    out.d = f16::from_le_bytes([bytes[0], bytes[1]]);
    out.d_minimum = f16::from_le_bytes([bytes[2], bytes[3]]);
    let packed = &bytes[SCALES..CODES];
    for block in 0..8 {
        let (scale, minimum) = six_bits(packed, block);
        (out.scales[block], out.minimums[block]) = (scale.cast_signed(), minimum);
    }
    for (at, code) in out.codes.iter_mut().enumerate() {
        *code = bytes[CODES + at / 64 * 32 + at % 32] >> (at / 32 % 2 * 4) & 15;
    }
}

/// Scale and minimum of a block, of twelve bytes.
pub(crate) fn six_bits(packed: &[u8], block: usize) -> (u8, u8) {
    if block < 4 {
        return (packed[block] & 63, packed[block + 4] & 63);
    }
    let low = packed[block + 4];
    (low & 15 | packed[block - 4] >> 6 << 4, low >> 4 | packed[block] >> 6 << 4)
}

fn pack(values: &[f32]) -> Option<Vec<u8>> {
    let fits: Vec<(f32, f32)> = values.as_chunks::<32>().0.iter().map(block_fit).collect();
    let largest = |of: fn(&(f32, f32)) -> f32| half(fits.iter().map(of).fold(0.0, f32::max) / 63.0);
    let (d, d_minimum) = (largest(|fit| fit.0)?, largest(|fit| fit.1)?);
    let multiple = |value: f32, unit: f16| {
        if unit == f16::ZERO { 0 } else { (value / unit.to_f32()).round_ties_even().clamp(0.0, 63.0) as u8 }
    };
    let mut bytes = vec![0; Q4_K.bytes];
    bytes[..2].copy_from_slice(&d.to_le_bytes());
    bytes[2..4].copy_from_slice(&d_minimum.to_le_bytes());
    for (block, (fit, values)) in fits.iter().zip(values.as_chunks::<32>().0).enumerate() {
        let (scale, minimum) = (multiple(fit.0, d), multiple(fit.1, d_minimum));
        put_six_bits(&mut bytes[SCALES..CODES], block, scale, minimum);
        let (step, offset) = (d.to_f32() * f32::from(scale), d_minimum.to_f32() * f32::from(minimum));
        let inverse = if step == 0.0 { 0.0 } else { 1.0 / step };
        let codes = values.map(|value| round_to_byte(((value + offset) * inverse).clamp(0.0, 15.0)));
        for (byte, code) in bytes[CODES + block / 2 * 32..].iter_mut().zip(codes) {
            *byte |= code << (block % 2 * 4);
        }
    }
    Some(bytes)
}

fn put_six_bits(packed: &mut [u8], block: usize, scale: u8, minimum: u8) {
    if block < 4 {
        packed[block] |= scale;
        packed[block + 4] |= minimum;
    } else {
        packed[block + 4] |= scale & 15 | minimum << 4;
        packed[block - 4] |= scale >> 4 << 6;
        packed[block] |= minimum >> 4 << 6;
    }
}

fn code_of(value: f32, inverse: f32) -> f32 {
    round_small((value * inverse).clamp(0.0, 15.0))
}

/// Scale and minimum (what is taken off, at least 0) under which 32 numbers lose least: codes are made for some scales
/// around the one that spans the range, and the best scale and minimum for these codes are found by least squares, large
/// numbers weighing more.
fn block_fit(values: &[f32; 32]) -> (f32, f32) {
    let least = values.iter().copied().fold(0.0, f32::min);
    let most = values.iter().copied().fold(least, f32::max);
    if most == least {
        return (0.0, -least);
    }
    let spread = (sum(|at| values[at] * values[at]) / 32.0).sqrt();
    let weights = values.map(|x| spread + x.abs());
    let mut best = (f32::INFINITY, (most - least) / 15.0, -least);
    for span in (0..=4_u8).map(|i| 14.0 + 0.5 * f32::from(i)) {
        let codes = values.map(|x| code_of(x - least, span / (most - least)));
        let (scale, minimum) = least_squares(values, &codes, &weights);
        let error = sum(|at| weights[at] * (scale * codes[at] - minimum - values[at]).powi(2));
        if error < best.0 {
            best = (error, scale, minimum);
        }
    }
    (best.1, best.2)
}

/// The scale and the minimum, not negative, that fit `scale * code - minimum` to the values best.
fn least_squares(values: &[f32; 32], codes: &[f32; 32], weights: &[f32; 32]) -> (f32, f32) {
    let (w, l) = (sum(|at| weights[at]), sum(|at| weights[at] * codes[at]));
    let ll = sum(|at| weights[at] * codes[at] * codes[at]);
    let (x, xl) = (sum(|at| weights[at] * values[at]), sum(|at| weights[at] * values[at] * codes[at]));
    let determinant = w * ll - l * l;
    if determinant > 0.0 {
        let (scale, minimum) = ((w * xl - x * l) / determinant, (l * xl - ll * x) / determinant);
        if minimum >= 0.0 && scale >= 0.0 {
            return (scale, minimum);
        }
    }
    if ll > 0.0 { ((xl / ll).max(0.0), 0.0) } else { (0.0, 0.0) }
}

/// The sum of 32 terms, as eight sums of every eighth: a vector.
fn sum(term: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0_f32; 8];
    for first in (0..32).step_by(8) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(first + lane);
        }
    }
    sums.iter().sum()
}
