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
    /// What experts are chosen from, if not from all.
    pub groups: Option<Groups>,
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

/// Groups of neighbouring experts, of which a token uses only some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Groups {
    /// Groups that the experts are divided into; their number is a multiple of it.
    pub count: usize,
    /// Groups that a token's experts are chosen from.
    pub used: usize,
}

/// The scores that a gate makes of the router's logits, an expert each.
pub fn scores(logits: &[f32], gate: Gate) -> Vec<f32> {
    let mut scores = logits.to_vec();
    match gate {
        Gate::Softmax => softmax(&mut scores),
        Gate::Sigmoid => scores.iter_mut().for_each(|score| *score = sigmoid(*score)),
    }
    scores
}

/// The `top_k` experts of one token with their weights, in ascending expert order.
///
/// Scores are the gate's; the `top_k` largest are chosen, of equal ones the lower index. A `bias`, one number an
/// expert, is added for this choice only. With `groups` the choice is among the experts of the `used` groups of the
/// largest marks, of equal ones the lower: the mark of a group is its largest score (DeepSeek-V2), or, where there is a bias, the sum
/// of its two largest with bias (DeepSeek-V3, GLM). Other groups' experts are out of the question, as in the reference
/// code of DeepSeek-V3 (`inference/model.py`, class `Gate`); transformers gives them a score of 0 instead, which is the
/// same unless biased scores are negative. The weight of a chosen expert is its score; with `renormalise` it is divided
/// by the chosen ones' sum (`sum16`, in ascending expert order; at least 2^-14); a `scale` other than 1 multiplies it.
/// `top_k` above the number of experts chooses all.
///
/// ```
/// use craftsman_golden::float::{Gate, Routing, router};
/// let routing = Routing { gate: Gate::Softmax, top_k: 2, groups: None, renormalise: true, scale: 1.0 };
/// assert_eq!(router(&[0.0, 2.0, 1.0, 2.0], None, &routing), [(1, 0.5), (3, 0.5)]);
/// ```
///
/// # Panics
/// When there are not as many biases as logits, or these do not divide into the groups.
pub fn router(logits: &[f32], bias: Option<&[f32]>, routing: &Routing) -> Vec<(usize, f32)> {
    let mut chosen = choose(&scores(logits, routing.gate), bias, routing);
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
fn choose(scores: &[f32], bias: Option<&[f32]>, routing: &Routing) -> Vec<(usize, f32)> {
    let mut keys = scores.to_vec();
    if let Some(bias) = bias {
        assert_eq!(bias.len(), keys.len(), "a bias for each expert");
        keys.iter_mut().zip(bias).for_each(|(key, bias)| *key += bias);
    }
    if let Some(groups) = routing.groups {
        keep_groups(&mut keys, bias.is_some(), groups);
    }
    let chosen = largest(&keys, routing.top_k);
    chosen.into_iter().map(|expert| (expert, scores[expert])).collect()
}

/// Leaves the keys of the groups that are used, and lowers all others below any number.
fn keep_groups(keys: &mut [f32], biased: bool, groups: Groups) {
    assert!(groups.count > 0 && keys.len().is_multiple_of(groups.count), "experts divide into groups");
    let size = keys.len() / groups.count;
    let mark = |group: &[f32]| {
        let mut sorted = group.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted.iter().take(if biased { 2 } else { 1 }).sum()
    };
    let marks: Vec<f32> = keys.chunks(size.max(1)).map(mark).collect();
    let used = largest(&marks, groups.used);
    for (group, keys) in keys.chunks_mut(size.max(1)).enumerate() {
        if used.binary_search(&group).is_err() {
            keys.fill(f32::NEG_INFINITY);
        }
    }
}

/// The places of the `count` largest keys, in ascending order; of equal ones the lower.
fn largest(keys: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    // A stable sort keeps the lower index first among equals.
    order.sort_by(|&a, &b| keys[b].total_cmp(&keys[a]));
    order.truncate(count);
    order.sort_unstable();
    order
}
