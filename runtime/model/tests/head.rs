//! A head rounded to fewer bits keeps the promises that all else keeps. What it costs, craftsman-eval tests.

use std::num::NonZeroUsize;

use craftsman_isa::{HardwareCaps, Tier};
use craftsman_model::container::{Checkpoint, Gguf, GgufWriter, TensorType};
use craftsman_model::{LoadOptions, Model, quants};

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

/// The same model with `name` stored as `kind`.
fn stored(name: &str, kind: &'static quants::QuantKind) -> std::sync::Arc<Model> {
    let file = Gguf::open(&fixture("ternary/bitnet/model-i2_s.gguf")).unwrap();
    let embedding = Checkpoint::from_gguf(file).unwrap().dense("token_embd.weight").unwrap();
    let (m, k) = (embedding.rows(), embedding.cols());
    let rounded = quants::QuantMatrix::quantize(kind, m, k, &embedding.widened()).unwrap();
    let file = Gguf::open(&fixture("ternary/bitnet/model-i2_s.gguf")).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata().iter() {
        writer = writer.metadata(key, value.clone());
    }
    for tensor in file.tensors().iter().filter(|tensor| tensor.name() != name) {
        writer = writer.tensor(tensor.name(), tensor.shape(), tensor.kind(), file.data(tensor).to_vec());
    }
    let kind = TensorType::named(kind.name).unwrap();
    let bytes = writer.tensor(name, &[m, k], kind, rounded.into_bytes()).into_bytes().unwrap();
    let checkpoint = Checkpoint::from_gguf(Gguf::from_bytes("stored", bytes).unwrap()).unwrap();
    Model::load(&checkpoint, &LoadOptions::default()).unwrap()
}

#[test]
fn a_head_that_is_stored_so_is_used_so() {
    let tokens = &Reference::open("ternary/bitnet").tokens[0][..12];
    let logits = |model: std::sync::Arc<Model>| model.session().logits_all(tokens).unwrap();
    for kind in quants::ALL {
        let rounded = logits(load(Some(kind), 1, None));
        assert_eq!(bits(&logits(stored("output.weight", kind))), bits(&rounded), "{}", kind.name);
        // The embedding too is rounded then.
        let tied = logits(stored("token_embd.weight", kind));
        let mean = tied.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).sum::<f32>() / tied.len() as f32;
        assert!(mean < 0.3, "{}: {mean}", kind.name);
    }
}
