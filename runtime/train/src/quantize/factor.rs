//! What the rounding of a row needs of the moments of its inputs.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::moments::Moments;

/// A share of the mean moment that is added to each: inputs that hardly vary must not decide everything.
const DAMPING: f64 = 0.01;

/// `H = (I + U) D (I + U)^T`, `U` strictly upper triangular: the error of a row, `e H e^T`, is the sum over columns `j` of
/// `D_j (e_j + sum over i < j of e_i U_ij)^2`.
#[derive(Debug)]
pub(super) struct Metric {
    /// `D`.
    pub(super) weights: Vec<f32>,
    /// The moments of each column by itself, which scales are fitted with.
    pub(super) importance: Vec<f32>,
    /// Column `j` of `U` above the diagonal, `[j]`, at `j (j - 1) / 2`; empty where `U` is zero.
    feedback: Vec<f32>,
}

impl Metric {
    /// Of what was seen of the inputs; `None` where that is nothing.
    pub(super) fn new(moments: &Moments) -> Option<Self> {
        let k = if moments.is_whole() { moments.sums.len().isqrt() } else { moments.sums.len() };
        let diagonal = |j: usize| if moments.is_whole() { moments.sums[j * k + j] } else { moments.sums[j] };
        let mean = (0..k).map(diagonal).sum::<f64>() / k as f64;
        if !(mean > 0.0 && mean.is_finite()) {
            return None;
        }
        let importance: Vec<f64> = (0..k).map(|j| diagonal(j) / mean + DAMPING).collect();
        let (weights, feedback) = if moments.is_whole() {
            let mut h: Vec<f64> = moments.sums.iter().map(|sum| sum / mean).collect();
            (0..k).for_each(|j| h[j * k + j] = importance[j]);
            decompose(h, k)
        } else {
            (importance.clone(), Vec::new())
        };
        let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect();
        Some(Self { weights: narrow(&weights), importance: narrow(&importance), feedback })
    }

    /// `U_ij` for `i < j`; empty where there is nothing to make up for.
    pub(super) fn column(&self, j: usize) -> &[f32] {
        if self.feedback.is_empty() { &[] } else { &self.feedback[j * (j.max(1) - 1) / 2..][..j] }
    }
}

/// `D` and the columns of `U`, from the last column to the first: `D_j = H_jj`, `U_ij = H_ij / D_j`, then
/// `H -= D_j U_j U_j^T` in what is left. Only the lower triangle of the symmetric `h`, `[k, k]`, is used.
fn decompose(mut h: Vec<f64>, k: usize) -> (Vec<f64>, Vec<f32>) {
    let mut weights = vec![0.0; k];
    let mut feedback = vec![0.0_f32; k * k.saturating_sub(1) / 2];
    for j in (0..k).rev() {
        let (rest, row) = h.split_at_mut(j * k);
        let weight = row[j].max(f64::MIN_POSITIVE);
        weights[j] = weight;
        let column: Vec<f64> = row[..j].iter().map(|h| h / weight).collect();
        rest.par_chunks_exact_mut(k).zip(&column).with_min_len(64).for_each(|(row, &factor)| {
            row.iter_mut().zip(&column).for_each(|(h, u)| *h -= weight * factor * u);
        });
        let start = j * (j.max(1) - 1) / 2;
        feedback[start..start + j].iter_mut().zip(&column).for_each(|(to, u)| *to = *u as f32);
    }
    (weights, feedback)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_factors_give_the_error_of_a_row(x in prop::collection::vec(-2.0_f64..2.0, 6 * 9), e in prop::collection::vec(-1.0_f64..1.0, 6)) {
            let k = 6;
            let mut h = vec![0.0; k * k];
            for row in x.chunks_exact(k) {
                for i in 0..k {
                    for j in 0..k {
                        h[i * k + j] += row[i] * row[j];
                    }
                }
            }
            (0..k).for_each(|i| h[i * k + i] += 0.1);
            let direct: f64 = (0..k * k).map(|at| e[at / k] * h[at] * e[at % k]).sum();
            let (weights, feedback) = decompose(h, k);
            let by_columns: f64 = (0..k).map(|j| {
                let column = &feedback[j * (j.max(1) - 1) / 2..][..j];
                let sum = e[j] + column.iter().zip(&e).map(|(u, e)| f64::from(*u) * e).sum::<f64>();
                weights[j] * sum * sum
            }).sum();
            prop_assert!((direct - by_columns).abs() <= 1e-4 * (1.0 + direct.abs()), "{direct} {by_columns}");
        }
    }
}
