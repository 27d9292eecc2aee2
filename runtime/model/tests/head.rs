//! A head rounded to fewer bits: what it costs, and that it keeps the promises that all else keeps.

use std::num::NonZeroUsize;

use craftsman_isa::{HardwareCaps, Tier};
use craftsman_model::container::Checkpoint;
use craftsman_model::{LoadOptions, Model, perplexity, quants};

mod support;

use support::{Reference, bits, fixture};

fn load(
    head: Option<&'static quants::QuantKind>,
    threads: usize,
    caps: Option<HardwareCaps>,
) -> std::sync::Arc<Model> {
    let checkpoint = Checkpoint::open(&fixture("ternary/bitnet/model-i2_s.gguf")).unwrap();
    let threads = NonZeroUsize::new(threads);
    Model::load(&checkpoint, &LoadOptions { head, threads, caps, ..LoadOptions::default() }).unwrap()
}

#[test]
fn fewer_bits_cost_little_perplexity() {
    let tokens = Reference::open("ternary/bitnet").val_tokens;
    let measure = |head| perplexity(&load(head, 2, None), &tokens[..2560], 256).unwrap().value;
    let whole = measure(None);
    for (kind, limit) in quants::ALL.iter().zip([0.002, 0.003, 0.02]) {
        let change = measure(Some(kind)) / whole - 1.0;
        println!("{}: {:+.3} %", kind.name, 100.0 * change);
        assert!(change.abs() < limit, "{}: {change}", kind.name);
    }
}

#[test]
fn threads_tiers_and_batches_give_the_same_bits() {
    let reference = Reference::open("ternary/bitnet");
    let tokens = &reference.tokens[0];
    for kind in quants::ALL {
        let all = load(Some(kind), 1, None).session().logits_all(tokens).unwrap();
        let portable = HardwareCaps::detect().with_max_tier(Tier::Portable);
        for model in [load(Some(kind), 3, None), load(Some(kind), 2, Some(portable))] {
            let mut session = model.session();
            for (token, expected) in tokens.iter().zip(all.chunks(model.config().vocab)) {
                assert_eq!(bits(session.decode(*token).unwrap()), bits(expected), "{}", kind.name);
            }
        }
    }
}
