//! `Q4_K`, `Q5_K` and `Q6_K` (llama.cpp): 256 weights in sub-blocks with quantised scales.
//!
//! Products are rounded one by one, as gguf-py does; a compiler that fuses them may differ in the last bit.

use half::f16;

use super::walk::NumberCode;
use super::{Coding, Format};
use crate::quants::{self, six_bits};

/// Layout and rounding: [`quants::Q4_K`].
pub static Q4_K: Format = Format {
    name: "Q4_K",
    type_id: 12,
    weights: 256,
    bytes: 144,
    coding: Coding::Numbers(NumberCode {
        read: |bytes, values| quants::Q4_K.read(bytes, values),
        write: Some(|values, bytes| quants::Q4_K.write(values, bytes)),
    }),
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

/// Layout and rounding: [`quants::Q6_K`].
pub static Q6_K: Format = Format {
    name: "Q6_K",
    type_id: 14,
    weights: 256,
    bytes: 210,
    coding: Coding::Numbers(NumberCode {
        read: |bytes, values| quants::Q6_K.read(bytes, values),
        write: Some(|values, bytes| quants::Q6_K.write(values, bytes)),
    }),
};

fn read_q5(bytes: &[u8], values: &mut [f32]) {
    let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    for (bytes, values) in bytes.as_chunks::<176>().0.iter().zip(values.chunks_exact_mut(256)) {
        let (head, rest) = bytes.split_at(16);
        let (high, quants) = rest.split_at(32);
        let (d, dmin) = (half(head), half(&head[2..]));
        for (index, values) in values.chunks_exact_mut(32).enumerate() {
            let (scale, min) = six_bits(&head[4..], index);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let quants = &quants[32 * (index / 2)..][..32];
            for ((value, q), high) in values.iter_mut().zip(quants).zip(high) {
                let q = (q >> (4 * (index % 2)) & 15) | (high >> index & 1) << 4;
                *value = scale * f32::from(q) - min;
            }
        }
    }
}
