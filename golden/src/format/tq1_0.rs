//! `TQ1_0` (llama.cpp): 256 weights in 54 bytes.

use super::{Format, FormatError, TernaryBlock, block_bytes, ternary_block_format};
use crate::TernaryMatrix;

/// `{ u8 qs[48]; u8 qh[4]; f16 d }`. A byte is `ceil(256 q / 243)` where `q` has five base-3 digits `t + 1`,
/// the first weight's most significant; digit `n` comes back as `(((byte * 3^n) & 255) * 3) >> 8`, for any
/// byte a valid one. The four bytes of `qh` hold four digits each, as if a fifth were 0. Source: llama.cpp
/// `ggml-quants.c`, `quantize_row_tq1_0_ref` and `dequantize_row_tq1_0`.
pub struct Tq1_0;

ternary_block_format!(Tq1_0, "TQ1_0", 34);

/// The three parts of a block: how many bytes, and how many digits in each. Within a part the weights run
/// over the bytes' first digits, then their second ones, and so on.
const PARTS: [(usize, u32); 3] = [(32, 5), (16, 5), (4, 4)];

impl TernaryBlock for Tq1_0 {
    const BYTES: usize = 54;

    fn read(mut codes: &[u8], trits: &mut [i8; 256]) -> Result<(), (usize, u8)> {
        let mut trits = &mut trits[..];
        for (bytes, digits) in PARTS {
            let (part, rest) = codes.split_at(bytes);
            for digit in 0..digits {
                let (out, later) = std::mem::take(&mut trits).split_at_mut(bytes);
                for (trit, code) in out.iter_mut().zip(part) {
                    let fraction = code.wrapping_mul(3_u8.pow(digit));
                    *trit = ((u16::from(fraction) * 3) >> 8) as i8 - 1;
                }
                trits = later;
            }
            codes = rest;
        }
        Ok(())
    }

    fn write(trits: &[i8; 256], mut codes: &mut [u8]) {
        let mut trits = &trits[..];
        for (bytes, digits) in PARTS {
            let (part, rest) = codes.split_at_mut(bytes);
            let (of_part, later) = trits.split_at(bytes * digits as usize);
            for (at, code) in part.iter_mut().enumerate() {
                let number = of_part[at..].iter().step_by(bytes).fold(0, |q, trit| 3 * q + (trit + 1) as u16);
                *code = (number * 3_u16.pow(5 - digits) * 256).div_ceil(243) as u8;
            }
            (trits, codes) = (later, rest);
        }
    }
}
