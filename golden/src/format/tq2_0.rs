//! `TQ2_0` (llama.cpp): 256 weights in 66 bytes.

use super::walk::{read_planes, write_planes};
use super::{Coding, Format, ScalePlace};

/// `{ u8 qs[64]; f16 d }`. Weight `32 * l + m` of the half `h` is `((qs[32 h + m] >> 2 l) & 3) - 1`, times
/// `d`; code 3 is invalid (it would be +2, and no quantiser writes it). Source: llama.cpp `ggml-quants.c`,
/// `dequantize_row_tq2_0`.
pub static TQ2_0: Format = Format {
    name: "TQ2_0",
    type_id: 35,
    weights: 256,
    bytes: 66,
    coding: Coding::Trits { scale: ScalePlace::AfterBlock, read, write: Some(write) },
};

const SHIFTS: [u32; 4] = [0, 2, 4, 6];

fn read(codes: &[u8], trits: &mut [i8]) -> Result<(), (usize, u8)> {
    let (low, high) = trits.split_at_mut(128);
    read_planes(&codes[..32], SHIFTS, low)?;
    read_planes(&codes[32..], SHIFTS, high).map_err(|(at, code)| (128 + at, code))
}

fn write(trits: &[i8], codes: &mut [u8]) {
    for (trits, codes) in trits.chunks_exact(128).zip(codes.chunks_exact_mut(32)) {
        write_planes(trits, SHIFTS, codes);
    }
}
