//! `Q8_0` (llama.cpp): 32 weights in 34 bytes.

use half::f16;

use super::walk::NumberCode;
use super::{Coding, Format};

/// `{ f16 d; i8 qs[32] }`, weight = `d * q`. Source: llama.cpp `ggml-quants.c`, `quantize_row_q8_0_ref`.
pub static Q8_0: Format = Format {
    name: "Q8_0",
    type_id: 8,
    weights: 32,
    bytes: 34,
    coding: Coding::Numbers(NumberCode { read, write: Some(write) }),
};

fn read(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.as_chunks::<34>().0.iter().zip(values.chunks_exact_mut(32)) {
        let d = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for (value, &q) in values.iter_mut().zip(&block[2..]) {
            *value = d * f32::from(q as i8);
        }
    }
}

/// As llama.cpp: `d = max|x| / 127` (then stored as f16), `q = round(x * (1 / d))`, ties away from zero.
fn write(values: &[f32], bytes: &mut Vec<u8>) -> Result<(), usize> {
    for (at, block) in values.chunks_exact(32).enumerate() {
        let largest = block.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
        let d = largest / 127.0;
        let stored = f16::from_f32(d);
        if let Some(bad) = block.iter().position(|v| !v.is_finite() || stored.is_infinite()) {
            return Err(at * 32 + bad);
        }
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        bytes.extend(stored.to_le_bytes());
        bytes.extend(block.iter().map(|v| (v * inverse).round() as i8 as u8));
    }
    Ok(())
}
