//! `TQ2_0` (llama.cpp): 256 weights in 66 bytes.

use super::{Format, FormatError, TernaryBlock, block_bytes, ternary_block_format};
use crate::TernaryMatrix;

/// `{ u8 qs[64]; f16 d }`. Weight `32 * l + m` of the half `h` is `((qs[32 h + m] >> 2 l) & 3) - 1`, times `d`; code 3 is
/// invalid (it would be +2, and no quantiser writes it). Source: llama.cpp `ggml-quants.c`, `dequantize_row_tq2_0`.
pub struct Tq2_0;

ternary_block_format!(Tq2_0, "TQ2_0", 35);

/// Byte and shift of weight `e` of a block.
fn place(e: usize) -> (usize, usize) {
    (32 * (e / 128) + e % 32, e % 128 / 32 * 2)
}

impl TernaryBlock for Tq2_0 {
    const BYTES: usize = 66;

    fn read(codes: &[u8], trits: &mut [i8; 256]) -> Result<(), (usize, u8)> {
        for (e, trit) in trits.iter_mut().enumerate() {
            let (byte, shift) = place(e);
            let code = codes[byte] >> shift & 3;
            if code == 3 {
                return Err((e, code));
            }
            *trit = code as i8 - 1;
        }
        Ok(())
    }

    fn write(trits: &[i8; 256], codes: &mut [u8]) {
        for (e, trit) in trits.iter().enumerate() {
            let (byte, shift) = place(e);
            codes[byte] |= ((trit + 1) as u8) << shift;
        }
    }
}
