//! `BITNET_T158` (Craftsman): 256 weights in 66 bytes. Specified in `docs/formats/bitnet_t158.md`.

use super::{Coding, Format, ScalePlace};

/// `{ u8 codes[64]; f16 scale }`. Weight `j` of a block is bits `2 (j % 4)` and up of byte `j / 4`: 00 = 0,
/// 01 = +1, 10 = -1, 11 invalid; times the scale, which is the block's absmean.
///
/// The type id 1158 lies far above everything that ggml and its forks use (0 to 43, 97 to 158, 200s, 300s).
pub static BITNET_T158: Format = Format {
    name: "BITNET_T158",
    type_id: 1158,
    weights: 256,
    bytes: 66,
    coding: Coding::Trits { scale: ScalePlace::AfterBlock, read, write: Some(write) },
};

fn read(codes: &[u8], trits: &mut [i8]) -> Result<(), (usize, u8)> {
    for (code, trits) in codes.iter().zip(trits.chunks_exact_mut(4)) {
        for (j, trit) in trits.iter_mut().enumerate() {
            let code = code >> (2 * j) & 3;
            *trit = (code & 1) as i8 - (code >> 1) as i8;
        }
    }
    // Both bits of a pair set anywhere?
    if codes.iter().fold(0, |seen, code| seen | (code & code >> 1 & 0x55)) == 0 {
        return Ok(());
    }
    let invalid = |j: &usize| codes[j / 4] >> (2 * (j % 4)) & 3 == 3;
    Err(((0..trits.len()).find(invalid).unwrap_or_default(), 3))
}

fn write(trits: &[i8], codes: &mut [u8]) {
    for (j, trit) in trits.iter().enumerate() {
        let code = match trit {
            0 => 0b00,
            1 => 0b01,
            _ => 0b10,
        };
        codes[j / 4] |= code << (2 * (j % 4));
    }
}
