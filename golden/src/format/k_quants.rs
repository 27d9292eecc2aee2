//! `Q4_K`, `Q5_K` and `Q6_K` (llama.cpp): 256 weights in sub-blocks with quantised scales.
//!
//! Products are rounded one by one, as gguf-py does; a compiler that fuses them may differ in the last bit.

use half::f16;

use super::walk::NumberCode;
use super::{Coding, Format};

/// `{ f16 d, dmin; u8 scales[12]; u8 qs[128] }`: eight sub-blocks of 32 weights, each with a 6-bit scale and
/// minimum; weight = `(d * scale) * q - dmin * min`. Of every 32 bytes the low halves are one sub-block, the high
/// ones the next. Source: llama.cpp `ggml-quants.c`, `dequantize_row_q4_K`.
pub static Q4_K: Format = Format {
    name: "Q4_K",
    type_id: 12,
    weights: 256,
    bytes: 144,
    coding: Coding::Numbers(NumberCode { read: read_q4, write: None }),
};

/// `{ f16 d, dmin; u8 scales[12]; u8 qh[32]; u8 qs[128] }`: as [`Q4_K`], with a fifth bit of the weights of
/// sub-block `b` in bit `b` of `qh`. Source: llama.cpp `ggml-quants.c`, `dequantize_row_q5_K`.
pub static Q5_K: Format = Format {
    name: "Q5_K",
    type_id: 13,
    weights: 256,
    bytes: 176,
    coding: Coding::Numbers(NumberCode { read: read_q5, write: None }),
};

/// `{ u8 ql[128]; u8 qh[64]; i8 scales[16]; f16 d }`: sub-blocks of 16; weight = `(d * scale) * (q - 32)`, four
/// bits of `q` in `ql`, two in `qh`. Of each half of 128 weights, weight `32 g + l` has its low bits in byte
/// `l + 32 (g % 2)` of `ql`, low half before high half, and its high bits at bit `2 g` of byte `l` of `qh`.
/// Source: llama.cpp `ggml-quants.c`, `dequantize_row_q6_K`.
pub static Q6_K: Format = Format {
    name: "Q6_K",
    type_id: 14,
    weights: 256,
    bytes: 210,
    coding: Coding::Numbers(NumberCode { read: read_q6, write: None }),
};

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

fn read_q4(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.as_chunks::<144>().0.iter().zip(values.chunks_exact_mut(256)) {
        let (head, quants) = block.split_at(16);
        sub_blocks(head, quants, &[0; 32], values);
    }
}

fn read_q5(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.as_chunks::<176>().0.iter().zip(values.chunks_exact_mut(256)) {
        let (head, rest) = block.split_at(16);
        let (high, quants) = rest.split_at(32);
        sub_blocks(head, quants, high, values);
    }
}

/// The eight sub-blocks of a `Q4_K` or `Q5_K` block, of which `head` is `d`, `dmin` and the scales.
fn sub_blocks(head: &[u8], quants: &[u8], high: &[u8], values: &mut [f32]) {
    let (d, dmin) = (half(head), half(&head[2..]));
    for (index, values) in values.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(&head[4..], index);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        let quants = &quants[32 * (index / 2)..][..32];
        for ((value, q), high) in values.iter_mut().zip(quants).zip(high) {
            let q = (q >> (4 * (index % 2)) & 15) | (high >> index & 1) << 4;
            *value = scale * f32::from(q) - min;
        }
    }
}

/// The 6-bit scale and minimum of sub-block `j`: the first four stand in the low bits of bytes `j` and `j + 4`;
/// the others have their low four bits in the halves of byte `j + 4` and their high two above those of the first.
fn scale_and_min(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        return (packed[j] & 63, packed[j + 4] & 63);
    }
    (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
}

fn read_q6(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.as_chunks::<210>().0.iter().zip(values.chunks_exact_mut(256)) {
        let d = half(&block[208..]);
        for (at, values) in values.chunks_exact_mut(32).enumerate() {
            let (part, group) = (at / 4, at % 4);
            let low = &block[64 * part + 32 * (group % 2)..][..32];
            let high = &block[128 + 32 * part..][..32];
            let scales = &block[192 + 2 * at..][..2];
            for (l, value) in values.iter_mut().enumerate() {
                let q = low[l] >> (4 * (group / 2)) & 15 | (high[l] >> (2 * group) & 3) << 4;
                *value = d * f32::from(scales[l / 16] as i8) * f32::from(q as i8 - 32);
            }
        }
    }
}
