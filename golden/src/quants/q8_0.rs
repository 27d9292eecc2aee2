//! `Q8_0`: 8.5 bits a weight. Layout: [`crate::format`]'s file of that name.

use half::f16;

use super::{QuantKind, Superblock, half};

/// `{ f16 d; i8 qs[32] }`: blocks of 32, each a superblock of its own.
pub static Q8_0: QuantKind = QuantKind {
    name: "Q8_0",
    bits: 8,
    block: 32,
    columns: 32,
    bytes: 34,
    zero: 128,
    minimums: false,
    halves: &[0],
    unpack,
    pack,
};

fn unpack(bytes: &[u8], out: &mut Superblock) {
    out.d = f16::from_le_bytes([bytes[0], bytes[1]]);
    out.scales[0] = 1;
    for (code, &byte) in out.codes.iter_mut().zip(&bytes[2..]) {
        *code = byte ^ 0x80;
    }
}

/// As llama.cpp: `d = max|x| / 127`, `q = round(x / d)`, ties away from zero: what is just short of half is added and the
/// rest cut off, as the library does.
fn pack(values: &[f32]) -> Option<Vec<u8>> {
    let d = values.iter().fold(0.0_f32, |max, v| max.max(v.abs())) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut bytes = half(d)?.to_le_bytes().to_vec();
    let short_of_half = 0.5 - 0.25 * f32::EPSILON;
    bytes.extend(values.iter().map(|v| {
        let x = v * inverse;
        ((x + short_of_half.copysign(x)) as i32) as u8
    }));
    Some(bytes)
}
