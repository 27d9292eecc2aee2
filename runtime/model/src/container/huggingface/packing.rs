//! BitNet weights as Hugging Face packs them: four rows a byte.
//!
//! `P` is U8 `[out / 4, in]`; with `R = out / 4`, weight `[r, c]` is `(P[r mod R, c] >> 2 (r div R)) & 3`, minus one.
//! Source: transformers `integrations/bitnet.py`, `unpack_weights`.

use craftsman_golden::quantize::absmean;
use craftsman_golden::{Granularity, Scales, TernaryMatrix};

use crate::ModelError;

/// Rows that share a byte.
pub const ROWS_PER_BYTE: usize = 4;

/// Unpacks an `[m, k]` matrix with one scale.
pub fn unpack(packed: &[u8], m: usize, k: usize, scale: f32) -> Result<TernaryMatrix, ModelError> {
    let quarter = m / ROWS_PER_BYTE * k;
    if !m.is_multiple_of(ROWS_PER_BYTE) || packed.len() != quarter {
        return Err(ModelError::shape(format!(
            "{} packed bytes do not make {m} x {k} weights",
            packed.len()
        )));
    }
    let mut trits = Vec::with_capacity(m * k);
    for shift in [0, 2, 4, 6] {
        trits.extend(packed.iter().map(|byte| (byte >> shift & 3) as i8 - 1));
    }
    TernaryMatrix::new(m, k, trits, Scales::Tensor(scale)).map(TernaryMatrix::coarsened).map_err(|error| {
        ModelError::corrupt(format!("its packed weights are invalid: {error}")).because(error)
    })
}

/// Quantises float masters as the `online` convention does when it loads them.
pub fn quantise(weights: &[f32], m: usize, k: usize) -> Result<TernaryMatrix, ModelError> {
    absmean(weights, m, k, Granularity::Tensor)
        .map(TernaryMatrix::coarsened)
        .map_err(|error| ModelError::corrupt(error.to_string()).because(error))
}
