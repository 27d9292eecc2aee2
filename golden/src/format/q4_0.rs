//! `Q4_0` (llama.cpp): 32 weights in 18 bytes.

use half::f16;

use super::walk::NumberCode;
use super::{Coding, Format};

/// `{ f16 d; u8 qs[16] }`: weight `j` is the low half of byte `j`, weight `16 + j` the high half, less 8, times
/// `d`. Source: llama.cpp `ggml-quants.c`, `dequantize_row_q4_0`.
pub static Q4_0: Format = Format {
    name: "Q4_0",
    type_id: 2,
    weights: 32,
    bytes: 18,
    coding: Coding::Numbers(NumberCode { read, write: None }),
};

fn read(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.as_chunks::<18>().0.iter().zip(values.chunks_exact_mut(32)) {
        let d = f16::from_le_bytes([block[0], block[1]]).to_f32();
        let (low, high) = values.split_at_mut(16);
        for ((low, high), q) in low.iter_mut().zip(high).zip(&block[2..]) {
            *low = f32::from((q & 15) as i8 - 8) * d;
            *high = f32::from((q >> 4) as i8 - 8) * d;
        }
    }
}
