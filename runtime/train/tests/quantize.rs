//! Full-precision models made ternary.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use craftsman_eval::{PerplexityOptions, Scored, perplexity};
use craftsman_golden::Granularity;
use craftsman_golden::quantize::{ScaleStorage, absmean_stored};
use craftsman_model::container::{Checkpoint, Gguf, GgufWriter, Matrix, TensorData, TensorType};
use craftsman_model::{ErrorKind, LoadOptions, Model};
use craftsman_train::quantize::{Calibration, Policy, Quantization, Report, ScaleReach};
use safetensors::SafeTensors;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixture(name)).unwrap()
}

/// Tokens that somebody else's tokenizer made of a text that the trained model was not trained on.
fn val_tokens() -> Vec<u32> {
    let bytes = std::fs::read(fixture("ternary/bitnet/reference.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tokens = file.tensor("val_tokens").unwrap();
    tokens.data().as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// Numbers that look normally distributed, of standard deviation 1.
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// The trained ternary model in full precision, with what full-precision models have and ternary ones lack: input channels
/// of different size (each column of a projection is multiplied by a factor, and the norm before it divided by the same, so
/// that the function stays what it was), and weights that lie anywhere (noise of `noise` times the scale).
fn full_precision(spread: f64, noise: f64) -> Checkpoint {
    let path = fixture("ternary/bitnet/model-i2_s.gguf");
    let (gguf, checkpoint) = (Gguf::open(&path).unwrap(), Checkpoint::open(&path).unwrap());
    let mut random = Normal(11);
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata().iter() {
        writer = writer.metadata(key, value.clone());
    }
    let factors = |name: &str, width: usize| -> Vec<f64> {
        let mut random =
            Normal(name.bytes().fold(17_u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte)));
        (0..width).map(|_| (spread * random.next()).exp()).collect()
    };
    // The norm whose output a projection reads.
    let norm_of = |part: &str| match part {
        "attn_q" | "attn_k" | "attn_v" => "attn_norm",
        "attn_output" => "attn_sub_norm",
        "ffn_gate" | "ffn_up" => "ffn_norm",
        _ => "ffn_sub_norm",
    };
    for tensor in gguf.tensors() {
        let part = tensor.name().strip_prefix("blk.").and_then(|rest| rest.strip_suffix(".weight"));
        let part = part.and_then(|rest| rest.split_once('.'));
        let values: Vec<f32> = match (part, tensor.shape().len()) {
            (Some((block, part)), 2) => {
                let Matrix::Ternary(matrix) = checkpoint.matrix(tensor.name()).unwrap() else {
                    panic!("ternary")
                };
                let k = matrix.k();
                let factors = factors(&format!("{block}.{}", norm_of(part)), k);
                let scale = f64::from(matrix.scales().values()[0]);
                let weights = matrix.dequantize();
                let spread = weights.iter().enumerate().map(|(at, w)| {
                    ((f64::from(*w) + noise * scale * random.next()) * factors[at % k]) as f32
                });
                spread.collect()
            }
            (Some((block, part)), _) => {
                let norm = checkpoint.vector(tensor.name()).unwrap();
                let factors = factors(&format!("{block}.{part}"), norm.len());
                norm.iter().zip(factors).map(|(w, factor)| (f64::from(*w) / factor) as f32).collect()
            }
            (None, 1) => checkpoint.vector(tensor.name()).unwrap(),
            (None, _) => checkpoint.dense(tensor.name()).unwrap().widened(),
        };
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        writer = writer.tensor(tensor.name(), tensor.shape(), TensorType::F32, TensorData::Owned(bytes));
    }
    Checkpoint::from_gguf(Gguf::from_bytes("full.gguf", writer.into_bytes().unwrap()).unwrap()).unwrap()
}

/// Over 10 windows of 256 tokens.
fn measure(checkpoint: &Checkpoint) -> f64 {
    let model = Model::load(checkpoint, &LoadOptions::default()).unwrap();
    let options =
        PerplexityOptions { window: 256, scored: Scored::AllButFirst, ..PerplexityOptions::default() };
    perplexity(&model, &val_tokens()[..2560], &options).unwrap().value
}

/// The last 2,048 of the tokens: none of those that are measured.
fn calibration(threads: usize) -> Calibration {
    let tokens = val_tokens();
    let calibration = Calibration::windows(&tokens[tokens.len() - 2048..], None, 2048);
    calibration.with_threads(NonZeroUsize::new(threads))
}

fn quantize(checkpoint: &Checkpoint, quantization: &Quantization<'_>) -> (Checkpoint, Report, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    let report = quantization.write(checkpoint, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let gguf = Gguf::from_bytes("out.gguf", bytes.clone()).unwrap();
    (Checkpoint::from_gguf(gguf).unwrap(), report, bytes)
}

#[test]
fn calibration_beats_absmean_in_perplexity() {
    let whole = full_precision(0.3, 0.5);
    let before = measure(&whole);
    println!("full precision: {before:.2}");
    for (kind, reach) in [("tq2_0", ScaleReach::Finest), ("i2_s", ScaleReach::Tensor)] {
        let to = || Quantization::to(kind).unwrap().with_reach(reach);
        let (absmean, _, _) = quantize(&whole, &to());
        let (fitted, _, _) = quantize(&whole, &to().calibrated(calibration(2)));
        let [absmean, fitted] = [&absmean, &fitted].map(measure);
        println!("{kind}, {reach:?}: absmean {absmean:.2}, calibrated {fitted:.2}");
        assert!(fitted - before < 0.6 * (absmean - before), "{kind} {reach:?}");
    }
}

#[test]
fn without_calibration_trits_are_those_of_golden() {
    let checkpoint = open("arch/llama/model-f16.gguf");
    let (ternary, report, _) = quantize(&checkpoint, &Quantization::to("q2_0").unwrap());
    assert!(report.tensors.len() == 14 && report.kept > 0, "{report:?}");
    for tensor in &report.tensors {
        let Matrix::Dense(dense) = checkpoint.matrix(&tensor.name).unwrap() else { panic!("full precision") };
        let Matrix::Ternary(found) = ternary.matrix(&tensor.name).unwrap() else { panic!("ternary") };
        let (m, k) = (dense.rows(), dense.cols());
        let weights = dense.widened();
        let expected = absmean_stored(&weights, m, k, Granularity::Block(64), ScaleStorage::F16).unwrap();
        assert_eq!(found.trits(), expected.trits(), "{}", tensor.name);
        assert_eq!(found.dequantize(), expected.dequantize(), "{}", tensor.name);
        assert!(tensor.sparsity > 0.1 && tensor.weight_error < 0.5 && tensor.output_error.is_none());
    }
}

#[test]
fn the_same_bytes_every_time_and_for_any_number_of_threads() {
    let checkpoint = open("arch/qwen3_moe/model-f16.gguf");
    let tokens: Vec<u32> = (0..600).map(|i| (i * i * 7 + 3 * i) % 500).collect();
    let make = |threads| {
        let calibration = Calibration::windows(&tokens, Some(1), 600);
        let calibration = calibration.with_threads(NonZeroUsize::new(threads));
        quantize(
            &checkpoint,
            &Quantization::to("i2_s")
                .unwrap()
                .with_policy(Policy::default().keeping("*_exps.weight"))
                .calibrated(calibration),
        )
        .2
    };
    let one = make(1);
    assert!(one == make(1));
    assert!(one == make(3));
}

#[test]
fn experts_become_ternary_and_routers_stay() {
    let checkpoint = open("arch/qwen3_moe/model-f16.gguf");
    let tokens: Vec<u32> = (0..400).map(|i| (i * i * 5 + 3 * i) % 500).collect();
    let quantization = Quantization::to("q2_0").unwrap();
    let calibrated = quantization.calibrated(Calibration::windows(&tokens, None, 400));
    let (ternary, report, _) = quantize(&checkpoint, &calibrated);
    let experts: Vec<_> = report.tensors.iter().filter(|tensor| tensor.name.contains("_exps")).collect();
    assert!(!experts.is_empty());
    for tensor in experts {
        assert_eq!((tensor.matrices, tensor.unseen < 8), (8, true), "{tensor:?}");
        assert!(tensor.output_error.is_some_and(|error| error < tensor.weight_error * 1.1), "{tensor:?}");
    }
    for name in ["blk.0.ffn_gate_inp.weight", "token_embd.weight", "output.weight", "output_norm.weight"] {
        assert_eq!(ternary.info(name).unwrap().type_name, checkpoint.info(name).unwrap().type_name);
    }
    let model = Model::load(&ternary, &LoadOptions::default()).unwrap();
    assert!(model.session().prefill(&tokens[..20]).unwrap().iter().all(|logit| logit.is_finite()));
}

#[test]
fn folders_have_their_heads_put_in_order() {
    let folder = open("arch/llama");
    let file = open("arch/llama/model-f16.gguf");
    let to = || Quantization::to("q2_0").unwrap();
    let [(from_folder, ..), (from_file, ..)] = [&folder, &file].map(|checkpoint| quantize(checkpoint, &to()));
    let logits = |checkpoint: &Checkpoint| {
        let model = Model::load(checkpoint, &LoadOptions::default()).unwrap();
        model.session().logits_all(&[1, 2, 3, 4, 5]).unwrap()
    };
    assert_eq!(logits(&from_folder), logits(&from_file));
}

#[test]
fn what_cannot_be_is_said() {
    let error = Quantization::to("q8_0").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    let checkpoint = open("arch/llama/model-f16.gguf");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    let refused = |quantization: Quantization<'_>| {
        let error = quantization.write(&checkpoint, &path).unwrap_err();
        assert!(!path.exists());
        error.kind()
    };
    assert_eq!(refused(Quantization::to("i2_s").unwrap().with_reach(ScaleReach::Row)), ErrorKind::Input);
    // 64 columns are no block of 256.
    assert_eq!(refused(Quantization::to("tq2_0").unwrap()), ErrorKind::Input);
    let far = Calibration::windows(&[1_000_000], None, 10);
    assert_eq!(refused(Quantization::to("q2_0").unwrap().calibrated(far)), ErrorKind::Input);
}
