//! `Q8_0` (llama.cpp): 32 weights in 34 bytes.

use half::f16;

use super::{Format, FormatError, block_bytes, check_length};

/// `{ f16 d; i8 qs[32] }`, weight = `d * q`. Source: llama.cpp `ggml-quants.c`, `quantize_row_q8_0_ref`.
pub struct Q8_0;

/// Bytes a block.
const BYTES: usize = 34;

impl Format for Q8_0 {
    fn name(&self) -> &'static str {
        "Q8_0"
    }

    fn type_id(&self) -> u32 {
        8
    }

    fn block_len(&self) -> usize {
        32
    }

    fn is_ternary(&self) -> bool {
        false
    }

    fn bytes(&self, m: usize, k: usize) -> Result<usize, FormatError> {
        block_bytes(self, m, k, BYTES)
    }

    fn decode_f32(&self, bytes: &[u8], n: usize) -> Result<Vec<f32>, FormatError> {
        check_length(self, bytes, 1, n)?;
        let mut values = Vec::with_capacity(n);
        for block in bytes.chunks_exact(BYTES) {
            let d = f16::from_le_bytes([block[0], block[1]]).to_f32();
            values.extend(block[2..].iter().map(|&q| d * f32::from(q as i8)));
        }
        Ok(values)
    }

    /// As llama.cpp: `d = max|x| / 127` (then stored as f16), `q = round(x * (1 / d))`, ties away from zero.
    fn encode_f32(&self, values: &[f32]) -> Result<Vec<u8>, FormatError> {
        let format = self.name();
        let mut bytes = Vec::with_capacity(self.bytes(1, values.len())?);
        for (at, block) in values.chunks_exact(32).enumerate() {
            let largest = block.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
            let d = largest / 127.0;
            let stored = f16::from_f32(d);
            if let Some(bad) = block.iter().position(|v| !v.is_finite() || stored.is_infinite()) {
                return Err(FormatError::Value { format, index: at * 32 + bad, value: block[bad] });
            }
            let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
            bytes.extend(stored.to_le_bytes());
            bytes.extend(block.iter().map(|v| (v * inverse).round() as i8 as u8));
        }
        Ok(bytes)
    }
}
