//! How well trits fit.

use super::round::Rounded;

/// What became of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// `sum (w - s t)^2 / sum w^2`.
    pub weight_error: f64,
    /// The same of the projection's outputs for the calibration's inputs, as far as these are known.
    pub output_error: Option<f64>,
    /// The share of trits that are 0.
    pub sparsity: f64,
    /// Its matrices: more than one of a stack of experts.
    pub matrices: usize,
    /// Those of them whose inputs the calibration did not see, or too few: they were made by absmean.
    pub unseen: usize,
}

/// What a quantisation did.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The tensors that became ternary, in the order in which they were written.
    pub tensors: Vec<TensorReport>,
    /// How many kept their type.
    pub kept: usize,
}

/// Sums over the matrices of the tensors so far.
#[derive(Debug, Default)]
pub(super) struct Measured {
    tensors: Vec<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    name: String,
    /// Of the error, and of what it is a share of.
    weights: [f64; 2],
    outputs: [f64; 2],
    zeros: usize,
    trits: usize,
    matrices: usize,
    unseen: usize,
}

impl Measured {
    /// Takes down one matrix of `tensor`.
    pub(super) fn add(&mut self, tensor: &str, weights: &[f32], rounded: &Rounded, unseen: bool) {
        if self.tensors.last().is_none_or(|last| last.name != tensor) {
            self.tensors.push(Sums { name: tensor.to_owned(), ..Sums::default() });
        }
        let Some(sums) = self.tensors.last_mut() else { return };
        let square = |x: f64| x * x;
        for (&w, back) in weights.iter().zip(rounded.matrix.dequantize()) {
            sums.weights[0] += square(f64::from(w) - f64::from(back));
            sums.weights[1] += square(f64::from(w));
        }
        let [error, whole] = rounded.output.unwrap_or_default();
        sums.outputs[0] += error;
        sums.outputs[1] += whole;
        let trits = rounded.matrix.trits();
        sums.zeros += trits.iter().filter(|trit| **trit == 0).count();
        sums.trits += trits.len();
        sums.matrices += 1;
        sums.unseen += usize::from(unseen);
    }

    pub(super) fn report(self, kept: usize) -> Report {
        let share = |[part, whole]: [f64; 2]| if whole > 0.0 { part / whole } else { 0.0 };
        let tensors = self.tensors.into_iter().map(|sums| TensorReport {
            weight_error: share(sums.weights),
            output_error: (sums.outputs[1] > 0.0).then(|| share(sums.outputs)),
            sparsity: sums.zeros as f64 / sums.trits.max(1) as f64,
            matrices: sums.matrices,
            unseen: sums.unseen,
            name: sums.name,
        });
        Report { tensors: tensors.collect(), kept }
    }
}
