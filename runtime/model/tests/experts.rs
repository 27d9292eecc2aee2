//! Experts that are packed when a token is first routed to them: the same bits, and no others than are needed.

mod support;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use craftsman_golden::{Scales, TernaryMatrix, format};
use craftsman_model::container::{Checkpoint, Gguf, GgufWriter, Matrix, TensorType, Value};
use craftsman_model::{ErrorKind, LoadOptions, Model, RoutingRecorder};
use proptest::prelude::*;
use support::{Reference, bits, fixture};

/// Folders and files, stacks and fused stacks, dense and ternary, softmax and sigmoid.
const MODELS: &[&str] = &[
    "arch/qwen3_moe",
    "arch/qwen3_moe/model-f16.gguf",
    "arch/olmoe",
    "arch/olmoe/model-f16.gguf",
    "arch/mixtral",
    "arch/mixtral/model-f16.gguf",
    "arch/glm4_moe_lite",
    "arch/glm4_moe_lite/model-f16.gguf",
    "arch/deepseek_v2",
    "ternary/qwen3_moe/model-tq1_0.gguf",
    "ternary/qwen3_moe/model-tq2_0.gguf",
];

fn load(checkpoint: &Checkpoint, resident: bool, threads: usize) -> Arc<Model> {
    let threads = NonZeroUsize::new(threads);
    Model::load(checkpoint, &LoadOptions { resident, threads, ..LoadOptions::default() }).unwrap()
}

#[test]
fn experts_packed_late_give_the_same_bits() {
    for name in MODELS {
        let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
        let folder = Path::new(name).extension().map_or(*name, |_| name.rsplit_once('/').unwrap().0);
        let tokens = &Reference::open(folder).tokens[0];
        let resident = load(&checkpoint, true, 1);
        let everything = resident.expert_use().unwrap();
        assert_eq!((everything.packed, everything.packed_bytes), (everything.total, everything.total_bytes));
        let expected = bits(&resident.session().logits_all(tokens).unwrap());
        let late = load(&checkpoint, false, 2);
        drop(checkpoint);
        assert_eq!(late.weight_bytes_per_token(), resident.weight_bytes_per_token(), "{name}");
        let before = late.expert_use().unwrap();
        assert_eq!((before.packed, before.packed_bytes, before.total), (0, 0, everything.total), "{name}");
        assert_eq!(late.weight_bytes() + everything.total_bytes, resident.weight_bytes(), "{name}");
        // Two sessions that need the same experts at the same time.
        let found: Vec<_> = std::thread::scope(|scope| {
            let run = || bits(&late.session().logits_all(tokens).unwrap());
            let both = [scope.spawn(run), scope.spawn(run)];
            both.map(|session| session.join().unwrap()).into()
        });
        assert!(found == [expected.clone(), expected], "{name}");
        let after = late.expert_use().unwrap();
        assert_eq!(after.packed_bytes, after.total_bytes / after.total * after.packed, "{name}");
    }
}

#[test]
fn one_token_packs_the_experts_it_is_routed_to() {
    let checkpoint = Checkpoint::open(&fixture("ternary/qwen3_moe/model-tq2_0.gguf")).unwrap();
    let recorder = Arc::new(RoutingRecorder::default());
    let options = LoadOptions { recorder: Some(Arc::clone(&recorder)), ..LoadOptions::default() };
    let model = Model::load(&checkpoint, &options).unwrap();
    let mut session = model.session();
    session.prefill(&[7]).unwrap();
    let (count, used) = model.config().experts.map(|experts| (experts.count, experts.used)).unwrap();
    let layers = model.config().layers;
    assert_eq!(model.expert_use().unwrap().packed, used * layers);
    assert_eq!(model.expert_use().unwrap().total, count * layers);
    session.prefill(&[8, 9, 10, 11]).unwrap();
    let routed = recorder.layers();
    assert_eq!(routed.iter().map(|layer| layer.layer).collect::<Vec<_>>(), (0..layers).collect::<Vec<_>>());
    for layer in &routed {
        assert_eq!((layer.tokens, layer.load.iter().sum::<u64>()), (5, 5 * used as u64), "exactly k a token");
        assert!((layer.probability.iter().sum::<f64>() - 5.0).abs() < 1e-5);
    }
    let touched: usize = routed.iter().map(|layer| count - layer.unused()).sum();
    assert_eq!(model.expert_use().unwrap().packed, touched);
}

/// The model with the bytes of tensor `name` changed, and with groups of experts.
fn changed(model: &str, name: &str, change: impl Fn(&mut Vec<u8>), groups: Option<(u32, u32)>) -> Checkpoint {
    let gguf = Gguf::open(&fixture(model)).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| !key.contains("expert_group")) {
        writer = writer.metadata(key, value.clone());
    }
    if let Some((count, used)) = groups {
        writer = writer.metadata("deepseek2.expert_group_count", Value::from(count));
        writer = writer.metadata("deepseek2.expert_group_used_count", Value::from(used));
    }
    for tensor in gguf.tensors() {
        let mut bytes = gguf.data(tensor).to_vec();
        if tensor.name() == name {
            change(&mut bytes);
        }
        writer = writer.tensor(tensor.name(), tensor.shape(), tensor.kind(), bytes);
    }
    Checkpoint::from_gguf(Gguf::from_bytes("changed.gguf", writer.into_bytes().unwrap()).unwrap()).unwrap()
}

