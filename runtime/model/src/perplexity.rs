//! How well a model predicts a text.

use std::sync::Arc;

use crate::{ErrorKind, Model, ModelError};

/// The result of [`perplexity`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perplexity {
    /// `exp` of the mean negative logarithm of the scored tokens' probabilities.
    pub value: f64,
    /// Tokens that were scored.
    pub tokens: usize,
}

/// The perplexity of `tokens` in windows of `window` that do not overlap: each window is a context of its own, its
/// first token is not scored, and a last window that is not full is left out. Sums are f64.
pub fn perplexity(model: &Arc<Model>, tokens: &[u32], window: usize) -> Result<Perplexity, ModelError> {
    if window < 2 || tokens.len() < window {
        let problem = format!("{} tokens in windows of {window} leave nothing to score", tokens.len());
        return Err(ModelError::new(
            ErrorKind::Input,
            problem,
            "use a window of 2 or more, and a text as long",
        ));
    }
    let mut session = model.session();
    let (mut sum, mut count) = (0.0, 0);
    for tokens in tokens.chunks_exact(window) {
        session.truncate(0);
        session.for_each_logits(&tokens[..window - 1], |index, logits| {
            sum += surprise(logits, tokens[index + 1]);
            count += 1;
        })?;
    }
    Ok(Perplexity { value: (sum / count as f64).exp(), tokens: count })
}

/// `-ln softmax(logits)[token]`
fn surprise(logits: &[f32], token: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    sum.ln() - f64::from(logit - max)
}

#[cfg(test)]
mod tests {
    use super::surprise;

    #[test]
    fn equal_logits_surprise_by_the_size_of_the_vocabulary() {
        assert!((surprise(&[3.0; 8], 5) - 8_f64.ln()).abs() < 1e-12);
    }
}
