//! Scales and trits that fit a metric.

use craftsman_golden::float::dot16;
use craftsman_golden::quantize::{NonFinite, QuantizeError, ScaleStorage, trit};
use craftsman_golden::{Granularity, Scales, TernaryMatrix};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::factor::Metric;

/// Steps of fitting a scale; it settles in a few.
const FITTING_STEPS: usize = 24;

/// A matrix of trits, and how well it fits.
#[derive(Debug)]
pub(super) struct Rounded {
    pub(super) matrix: TernaryMatrix,
    /// The error of the outputs, and the outputs' own sum of squares, where the metric knows them.
    pub(super) output: Option<[f64; 2]>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounding {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) granularity: Granularity,
    pub(super) storage: ScaleStorage,
}

impl Rounding {
    /// Rounds `weights`, `[m, k]`.
    pub(super) fn run(&self, weights: &[f32], metric: &Metric) -> Result<Rounded, QuantizeError> {
        NonFinite::check(weights)?;
        let Self { m, k, granularity, storage } = *self;
        // Weights under one scale, and scales of a row: none of its own where all share one.
        let (run, per_row) = match granularity {
            Granularity::Tensor => (k, 0),
            _ => (granularity.run(k), k.div_ceil(granularity.run(k))),
        };
        let scales: Vec<f32> = if per_row == 0 {
            vec![storage.round(fit(weights, &metric.importance))]
        } else {
            let rows = weights.par_chunks_exact(k).map(|row| {
                let granules = row.chunks(run).zip(metric.importance.chunks(run));
                granules.map(|(w, h)| storage.round(fit(w, h))).collect::<Vec<f32>>()
            });
            rows.collect::<Vec<_>>().concat()
        };
        let mut trits = vec![0_i8; m * k];
        let rows = trits.par_chunks_exact_mut(k).zip(weights.par_chunks_exact(k)).enumerate();
        let errors = rows.map(|(row, (trits, weights))| {
            let scales = &scales[row * per_row..];
            round_row(weights, |j| scales[j / run], metric, trits)
        });
        let errors: Vec<[f64; 2]> = errors.collect();
        let sum = |part: usize| errors.iter().map(|error| error[part]).sum();
        let scales = match granularity {
            Granularity::Tensor => Scales::Tensor(scales[0]),
            Granularity::Row => Scales::Row(scales),
            Granularity::Block(size) => Scales::Block { size, values: scales },
        };
        Ok(Rounded { matrix: TernaryMatrix::new(m, k, trits, scales)?, output: Some([sum(0), sum(1)]) })
    }
}

/// The scale `s` that makes `sum h (w - s t)^2` least, with the trits `t` nearest for it: from absmean on, trits and scale
/// are fitted to each other in turn. `h` is repeated for each row of `w`.
fn fit(w: &[f32], h: &[f32]) -> f64 {
    let mut scale = w.iter().map(|w| f64::from(w.abs())).sum::<f64>() / w.len() as f64;
    for _ in 0..FITTING_STEPS {
        let (mut product, mut square) = (0.0, 0.0);
        for (&w, &h) in w.iter().zip(h.iter().cycle()) {
            if trit(w, scale as f32) != 0 {
                product += f64::from(h) * f64::from(w.abs());
                square += f64::from(h);
            }
        }
        if square == 0.0 || product / square == scale {
            break;
        }
        scale = product / square;
    }
    scale
}

/// Rounds one row, column by column: each to the trit nearest to its weight and what those before it lost, as far as it
/// can make up for that. Answers the error of its outputs, and their own sum of squares.
fn round_row(weights: &[f32], scale: impl Fn(usize) -> f32, metric: &Metric, trits: &mut [i8]) -> [f64; 2] {
    let mut lost = vec![0.0_f32; weights.len()];
    let mut sums = [0.0; 2];
    for (j, &w) in weights.iter().enumerate() {
        let column = metric.column(j);
        let wanted = w + dot16(&lost[..column.len()], column);
        let scale = scale(j);
        trits[j] = trit(wanted, scale);
        let rounded = f32::from(trits[j]) * scale;
        lost[j] = w - rounded;
        let whole = w + dot16(&weights[..column.len()], column);
        for (sum, part) in sums.iter_mut().zip([wanted - rounded, whole]) {
            *sum += f64::from(metric.weights[j]) * f64::from(part) * f64::from(part);
        }
    }
    sums
}
