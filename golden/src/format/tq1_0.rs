//! `TQ1_0` (llama.cpp): 256 weights in 54 bytes.

use super::{Format, FormatError, TernaryBlock, block_bytes, ternary_block_format};
use crate::TernaryMatrix;

/// `{ u8 qs[48]; u8 qh[4]; f16 d }`. A byte is `ceil(256 q / 243)` where `q` has five base-3 digits `t + 1`, the first weight's most
/// significant; digit `n` comes back as `(((byte * 3^n) & 255) * 3) >> 8`, for any byte a valid one. The four bytes of `qh` hold four
/// digits each, as if a fifth were 0. Source: llama.cpp `ggml-quants.c`, `quantize_row_tq1_0_ref` and `dequantize_row_tq1_0`.
pub struct Tq1_0;

ternary_block_format!(Tq1_0, "TQ1_0", 34);

/// Byte and digit of weight `e` of a block: five digits over 32 bytes, five over 16, four over 4.
fn place(e: usize) -> (usize, u32) {
    match e {
        0..160 => (e % 32, e as u32 / 32),
        160..240 => (32 + e % 16, (e as u32 - 160) / 16),
        _ => (48 + e % 4, (e as u32 - 240) / 4),
    }
}

impl TernaryBlock for Tq1_0 {
    const BYTES: usize = 54;

    fn read(codes: &[u8], trits: &mut [i8; 256]) -> Result<(), (usize, u8)> {
        for (e, trit) in trits.iter_mut().enumerate() {
            let (byte, digit) = place(e);
            let fraction = codes[byte].wrapping_mul(3_u8.pow(digit));
            *trit = ((u16::from(fraction) * 3) >> 8) as i8 - 1;
        }
        Ok(())
    }

    fn write(trits: &[i8; 256], codes: &mut [u8]) {
        let mut numbers = [0_u16; 52];
        for (e, trit) in trits.iter().enumerate() {
            let (byte, digit) = place(e);
            numbers[byte] += (trit + 1) as u16 * 3_u16.pow(4 - digit);
        }
        for (code, q) in codes.iter_mut().zip(numbers) {
            *code = (q * 256).div_ceil(243) as u8;
        }
    }
}
