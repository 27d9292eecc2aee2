//! `TQ1_0` (llama.cpp): 256 weights in 54 bytes.

use super::walk::fraction_digit;
use super::{Coding, Format, ScalePlace};

/// `{ u8 qs[48]; u8 qh[4]; f16 d }`. A byte is `ceil(256 q / 243)` where `q` has five base-3 digits `t + 1`,
/// the first weight's most significant; digit `n` comes back as `(((byte * 3^n) & 255) * 3) >> 8`, for any
/// byte a valid one. The four bytes of `qh` hold four digits each, as if a fifth were 0. Source: llama.cpp
/// `ggml-quants.c`, `quantize_row_tq1_0_ref` and `dequantize_row_tq1_0`.
pub static TQ1_0: Format = Format {
    name: "TQ1_0",
    type_id: 34,
    weights: 256,
    bytes: 54,
    coding: Coding::Trits {
        scale: ScalePlace::AfterBlock,
        read: |codes, trits| {
            read(codes, trits);
            Ok(())
        },
        write: Some(write),
    },
};

/// The three parts of a block: how many bytes, and how many digits in each. Within a part the weights run
/// over the bytes' first digits, then their second ones, and so on.
const PARTS: [(usize, u32); 3] = [(32, 5), (16, 5), (4, 4)];

fn read(mut codes: &[u8], mut trits: &mut [i8]) {
    for (bytes, digits) in PARTS {
        let (part, rest) = codes.split_at(bytes);
        for digit in 0..digits {
            let (out, later) = std::mem::take(&mut trits).split_at_mut(bytes);
            for (trit, code) in out.iter_mut().zip(part) {
                *trit = fraction_digit(*code, digit) - 1;
            }
            trits = later;
        }
        codes = rest;
    }
}

fn write(mut trits: &[i8], mut codes: &mut [u8]) {
    for (bytes, digits) in PARTS {
        let (part, rest) = std::mem::take(&mut codes).split_at_mut(bytes);
        let (of_part, later) = trits.split_at(bytes * digits as usize);
        for (at, code) in part.iter_mut().enumerate() {
            let number = of_part[at..].iter().step_by(bytes).fold(0, |q, trit| 3 * q + (trit + 1) as u16);
            *code = (number * 3_u16.pow(5 - digits) * 256).div_ceil(243) as u8;
        }
        (trits, codes) = (later, rest);
    }
}
