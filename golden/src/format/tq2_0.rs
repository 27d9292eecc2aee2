//! `TQ2_0` (llama.cpp): 256 weights in 66 bytes.

use super::{Format, FormatError, TernaryBlock, block_bytes, code_three, ternary_block_format};
use crate::TernaryMatrix;

/// `{ u8 qs[64]; f16 d }`. Weight `32 * l + m` of the half `h` is `((qs[32 h + m] >> 2 l) & 3) - 1`, times
/// `d`; code 3 is invalid (it would be +2, and no quantiser writes it). Source: llama.cpp `ggml-quants.c`,
/// `dequantize_row_tq2_0`.
pub struct Tq2_0;

ternary_block_format!(Tq2_0, "TQ2_0", 35);

impl TernaryBlock for Tq2_0 {
    const BYTES: usize = 66;

    fn read(codes: &[u8], trits: &mut [i8; 256]) -> Result<(), (usize, u8)> {
        for (codes, trits) in codes.chunks_exact(32).zip(trits.chunks_exact_mut(128)) {
            for (l, trits) in trits.chunks_exact_mut(32).enumerate() {
                for (trit, code) in trits.iter_mut().zip(codes) {
                    *trit = (code >> (2 * l) & 3) as i8 - 1;
                }
            }
        }
        code_three(trits)
    }

    fn write(trits: &[i8; 256], codes: &mut [u8]) {
        for (codes, trits) in codes.chunks_exact_mut(32).zip(trits.chunks_exact(128)) {
            for (l, trits) in trits.chunks_exact(32).enumerate() {
                for (code, trit) in codes.iter_mut().zip(trits) {
                    *code |= ((trit + 1) as u8) << (2 * l);
                }
            }
        }
    }
}