#[test]
fn a_damaged_expert_is_named_when_it_is_first_used() {
    let (model, name) = ("ternary/qwen3_moe/model-tq2_0.gguf", "blk.1.ffn_down_exps.weight");
    // The last expert's last scale is made no number.
    let damage = |bytes: &mut Vec<u8>| {
        let end = bytes.len();
        bytes[end - 2..].copy_from_slice(&[0x00, 0x7E]);
    };
    let checkpoint = changed(model, name, damage, None);
    let threads = NonZeroUsize::new(2);
    let options = LoadOptions { resident: true, threads, ..LoadOptions::default() };
    let early = Model::load(&checkpoint, &options).unwrap_err();
    let recorder = Arc::new(RoutingRecorder::default());
    let whole = Checkpoint::open(&fixture(model)).unwrap();
    let options = LoadOptions { recorder: Some(Arc::clone(&recorder)), ..LoadOptions::default() };
    let whole = Model::load(&whole, &options).unwrap();
    let late = load(&checkpoint, false, 2);
    let (mut found, mut fine) = (0, 0);
    for token in 0..40 {
        let before = recorder.layers().get(1).map_or(0, |layer| layer.load[layer.load.len() - 1]);
        let expected = bits(whole.session().prefill(&[token]).unwrap());
        let routed = recorder.layers()[1].load.last().copied().unwrap() > before;
        let mut session = late.session();
        match session.prefill(&[token]) {
            Ok(logits) => {
                assert!(!routed && bits(logits) == expected);
                fine += 1;
            }
            Err(error) => {
                assert!(routed, "{error}");
                assert_eq!((error.kind(), error.subject()), (ErrorKind::Corrupt, Some(name)), "{error}");
                let last = whole.config().experts.unwrap().count - 1;
                assert!(error.to_string().contains(&format!("expert {last} at byte")), "{error}");
                assert_eq!(error.to_string(), early.to_string());
                assert_eq!(error.file(), Some(Path::new("changed.gguf")));
                assert_eq!(session.position(), 0, "the session is as it was");
                found += 1;
            }
        }
    }
    assert!(found > 0 && fine > 0, "{found} {fine}");
}

#[test]
fn groups_limit_which_experts_run() {
    let model = "arch/glm4_moe_lite/model-f16.gguf";
    let routed = |groups| {
        let recorder = Arc::new(RoutingRecorder::default());
        let options = LoadOptions { recorder: Some(Arc::clone(&recorder)), ..LoadOptions::default() };
        let model = Model::load(&changed(model, "", |_| {}, groups), &options).unwrap();
        let mut within = true;
        for token in 0..20 {
            let before = recorder.layers();
            model.session().prefill(&[token]).unwrap();
            for (at, layer) in recorder.layers().iter().enumerate() {
                let earlier = |expert: usize| before.get(at).map_or(0, |layer| layer.load[expert]);
                let chosen: Vec<usize> = (0..6).filter(|&e| layer.load[e] > earlier(e)).collect();
                assert_eq!(chosen.len(), 2);
                within &= chosen[0] / 2 == chosen[1] / 2;
            }
        }
        within
    };
    assert!(routed(Some((3, 1))), "one of three groups of two");
    assert!(!routed(None) && !routed(Some((3, 3))));
}

const TERNARY: [&str; 7] = ["TQ1_0", "TQ2_0", "I2_S", "I2_S_ARM", "Q2_0", "BITNET_T158", "IQ2_BN"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn one_expert_is_that_of_all(
        kind in prop::sample::select(TERNARY.map(|name| format::by_name(name).unwrap()).to_vec()),
        (count, m, k) in (1_usize..6, 1_usize..5, 1_usize..4),
        small in any::<bool>(),
        seed in any::<u64>(),
    ) {
        // Experts of I2_S that begin and end in the middle of a block, too.
        let k = if small && kind.has_tensor_scale() { 128 * k / 2 } else { 256 * k };
        let len = count * m * k;
        prop_assume!(kind.is_written() && kind.bytes(count * m, k).is_ok());
        let trits = (0..len as u64).map(|at| (at.wrapping_add(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % 3);
        let trits: Vec<i8> = trits.map(|trit| trit as i8 - 1).collect();
        let all = TernaryMatrix::new(count * m, k, trits, Scales::Tensor(0.5)).unwrap();
        let bytes = kind.encode_ternary(&all).unwrap();
        let stored = TensorType::named(kind.name()).unwrap();
        let writer = GgufWriter::new().metadata("general.architecture", "qwen3moe");
        let writer = writer.tensor("blk.0.ffn_up_exps.weight", &[count, m, k], stored, bytes);
        let gguf = Gguf::from_bytes("stack.gguf", writer.into_bytes().unwrap()).unwrap();
        let checkpoint = Checkpoint::from_gguf(gguf).unwrap();
        let name = "blk.0.ffn_up_exps.weight";
        let experts: Vec<Matrix> = (0..count).map(|at| checkpoint.expert(name, at).unwrap()).collect();
        prop_assert_eq!(&experts, &checkpoint.experts(name).unwrap());
        prop_assert_eq!(experts.iter().flat_map(Matrix::to_f32).collect::<Vec<_>>(), all.dequantize());
        prop_assert_eq!(checkpoint.expert(name, count).unwrap_err().kind(), ErrorKind::Shape);
    }
}
