//! `IQ1_BN` and `IQ2_BN` (`ik_llama.cpp`): one scale a row, so they fit stacks of experts and any row of 64 weights.

use super::walk::{fraction_digit, read_planes};
use super::{Coding, Format, ScalePlace};
use crate::quantize::ScaleStorage;

/// A row is an f16 scale, then `{ u8 ql[12]; u8 extra }` for every 64 weights: four groups of 16, each of three
/// bytes of five trits and a last trit in `extra`. A byte is `ceil(256 q / 243)`, in `q` the first weight's
/// digit `t + 1` is the least significant one; in `extra` the digits of the four groups stand the same way.
/// Source: `ik_llama.cpp` `iqk_quantize.cpp`, `dequantize_row_iq1_bn`.
pub static IQ1_BN: Format = Format {
    name: "IQ1_BN",
    type_id: 134,
    weights: 64,
    bytes: 13,
    coding: Coding::Trits {
        scale: ScalePlace::BeforeRow(ScaleStorage::F16),
        read: |codes, trits| {
            read_fractions(codes, trits);
            Ok(())
        },
        write: None,
    },
};

/// A row is an f32 scale, then `u8 qs[16]` for every 64 weights: weight `16 l + j` is
/// `((qs[j] >> 2 l) & 3) - 1`. Source: `ik_llama.cpp` `iqk_quantize.cpp`, `dequantize_row_iq2_bn`.
pub static IQ2_BN: Format = Format {
    name: "IQ2_BN",
    type_id: 135,
    weights: 64,
    bytes: 16,
    coding: Coding::Trits {
        scale: ScalePlace::BeforeRow(ScaleStorage::F32),
        read: |codes, trits| read_planes(codes, [0, 2, 4, 6], trits),
        write: None,
    },
};

/// The most significant of a byte's five digits.
const LAST_DIGIT: usize = 4;

/// Every byte is valid.
fn read_fractions(codes: &[u8], trits: &mut [i8]) {
    let digit = |byte, at: usize| fraction_digit(byte, (LAST_DIGIT - at) as u32) - 1;
    for (group, trits) in trits.chunks_exact_mut(16).enumerate() {
        for (at, trit) in trits[..15].iter_mut().enumerate() {
            *trit = digit(codes[3 * group + at / 5], at % 5);
        }
        trits[15] = digit(codes[12], group);
    }
}
