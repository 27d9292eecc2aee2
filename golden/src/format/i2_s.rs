//! `I2_S` (Microsoft bitnet.cpp), the 128 rule of all official files.

use super::{Format, FormatError, check_length, code_three};
use crate::{Granularity, Scales, ShapeError, TernaryMatrix};

/// `n / 4` bytes of codes, one f32 scale for the whole tensor, 28 bytes of padding. Weights in flat row-major
/// order, 128 to 32 bytes: weight `r` of a run is bits `6 - 2 (r / 32)` and up of its byte `r % 32`; codes 0,
/// 1, 2 are -1, 0, +1, and 3 is invalid. Source: microsoft/BitNet `src/ggml-bitnet-mad.cpp`. (Files made on
/// ARM after November 2025 follow a 64 rule under the same id; nothing in the bytes tells them apart.)
pub struct I2S;

/// Weights of one run.
const RUN: usize = 128;
/// Bytes after the codes: the scale and its padding.
const TAIL: usize = 32;

/// Each of the four groups of 32 weights in a run, with its shift.
const SHIFTS: [usize; 4] = [6, 4, 2, 0];

impl Format for I2S {
    fn name(&self) -> &'static str {
        "I2_S"
    }

    fn type_id(&self) -> u32 {
        36
    }

    fn block_len(&self) -> usize {
        RUN
    }

    fn is_ternary(&self) -> bool {
        true
    }

    fn bytes(&self, m: usize, k: usize) -> Result<usize, FormatError> {
        let format = self.name();
        let n = m.checked_mul(k).ok_or(FormatError::Shape { format, source: ShapeError::Size { m, k } })?;
        if n.is_multiple_of(RUN) {
            Ok(n / 4 + TAIL)
        } else {
            Err(FormatError::Block { format, block: RUN, count: n })
        }
    }

    fn decode_f32(&self, bytes: &[u8], n: usize) -> Result<Vec<f32>, FormatError> {
        check_length(self, bytes, 1, n)?;
        if n == 0 {
            return Ok(Vec::new());
        }
        Ok(self.decode_ternary(bytes, n / RUN, RUN)?.dequantize())
    }

    fn decode_ternary(&self, bytes: &[u8], m: usize, k: usize) -> Result<TernaryMatrix, FormatError> {
        check_length(self, bytes, m, k)?;
        let format = self.name();
        let (codes, tail) = bytes.split_at(m * k / 4);
        let mut trits = vec![0; m * k];
        for (codes, trits) in codes.chunks_exact(32).zip(trits.chunks_exact_mut(RUN)) {
            for (shift, trits) in SHIFTS.iter().zip(trits.chunks_exact_mut(32)) {
                for (trit, code) in trits.iter_mut().zip(codes) {
                    *trit = (code >> shift & 3) as i8 - 1;
                }
            }
        }
        code_three(&trits).map_err(|(index, code)| FormatError::Code { format, index, code })?;
        let scale = f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
        TernaryMatrix::new(m, k, trits, Scales::Tensor(scale))
            .map_err(|source| FormatError::Shape { format, source })
    }

    fn encode_ternary(&self, weights: &TernaryMatrix) -> Result<Vec<u8>, FormatError> {
        let mut bytes = vec![0; self.bytes(weights.m(), weights.k())?];
        let Scales::Tensor(scale) = weights.scales() else {
            let granularity: Granularity = weights.granularity();
            return Err(FormatError::Granularity { format: self.name(), granularity });
        };
        for (codes, trits) in bytes.chunks_exact_mut(32).zip(weights.trits().chunks_exact(RUN)) {
            for (shift, trits) in SHIFTS.iter().zip(trits.chunks_exact(32)) {
                for (code, trit) in codes.iter_mut().zip(trits) {
                    *code |= ((trit + 1) as u8) << shift;
                }
            }
        }
        let at = weights.trits().len() / 4;
        bytes[at..at + 4].copy_from_slice(&scale.to_le_bytes());
        Ok(bytes)
    }
}
