//! Perplexity against other people's figure, and against its definition written out.

#[path = "../../model/tests/support/mod.rs"]
mod support;

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;

use craftsman_eval::{Perplexity, PerplexityOptions, Scored, perplexity};
use craftsman_model::container::Checkpoint;
use craftsman_model::{ErrorKind, LoadOptions, Model, QuantKind, quants};
use support::{Reference, fixture, load};

const MODEL: &str = "ternary/bitnet/model-i2_s.gguf";

/// As the fixture's figure was made.
const WHOLE: PerplexityOptions<'static> = PerplexityOptions {
    window: 256,
    scored: Scored::AllButFirst,
    begin: None,
    max_windows: None,
    progress: None,
};

#[test]
fn trained_bitnet_keeps_its_perplexity() {
    let reference = Reference::open("ternary/bitnet");
    let found = perplexity(&load(MODEL), &reference.val_tokens, &WHOLE).unwrap();
    let expected = reference.perplexity.unwrap();
    println!("perplexity {} (reference {expected})", found.value);
    assert_eq!((found.tokens, found.windows), (10_200, 40));
    assert!((found.value / expected - 1.0).abs() < 1e-3, "{} instead of {expected}", found.value);
}

#[test]
fn fewer_bits_of_the_head_cost_little_perplexity() {
    let tokens = Reference::open("ternary/bitnet").val_tokens;
    let measure = |head: Option<&'static QuantKind>| {
        let checkpoint = Checkpoint::open(&fixture(MODEL)).unwrap();
        let options = LoadOptions { head, threads: NonZeroUsize::new(2), ..LoadOptions::default() };
        let model = Model::load(&checkpoint, &options).unwrap();
        perplexity(&model, &tokens[..2560], &WHOLE).unwrap().value
    };
    let whole = measure(None);
    for (kind, limit) in quants::ALL.iter().zip([0.002, 0.003, 0.02]) {
        let change = measure(Some(kind)) / whole - 1.0;
        println!("{}: {:+.3} %", kind.name, 100.0 * change);
        assert!(change.abs() < limit, "{}: {change}", kind.name);
    }
}

/// The definition, in f64 and in the open: every window's logits at once, every softmax whole, the variance in two passes.
fn written_out(model: &Arc<Model>, tokens: &[u32], options: &PerplexityOptions<'_>) -> Perplexity {
    let (n, vocab) = (options.window, model.config().vocab);
    let windows = (tokens.len() / n).min(options.max_windows.unwrap_or(usize::MAX));
    let mut surprises = Vec::new();
    for window in 0..windows {
        let mut read = tokens[window * n..(window + 1) * n].to_vec();
        if let Some(begin) = options.begin {
            read[0] = begin;
        }
        let logits = model.session().logits_all(&read).unwrap();
        let first_scored = match options.scored {
            Scored::SecondHalf => n / 2 + 1,
            Scored::AllButFirst => 1,
        };
        for position in first_scored..n {
            let before = &logits[(position - 1) * vocab..position * vocab];
            let sum: f64 = before.iter().map(|&logit| f64::from(logit).exp()).sum();
            let target = tokens[window * n + position] as usize;
            surprises.push(-(f64::from(before[target]).exp() / sum).ln());
        }
    }
    let count = surprises.len() as f64;
    let mean = surprises.iter().sum::<f64>() / count;
    let variance = surprises.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    let value = mean.exp();
    let uncertainty = Some(value * (variance / (count - 1.0)).sqrt());
    Perplexity { value, uncertainty, tokens: surprises.len(), windows }
}

#[test]
fn windows_are_scored_as_the_definition_says() {
    let tokens = &Reference::open("ternary/bitnet").val_tokens[..400];
    let model = load(MODEL);
    for (window, scored, begin, max_windows) in [
        (128, Scored::SecondHalf, None, None),
        (128, Scored::SecondHalf, Some(0), Some(2)),
        (67, Scored::SecondHalf, Some(7), None),
        (67, Scored::AllButFirst, Some(7), Some(100)),
        (3, Scored::SecondHalf, None, Some(9)),
        (2, Scored::AllButFirst, None, Some(9)),
        (400, Scored::AllButFirst, None, None),
    ] {
        let options = PerplexityOptions { window, scored, begin, max_windows, progress: None };
        let found = perplexity(&model, tokens, &options).unwrap();
        let expected = written_out(&model, tokens, &options);
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-6;
        assert_eq!((found.tokens, found.windows), (expected.tokens, expected.windows), "{window} {scored:?}");
        assert!(close(found.value, expected.value), "{window} {scored:?}: {found:?} {expected:?}");
        let [found, expected] = [found, expected].map(|estimate| estimate.uncertainty.unwrap());
        assert!(close(found, expected), "{window} {scored:?}: {found} {expected}");
    }
}

#[test]
fn the_last_step_of_the_progress_is_the_result() {
    let tokens = &Reference::open("ternary/bitnet").val_tokens[..100];
    let model = load(MODEL);
    let steps = RefCell::new(Vec::new());
    let progress = |estimate: &Perplexity, windows: usize| steps.borrow_mut().push((*estimate, windows));
    let options = PerplexityOptions { window: 32, progress: Some(&progress), ..Default::default() };
    let found = perplexity(&model, tokens, &options).unwrap();
    let begun = PerplexityOptions { max_windows: Some(1), progress: None, ..options };
    let begun = perplexity(&model, tokens, &begun).unwrap();
    let steps = steps.into_inner();
    assert_eq!((steps.len(), steps[0], steps[2]), (3, (begun, 3), (found, 3)));
}

#[test]
fn what_leaves_nothing_to_score_is_refused() {
    let tokens = &Reference::open("ternary/bitnet").val_tokens;
    let model = load(MODEL);
    let (half, all) = (Scored::SecondHalf, Scored::AllButFirst);
    for (length, window, scored, max_windows, words) in [
        (511, 256, half, None, "511 tokens, and windows of 256 need 512"),
        (255, 256, all, None, "255 tokens, and windows of 256 need 256"),
        (0, 16, all, None, "0 tokens"),
        (100, 0, half, None, "windows of 0"),
        (100, 2, half, None, "windows of 2"),
        (100, 1, all, None, "windows of 1"),
        (100, 16, all, Some(0), "leave nothing to score"),
        (100, 1 << 30, all, None, "exceeds the model's context"),
        (100, usize::MAX, half, None, "exceeds the model's context"),
    ] {
        let options = PerplexityOptions { window, scored, max_windows, ..Default::default() };
        let error = perplexity(&model, &tokens[..length], &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(words), "{error}");
    }
    let beyond = PerplexityOptions { window: 16, begin: Some(u32::MAX), ..Default::default() };
    assert_eq!(perplexity(&model, tokens, &beyond).unwrap_err().kind(), ErrorKind::Input);
}
