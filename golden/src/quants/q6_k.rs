//! `Q6_K`: 6.56 bits a weight.

use half::f16;

use super::{QuantKind, Superblock, half, round_small, round_to_byte};

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
    halves: &[208],
    unpack,
    pack,
};

fn unpack(bytes: &[u8], out: &mut Superblock) {
    let halves =
        out.codes.chunks_exact_mut(128).zip(bytes[..128].chunks_exact(64)).zip(bytes[128..].chunks_exact(32));
    for ((codes, ql), qh) in halves {
        for (j, codes) in codes.chunks_exact_mut(32).enumerate() {
            for ((code, low), high) in codes.iter_mut().zip(&ql[32 * (j % 2)..]).zip(qh) {
                *code = (low >> (j / 2 * 4) & 15) | (high >> (2 * j) & 3) << 4;
            }
        }
    }
    for (scale, &byte) in out.scales.iter_mut().zip(&bytes[192..208]) {
        *scale = byte.cast_signed();
    }
    out.d = f16::from_le_bytes([bytes[208], bytes[209]]);
}

fn pack(values: &[f32]) -> Option<Vec<u8>> {
    let blocks = values.as_chunks::<16>().0;
    let scales: Vec<f32> = blocks.iter().map(block_scale).collect();
    let largest = scales.iter().copied().fold(0.0_f32, |max, s| if s.abs() > max.abs() { s } else { max });
    // The range of i8 reaches further on the negative side, so the largest scale becomes -128.
    let d = half(largest / -128.0)?;
    let inverse = if d == f16::ZERO { 0.0 } else { 1.0 / d.to_f32() };
    let mut bytes = vec![0; Q6_K.bytes];
    let mut codes = [0; 256];
    for ((scale, values), (codes, place)) in
        scales.iter().zip(blocks).zip(codes.as_chunks_mut::<16>().0.iter_mut().zip(&mut bytes[192..208]))
    {
        let multiple = round_small((scale * inverse).clamp(-128.0, 127.0));
        *place = round_to_byte(multiple);
        let step = d.to_f32() * multiple;
        let inverse = if step == 0.0 { 0.0 } else { 1.0 / step };
        *codes = values.map(|value| round_to_byte(in_range(value * inverse)).wrapping_add(Q6_K.zero));
    }
    for (half, codes) in codes.chunks_exact(128).enumerate() {
        for (j, codes) in codes.chunks_exact(32).enumerate() {
            for (l, &code) in codes.iter().enumerate() {
                bytes[64 * half + 32 * (j % 2) + l] |= (code & 15) << (j / 2 * 4);
                bytes[128 + 32 * half + l] |= code >> 4 << (2 * j);
            }
        }
    }
    bytes[208..].copy_from_slice(&d.to_le_bytes());
    Some(bytes)
}

fn in_range(x: f32) -> f32 {
    x.clamp(-32.0, 31.0)
}

/// The scale under which sixteen numbers lose least: of some that take the largest number to the end of the range or a
/// little beyond, the one with the smallest error, large numbers weighing more; then the best for those codes.
fn block_scale(values: &[f32; 16]) -> f32 {
    let largest = values.iter().copied().fold(0.0_f32, |max, v| if v.abs() > max.abs() { v } else { max });
    if largest == 0.0 {
        return 0.0;
    }
    let fit = |inverse: f32| {
        let codes = values.map(|x| round_small(in_range(x * inverse)));
        let xl = sum(|at| values[at].powi(3) * codes[at]);
        let ll = sum(|at| (values[at] * codes[at]).powi(2));
        if ll > 0.0 { (xl * xl / ll, xl / ll) } else { (0.0, 0.0) }
    };
    let tries = (-2..=2_i8).map(|i| fit(-(32.0 + 0.4 * f32::from(i)) / largest));
    tries.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |(_, scale)| scale)
}

/// The sum of sixteen terms, as eight sums of every eighth: a vector.
fn sum(term: impl Fn(usize) -> f32) -> f32 {
    let sums: [f32; 8] = std::array::from_fn(|lane| term(lane) + term(lane + 8));
    sums.iter().sum()
}
