//! How evenly tokens are spread over experts: what training is told, and what a report shows.
//!
//! Nothing here takes part in inference: there every token keeps exactly the experts that its router chose, however many
//! tokens an expert has. Capacity is for training, where an expert's batch has a fixed size.

/// How many of `chosen` fall on each of `experts` experts.
///
/// # Panics
/// When an expert is chosen that is not there.
pub fn load(chosen: impl IntoIterator<Item = usize>, experts: usize) -> Vec<u64> {
    let mut load = vec![0; experts];
    for expert in chosen {
        load[expert] += 1;
    }
    load
}

/// Tokens that one expert takes at most: `ceil(factor * tokens * top_k / experts)`, so `factor` times its fair share.
/// Source: `GShard` (arXiv 2006.16668) section 2.2, Switch Transformers (arXiv 2101.03961) equation 3.
///
/// ```
/// assert_eq!(craftsman_golden::balance::capacity(1.25, 100, 2, 8), 32);
/// ```
pub fn capacity(factor: f64, tokens: usize, top_k: usize, experts: usize) -> usize {
    // A float above the range becomes the end of the range, and what is no number 0.
    (factor * tokens as f64 * top_k as f64 / experts as f64).ceil() as usize
}

/// The choices that find their expert full when each takes `capacity` in the given order: their places in `chosen`.
///
/// # Panics
/// When an expert is chosen that is not there.
pub fn overflow(chosen: &[usize], experts: usize, capacity: usize) -> Vec<usize> {
    let mut taken = vec![0; experts];
    let mut over = Vec::new();
    for (place, &expert) in chosen.iter().enumerate() {
        if taken[expert] < capacity {
            taken[expert] += 1;
        } else {
            over.push(place);
        }
    }
    over
}

/// The balance loss `E * sum f_i P_i`: `f_i` is the share of all choices that fall on expert `i`, `P_i` its probability by
/// the router, on the mean over all tokens. It is 1 when either is even, and `E` when one expert has everything.
/// Source: Switch Transformers equations 4 to 6, with the choices of all `top_k` instead of one a token.
///
/// `load` counts the choices, `probability` is of any sum (of all tokens' probabilities, say) and is divided by it. Without
/// a choice or any probability it is 1.
///
/// ```
/// use craftsman_golden::balance::loss;
/// assert_eq!(loss(&[5, 5], &[0.9, 0.1]), 1.0);
/// assert_eq!(loss(&[4, 0], &[1.0, 0.0]), 2.0);
/// ```
///
/// # Panics
/// When there are not as many probabilities as experts.
pub fn loss(load: &[u64], probability: &[f64]) -> f64 {
    assert_eq!(load.len(), probability.len(), "a probability for each expert");
    let choices: u64 = load.iter().sum();
    let mass: f64 = probability.iter().sum();
    if choices == 0 || mass == 0.0 {
        return 1.0;
    }
    let product: f64 = load.iter().zip(probability).map(|(&load, p)| load as f64 * p).sum();
    load.len() as f64 * product / (choices as f64 * mass)
}
