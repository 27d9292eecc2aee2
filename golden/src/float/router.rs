//! Which experts a token goes to.

use super::{softmax, sum16};

/// The `top_k` experts of one token with their weights, in ascending expert order.
///
/// Probabilities are the softmax over all `logits`; the `top_k` largest are chosen, of equal ones the lower
/// index; with `renormalise` each is divided by the chosen ones' sum (`sum16`, in ascending expert order).
/// `top_k` above the number of experts chooses all.
///
/// ```
/// let chosen = craftsman_golden::float::router(&[0.0, 2.0, 1.0, 2.0], 2, true);
/// assert_eq!(chosen, [(1, 0.5), (3, 0.5)]);
/// ```
pub fn router(logits: &[f32], top_k: usize, renormalise: bool) -> Vec<(usize, f32)> {
    let mut probabilities = logits.to_vec();
    softmax(&mut probabilities);
    let mut chosen: Vec<(usize, f32)> = probabilities.into_iter().enumerate().collect();
    // A stable sort keeps the lower index first among equals.
    chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
    chosen.truncate(top_k);
    chosen.sort_by_key(|&(expert, _)| expert);
    if renormalise {
        let weights: Vec<f32> = chosen.iter().map(|&(_, weight)| weight).collect();
        let sum = sum16(&weights);
        for (_, weight) in &mut chosen {
            *weight /= sum;
        }
    }
    chosen
}
