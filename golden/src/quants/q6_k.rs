//! `Q6_K`: 6.56 bits a weight.

use half::f16;

use super::{QuantKind, Superblock, half};

/// `{ u8 ql[128]; u8 qh[64]; i8 scales[16]; f16 d }`: sixteen blocks of 16. In each half of 128 columns, column
/// 32 j + l has its low four bits in nibble j / 2 of `ql[32 (j % 2) + l]` and its high two in `qh[l] >> 2 j`. Source:
/// llama.cpp, `dequantize_row_q6_K`.
pub static Q6_K: QuantKind = QuantKind {
    name: "Q6_K",
    bits: 6,
    block: 16,
    columns: 256,
    bytes: 210,
    zero: 32,
    minimums: false,
    unpack,
    pack,
};

/// Where in a half the low and the high bits of column `at` of it are: byte and shift.
fn places(at: usize) -> [(usize, usize); 2] {
    let (quarter, l) = (at / 32, at % 32);
    [(32 * (quarter % 2) + l, quarter / 2 * 4), (l, 2 * quarter)]
}

fn unpack(bytes: &[u8], out: &mut Superblock) {
    for (at, code) in out.codes.iter_mut().enumerate() {
        let [low, high] = places(at % 128);
        let (ql, qh) = (bytes[at / 128 * 64 + low.0], bytes[128 + at / 128 * 32 + high.0]);
        *code = (ql >> low.1 & 15) | (qh >> high.1 & 3) << 4;
    }
    for (scale, &byte) in out.scales.iter_mut().zip(&bytes[192..208]) {
        *scale = byte.cast_signed();
    }
    out.d = f16::from_le_bytes([bytes[208], bytes[209]]);
}

fn pack(values: &[f32]) -> Option<Vec<u8>> {
    let scales: Vec<f32> = values.chunks(16).map(block_scale).collect();
    let largest = scales.iter().copied().fold(0.0_f32, |max, s| if s.abs() > max.abs() { s } else { max });
    // The range of i8 reaches further on the negative side, so the largest scale becomes -128.
    let d = half(largest / -128.0)?;
    let mut bytes = vec![0; Q6_K.bytes];
    bytes[208..].copy_from_slice(&d.to_le_bytes());
    for (block, (scale, values)) in scales.iter().zip(values.chunks(16)).enumerate() {
        let inverse = if d == f16::ZERO { 0.0 } else { 1.0 / d.to_f32() };
        let multiple = (scale * inverse).round_ties_even().clamp(-128.0, 127.0);
        bytes[192 + block] = (multiple as i8).cast_unsigned();
        let step = d.to_f32() * multiple;
        for (index, &value) in values.iter().enumerate() {
            let code = if step == 0.0 { 32 } else { (code_of(value, 1.0 / step) + 32.0) as u8 };
            let at = 16 * block + index;
            let [low, high] = places(at % 128);
            bytes[at / 128 * 64 + low.0] |= (code & 15) << low.1;
            bytes[128 + at / 128 * 32 + high.0] |= code >> 4 << high.1;
        }
    }
    Some(bytes)
}

fn code_of(value: f32, inverse: f32) -> f32 {
    (value * inverse).round_ties_even().clamp(-32.0, 31.0)
}

/// The scale under which sixteen numbers lose least: of some that take the largest number to the end of the range or a
/// little beyond, the one with the smallest error, large numbers weighing more; then the best for those codes.
fn block_scale(values: &[f32]) -> f32 {
    let largest = values.iter().copied().fold(0.0_f32, |max, v| if v.abs() > max.abs() { v } else { max });
    if largest == 0.0 {
        return 0.0;
    }
    let tries = (-9..=9_i8).map(|i| -(32.0 + 0.1 * f32::from(i)) / largest);
    let fit = |inverse: f32| {
        let (mut xl, mut ll) = (0.0_f32, 0.0_f32);
        for &x in values {
            let (l, weight) = (code_of(x, inverse), x * x);
            xl += weight * x * l;
            ll += weight * l * l;
        }
        if ll > 0.0 { (xl * xl / ll, xl / ll) } else { (0.0, 0.0) }
    };
    tries.map(fit).max_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |(_, scale)| scale)
}
