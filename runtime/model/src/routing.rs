//! Where tokens are routed to: counted while a model runs, when a recorder was given at load.

use std::sync::{Mutex, PoisonError};

use craftsman_golden::balance;
use craftsman_golden::float::{Gate, scores};

/// Takes down which experts the layers of a model choose, of all its sessions together.
///
/// ```no_run
/// use std::sync::Arc;
/// use craftsman_model::container::Checkpoint;
/// use craftsman_model::{LoadOptions, Model, RoutingRecorder};
///
/// let recorder = Arc::new(RoutingRecorder::default());
/// let options = LoadOptions { recorder: Some(Arc::clone(&recorder)), ..LoadOptions::default() };
/// let model = Model::load(&Checkpoint::open("model.gguf".as_ref())?, &options)?;
/// model.session().prefill(&[1, 2, 3])?;
/// for layer in recorder.layers() {
///     println!("layer {}: {:.3}", layer.layer, layer.balance_loss());
/// }
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Debug, Default)]
pub struct RoutingRecorder {
    layers: Mutex<Vec<LayerRouting>>,
}

/// What one layer's router has chosen so far.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerRouting {
    /// The layer's number, from 0, among all layers.
    pub layer: usize,
    /// Tokens that were routed.
    pub tokens: u64,
    /// How often each expert was chosen.
    pub load: Vec<u64>,
    /// Each expert's probability by the router, summed over the tokens. Sigmoid scores, which have no sum, are divided by it.
    pub probability: Vec<f64>,
}

impl RoutingRecorder {
    /// The layers that have routed anything, in ascending order.
    pub fn layers(&self) -> Vec<LayerRouting> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes down the `logits` of some tokens, `[tokens, experts]`, and all experts that were chosen for them.
    pub(crate) fn record(
        &self,
        layer: usize,
        gate: Gate,
        experts: usize,
        logits: &[f32],
        chosen: impl Iterator<Item = usize>,
    ) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = layers.binary_search_by_key(&layer, |known| known.layer).unwrap_or_else(|at| {
            let (load, probability) = (vec![0; experts], vec![0.0; experts]);
            layers.insert(at, LayerRouting { layer, tokens: 0, load, probability });
            at
        });
        let known = &mut layers[at];
        for logits in logits.chunks_exact(experts) {
            known.tokens += 1;
            let scores = scores(logits, gate);
            let sum: f64 = scores.iter().map(|&score| f64::from(score)).sum();
            for (total, score) in known.probability.iter_mut().zip(scores) {
                *total += f64::from(score) / sum;
            }
        }
        for expert in chosen {
            known.load[expert] += 1;
        }
    }
}

impl LayerRouting {
    /// Of all choices the share that fell on each expert; they add up to 1.
    pub fn shares(&self) -> Vec<f64> {
        let all = self.load.iter().sum::<u64>().max(1) as f64;
        self.load.iter().map(|&load| load as f64 / all).collect()
    }

    /// The expert chosen most often, of equals the first, and its share of all choices.
    pub fn busiest(&self) -> (usize, f64) {
        let busier = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
        self.shares().into_iter().enumerate().fold((0, 0.0), busier)
    }

    /// Experts that no token was routed to.
    pub fn unused(&self) -> usize {
        self.load.iter().filter(|&&load| load == 0).count()
    }

    /// The entropy of the shares by that of an even spread: 1 is even, 0 is one expert for everything.
    pub fn evenness(&self) -> f64 {
        let entropy: f64 = self.shares().iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
        if self.load.len() < 2 { 1.0 } else { entropy / (self.load.len() as f64).ln() }
    }

    /// The standard deviation of the loads by their mean: 0 is even.
    pub fn variation(&self) -> f64 {
        let experts = self.load.len() as f64;
        let squares = self.shares().iter().map(|share| (share * experts - 1.0).powi(2)).sum::<f64>();
        (squares / experts).sqrt()
    }

    /// `E * sum f_i P_i`, see [`balance::loss`]: 1 is even.
    pub fn balance_loss(&self) -> f64 {
        balance::loss(&self.load, &self.probability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_and_their_spread() {
        let recorder = RoutingRecorder::default();
        recorder.record(3, Gate::Softmax, 4, &[0.0; 8], [0, 1, 0, 2].into_iter());
        recorder.record(1, Gate::Sigmoid, 2, &[0.0; 2], [1].into_iter());
        let layers = recorder.layers();
        assert_eq!([layers[0].layer, layers[1].layer], [1, 3]);
        assert_eq!((layers[0].busiest(), layers[0].unused(), layers[0].evenness()), ((1, 1.0), 1, 0.0));
        let layer = &layers[1];
        assert_eq!((layer.tokens, &layer.load[..], layer.busiest()), (2, &[2, 1, 1, 0][..], (0, 0.5)));
        assert_eq!(layer.probability, [0.5; 4]);
        assert!((layer.balance_loss() - 1.0).abs() < 1e-12, "an even router");
        assert!(
            (layer.evenness() - 0.75).abs() < 1e-12 && (layer.variation() - 0.5_f64.sqrt()).abs() < 1e-12
        );
    }
}
