//! Weights to trits, activations to integers.

use half::f16;

use crate::trit::{scale_count, weight_count};
use crate::{Granularity, Scales, ShapeError, TernaryMatrix};

/// An activation vector as integers: `x[i]` is about `q[i] / scale`.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedRow {
    /// The integers.
    pub q: Vec<i8>,
    /// The multiplier `a = (1 / max(max|x|, 1e-5)) * limit`.
    pub scale: f32,
}

/// An infinite or NaN number where only finite ones can be quantised.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("value {index} is {value}; only finite numbers can be quantised")]
pub struct NonFinite {
    /// Index in the slice that was given.
    pub index: usize,
    /// The first such value.
    pub value: f32,
}

impl NonFinite {
    /// The first non-finite value of `x`, if there is one.
    pub fn check(x: &[f32]) -> Result<(), Self> {
        match x.iter().position(|v| !v.is_finite()) {
            Some(index) => Err(Self { index, value: x[index] }),
            None => Ok(()),
        }
    }
}

/// Below this largest magnitude an activation vector counts as this large (Hugging Face transformers'
/// `BitNet`).
pub const ABSMAX_FLOOR: f32 = 1e-5;

/// Eight-bit absmax quantisation of one token: `a = (1 / max(max|x|, 1e-5)) * 127`,
/// `q = clamp(round_ties_even(x * a), -128, 127)`.
///
/// The division comes first and is rounded, as in Hugging Face transformers: there `127 / tensor` is
/// `tensor.reciprocal() * 127`. Models have values that lie exactly between two integers, and there the last
/// bit of `a` decides.
///
/// ```
/// let row = craftsman_golden::quantize::absmax(&[1.0, -0.5, 0.25])?;
/// assert_eq!((row.q, row.scale), (vec![127, -64, 32], 127.0));
/// # Ok::<(), craftsman_golden::quantize::NonFinite>(())
/// ```
pub fn absmax(x: &[f32]) -> Result<QuantizedRow, NonFinite> {
    absmax_bits(x, 8)
}

/// [`absmax`] with integers of `bits` bits: 8, or 4 as in `BitNet` a4.8 (`a = 7 / ...`, clamped to -8..7).
///
/// # Panics
/// When `bits` is not within 2..=8.
pub fn absmax_bits(x: &[f32], bits: u32) -> Result<QuantizedRow, NonFinite> {
    assert!((2..=8).contains(&bits), "activations of {bits} bits");
    NonFinite::check(x)?;
    let limit = ((1 << (bits - 1)) - 1) as f32;
    let largest = x.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
    let scale = 1.0 / largest.max(ABSMAX_FLOOR) * limit;
    let q = x.iter().map(|v| (v * scale).round_ties_even().clamp(-limit - 1.0, limit) as i8).collect();
    Ok(QuantizedRow { q, scale })
}

/// As what a file will store the scales: they are rounded to it before the trits are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleStorage {
    /// 32-bit float.
    F32,
    /// IEEE half precision, rounded to nearest even.
    F16,
}

impl ScaleStorage {
    /// The nearest stored value; infinite when it is beyond the range.
    pub fn round(self, scale: f64) -> f32 {
        match self {
            Self::F32 => scale as f32,
            Self::F16 => f16::from_f64(scale).to_f32(),
        }
    }
}

/// Why weights cannot become trits.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// Count, sides or block size are wrong, or a scale overflows its storage.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// An infinite or NaN weight.
    #[error("weights: {0}")]
    NonFinite(#[from] NonFinite),
}

/// Absmean quantisation, the rule of `BitNet` b1.58: `s = mean|W|` over the granule, added in `f64` and
/// rounded once to `f32`; `t = clamp(round_ties_even(W / s), -1, 1)`. A granule with `s = 0` becomes zeros.
pub fn absmean(
    weights: &[f32],
    m: usize,
    k: usize,
    granularity: Granularity,
) -> Result<TernaryMatrix, QuantizeError> {
    absmean_stored(weights, m, k, granularity, ScaleStorage::F32)
}

/// [`absmean`] for a file that stores its scales as `storage`.
pub fn absmean_stored(
    weights: &[f32],
    m: usize,
    k: usize,
    granularity: Granularity,
    storage: ScaleStorage,
) -> Result<TernaryMatrix, QuantizeError> {
    let mean =
        |granule: &[f32]| granule.iter().map(|w| f64::from(w.abs())).sum::<f64>() / granule.len() as f64;
    ternary(weights, m, k, granularity, |granule| storage.round(mean(granule)))
}

/// Absmax quantisation: `s = max|W|` over the granule, `t` as in [`absmean`]. It finds the trits again in
/// weights that are already ternary (`t * s` written out as numbers), where the mean would be too small by
/// the share of zeros.
pub fn absmax_ternary(
    weights: &[f32],
    m: usize,
    k: usize,
    granularity: Granularity,
) -> Result<TernaryMatrix, QuantizeError> {
    ternary(weights, m, k, granularity, |granule| granule.iter().fold(0.0, |max: f32, w| max.max(w.abs())))
}

/// The ternary matrix that some tool wrote out as numbers, `t * s`: each block of 256, 128 or 64 weights of a row
/// holds nothing but `-s`, `0` and `+s`. Its scales are the coarsest that say it. `None` for other numbers.
pub fn written_out(weights: &[f32], m: usize, k: usize) -> Option<TernaryMatrix> {
    if weights.len() != weight_count(m, k).ok()? {
        return None;
    }
    [256, 128, 64].into_iter().find_map(|size| {
        let mut values = Vec::new();
        for block in weights.chunks_exact(k).flat_map(|row| row.chunks(size)) {
            let scale = block.iter().find(|w| **w != 0.0).map_or(0.0, |w| w.abs());
            if block.iter().any(|w| *w != 0.0 && w.abs() != scale) {
                return None;
            }
            values.push(scale);
        }
        let trits = weights.iter().map(|&w| i8::from(w > 0.0) - i8::from(w < 0.0)).collect();
        TernaryMatrix::new(m, k, trits, Scales::Block { size, values }).ok().map(TernaryMatrix::coarsened)
    })
}

/// Trits of `weights` under the scales that `scale_of` finds for each granule.
fn ternary(
    weights: &[f32],
    m: usize,
    k: usize,
    granularity: Granularity,
    scale_of: impl Fn(&[f32]) -> f32,
) -> Result<TernaryMatrix, QuantizeError> {
    let expected = weight_count(m, k)?;
    scale_count(m, k, granularity)?;
    if weights.len() != expected {
        return Err(ShapeError::Weights { found: weights.len(), expected }.into());
    }
    NonFinite::check(weights)?;
    let row = if granularity == Granularity::Tensor { expected } else { k };
    let mut trits = Vec::with_capacity(expected);
    let mut scales = Vec::new();
    for granule in weights.chunks(row).flat_map(|row_weights| row_weights.chunks(granularity.run(row))) {
        let scale = scale_of(granule);
        trits.extend(granule.iter().map(|&w| trit(w, scale)));
        scales.push(scale);
    }
    Ok(TernaryMatrix::new(m, k, trits, Scales::from_values(granularity, scales))?)
}

/// `clamp(round_ties_even(w / scale), -1, 1)`, said by comparisons: exactly half a scale is a tie and goes to
/// the even 0. Under a scale of 0 every trit is 0.
pub fn trit(w: f32, scale: f32) -> i8 {
    let ratio = w / scale;
    if scale == 0.0 { 0 } else { i8::from(ratio > 0.5) - i8::from(ratio < -0.5) }
}
