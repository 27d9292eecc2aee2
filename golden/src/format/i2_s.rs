//! `I2_S` (Microsoft bitnet.cpp) under its two rules.

use super::walk::{read_planes, write_planes};
use super::{Coding, Format, ScalePlace};

/// The 128 rule of all official files: `n / 4` bytes of codes, one f32 scale for the whole tensor, 28 bytes of
/// padding. Weights in flat row-major order, 128 to 32 bytes: weight `r` of a run is bits `6 - 2 (r / 32)` and
/// up of its byte `r % 32`; codes 0, 1, 2 are -1, 0, +1, and 3 is invalid. Source: microsoft/BitNet
/// `src/ggml-bitnet-mad.cpp`.
pub static I2_S: Format = Format {
    name: "I2_S",
    type_id: 36,
    weights: 128,
    bytes: 32,
    coding: Coding::Trits { scale: TAIL, read, write: Some(write) },
};

/// The 64 rule of files made on Arm after November 2025: as [`I2_S`], but 64 weights to 16 bytes, weight `r` in
/// bits `6 - 2 (r / 16)` and up of byte `r % 16`. Same id and same size: nothing in the bytes tells them apart.
/// Source: microsoft/BitNet since commit 112f853.
pub static I2_S_ARM: Format = Format {
    name: "I2_S_ARM",
    type_id: 36,
    weights: 64,
    bytes: 16,
    coding: Coding::Trits { scale: TAIL, read, write: None },
};

/// The scale and its padding.
const TAIL: ScalePlace = ScalePlace::AfterTensor(32);

/// Each quarter of a run, with its shift.
const SHIFTS: [u32; 4] = [6, 4, 2, 0];

fn read(codes: &[u8], trits: &mut [i8]) -> Result<(), (usize, u8)> {
    read_planes(codes, SHIFTS, trits)
}

fn write(trits: &[i8], codes: &mut [u8]) {
    write_planes(trits, SHIFTS, codes);
}
