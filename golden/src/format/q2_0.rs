//! `Q2_0` (llama.cpp), and the older layout of `PrismML` under the same id.

use super::walk::code_three;
use super::{Coding, Format, ScalePlace};

/// `{ f16 d; u8 qs[16] }`, 64 weights in 18 bytes: weight `j` is `((qs[j / 4] >> 2 (j % 4)) & 3) - 1`, times `d`.
/// Code 3 would be +2; no quantiser writes it, and it is refused. Source: llama.cpp `ggml-common.h` and
/// `ggml-quants.c`, `dequantize_row_q2_0`.
pub static Q2_0: Format = Format {
    name: "Q2_0",
    type_id: 42,
    weights: 64,
    bytes: 18,
    coding: Coding::Trits { scale: ScalePlace::BeforeBlock, read, write: Some(write) },
};

/// The same with 128 weights in 34 bytes. Files of `PrismML` and CAT-Q from before `PQ2_0` had an id of its own
/// have it under 42; the bytes between tensors tell. Source: PrismML-Eng/llama.cpp, issue 167.
pub static PQ2_0: Format = Format {
    name: "PQ2_0",
    type_id: 142,
    weights: 128,
    bytes: 34,
    coding: Coding::Trits { scale: ScalePlace::BeforeBlock, read, write: None },
};

fn read(codes: &[u8], trits: &mut [i8]) -> Result<(), (usize, u8)> {
    for (code, trits) in codes.iter().zip(trits.chunks_exact_mut(4)) {
        for (j, trit) in trits.iter_mut().enumerate() {
            *trit = (code >> (2 * j) & 3) as i8 - 1;
        }
    }
    code_three(trits)
}

fn write(trits: &[i8], codes: &mut [u8]) {
    for (code, trits) in codes.iter_mut().zip(trits.chunks_exact(4)) {
        *code = trits.iter().rev().fold(0, |code, trit| code << 2 | (trit + 1) as u8);
    }
}
