//! Which experts a token goes to.

use super::{sigmoid, softmax, sum16};

/// The least sum that chosen weights are divided by: the smallest normal half precision number, as in llama.cpp.
const LEAST_SUM: f32 = 1.0 / 16384.0;

/// How logits become the weights of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// What makes a logit a score.
    pub gate: Gate,
    /// Experts chosen.
    pub top_k: usize,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub renormalise: bool,
    /// What the weights are multiplied by at last.
    pub scale: f32,
}

/// What makes a logit a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// The softmax over all logits.
    Softmax,
    /// Each logit's own sigmoid.
    Sigmoid,
}

/// The `top_k` experts of one token with their weights, in ascending expert order.
///
/// Scores are the gate's; the `top_k` largest are chosen, of equal ones the lower index. A `bias`, one number an
/// expert, is added for this choice only. The weight of a chosen expert is its score; with `renormalise` it is divided
/// by the chosen ones' sum (`sum16`, in ascending expert order; at least 2^-14); a `scale` other than 1 multiplies it.
/// `top_k` above the number of experts chooses all.
///
/// ```
/// use craftsman_golden::float::{Gate, Routing, router};
/// let routing = Routing { gate: Gate::Softmax, top_k: 2, renormalise: true, scale: 1.0 };
/// assert_eq!(router(&[0.0, 2.0, 1.0, 2.0], None, &routing), [(1, 0.5), (3, 0.5)]);
/// ```
///
/// # Panics
/// When there are not as many biases as logits.
pub fn router(logits: &[f32], bias: Option<&[f32]>, routing: &Routing) -> Vec<(usize, f32)> {
    let mut scores = logits.to_vec();
    match routing.gate {
        Gate::Softmax => softmax(&mut scores),
        Gate::Sigmoid => scores.iter_mut().for_each(|score| *score = sigmoid(*score)),
    }
    let mut chosen = choose(&scores, bias, routing.top_k);
    if routing.renormalise {
        let weights: Vec<f32> = chosen.iter().map(|&(_, weight)| weight).collect();
        let sum = sum16(&weights).max(LEAST_SUM);
        for (_, weight) in &mut chosen {
            *weight /= sum;
        }
    }
    if routing.scale != 1.0 {
        for (_, weight) in &mut chosen {
            *weight *= routing.scale;
        }
    }
    chosen
}

/// The experts with the `top_k` largest sums of score and bias, and their scores, in ascending order.
fn choose(scores: &[f32], bias: Option<&[f32]>, top_k: usize) -> Vec<(usize, f32)> {
    let mut keys = scores.to_vec();
    if let Some(bias) = bias {
        assert_eq!(bias.len(), keys.len(), "a bias for each expert");
        keys.iter_mut().zip(bias).for_each(|(key, bias)| *key += bias);
    }
    let mut order: Vec<usize> = (0..keys.len()).collect();
    // A stable sort keeps the lower index first among equals.
    order.sort_by(|&a, &b| keys[b].total_cmp(&keys[a]));
    order.truncate(top_k);
    order.sort_unstable();
    order.into_iter().map(|expert| (expert, scores[expert])).collect()
}
