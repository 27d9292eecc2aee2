//! Checkpoints written by other people's tools: the same weights must come out of every container.

mod containers_support;

use std::path::Path;

use containers_support::{fixture, open};
use craftsman_golden::{Scales, TernaryMatrix};
use craftsman_model::ErrorKind;
use craftsman_model::container::{Checkpoint, ContainerKind, GgufWriter, Matrix, TensorType};

/// The numbers of any tensor, row major; experts one after the other.
fn numbers(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let found = match checkpoint.shape(name).map(<[usize]>::len) {
        Ok(1) => checkpoint.vector(name),
        Ok(2) => checkpoint.matrix(name).map(|matrix| matrix.to_f32()),
        _ => checkpoint.experts(name).map(|experts| experts.iter().flat_map(Matrix::to_f32).collect()),
    };
    found.unwrap_or_else(|error| panic!("{error}"))
}

fn ternary(checkpoint: &Checkpoint, name: &str) -> TernaryMatrix {
    match checkpoint.matrix(name) {
        Ok(Matrix::Ternary(matrix)) => matrix,
        other => panic!("{name}: {other:?}"),
    }
}

/// The numbers as F16 stores them: folders of the ternary fixtures hold embeddings in BF16, of which the smallest are
/// rounded in the files.
fn as_f16(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&value| half::f16::from_f32(value).to_f32()).collect()
}

/// The rows of a Hugging Face query or key matrix in the order of llama's GGUF files: of each head, pairs that rope
/// turns together stand side by side instead of half a head apart.
fn permuted(rows: &[f32], heads: usize, cols: usize) -> Vec<f32> {
    let head = rows.len() / cols / heads;
    let source = |row: usize| row / head * head + row % 2 * (head / 2) + row % head / 2;
    (0..heads * head).flat_map(|row| &rows[source(row) * cols..][..cols]).copied().collect()
}

/// All tensors of a GGUF file and a folder of the same weights.
fn assert_same_weights(gguf: &Checkpoint, folder: &Checkpoint) {
    let architecture = gguf.architecture();
    assert_eq!(architecture, folder.architecture());
    for info in gguf.tensors().filter(|info| info.name != "rope_freqs.weight") {
        let name = &info.name;
        assert_eq!(folder.shape(name).unwrap(), info.shape, "{name}");
        let mut expected = numbers(folder, name);
        let heads = match name.rsplit('.').nth(1) {
            Some("attn_q") => gguf.metadata().arch_u32("attention.head_count"),
            Some("attn_k") => gguf.metadata().arch_u32("attention.head_count_kv"),
            _ => Ok(0),
        };
        if let Ok(heads @ 1..) = heads
            && architecture == "llama"
        {
            expected = permuted(&expected, heads as usize, info.shape[1]);
        }
        if info.type_name == "F16" {
            expected = as_f16(&expected);
        }
        assert!(numbers(gguf, name) == expected, "{name} differs");
    }
    for info in folder.tensors() {
        assert!(gguf.has(&info.name), "{} is only in the folder", info.name);
    }
}

/// Every key of the architecture that the GGUF file has, the folder has too, with the same value.
fn assert_same_metadata(gguf: &Checkpoint, folder: &Checkpoint) {
    let prefix = format!("{}.", gguf.architecture());
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| key.starts_with(&prefix)) {
        let found = folder.metadata().get(key).unwrap_or_else(|| panic!("{key} is missing"));
        assert_eq!((found.as_integer(), found.as_f32()), (value.as_integer(), value.as_f32()), "{key}");
    }
    for key in ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"] {
        assert_eq!(gguf.metadata().u32(key).unwrap(), folder.metadata().u32(key).unwrap());
    }
}

#[test]
fn files_and_folders_of_each_architecture_agree() {
    for name in ["llama", "qwen3_moe", "mixtral", "olmoe"] {
        let gguf = open(&format!("arch/{name}/model-f16.gguf"));
        let folder = open(&format!("arch/{name}"));
        assert_eq!((gguf.kind(), folder.kind()), (ContainerKind::Gguf, ContainerKind::HuggingFace));
        assert_same_weights(&gguf, &folder);
        assert_same_metadata(&gguf, &folder);
    }
}

#[test]
fn rope_of_llama_3_is_a_tensor_in_files_and_keys_in_folders() {
    let divisors = open("arch/llama/model-f16.gguf").vector("rope_freqs.weight").unwrap();
    assert_eq!((divisors.len(), divisors[0], divisors[7]), (8, 1.0, 8.0));
    let folder = open("arch/llama");
    let metadata = folder.metadata();
    assert_eq!(metadata.arch_str("rope.scaling.type").unwrap(), "llama3");
    let numbers = ["factor", "low_freq_factor", "high_freq_factor", "original_context_length"]
        .map(|key| metadata.arch_f32(&format!("rope.scaling.{key}")).unwrap());
    assert_eq!(numbers, [8.0, 1.0, 4.0, 128.0]);
    assert_eq!(open("arch/bitnet").metadata().arch_str("rope.scaling.type").unwrap(), "none");
}

const LINEARS: [&str; 7] = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

#[test]
fn every_container_gives_the_same_trits() {
    let reference = open("ternary/containers/model-i2_s.gguf");
    for linear in LINEARS.map(|linear| format!("blk.0.{linear}.weight")) {
        let expected = ternary(&reference, &linear);
        let Scales::Tensor(scale) = *expected.scales() else { panic!("{linear}") };
        for same in
            ["model-tq1_0.gguf", "model-tq2_0.gguf", "model-iq1_bn.gguf", "model-iq2_bn.gguf", "hf-offline"]
        {
            assert!(
                ternary(&open(&format!("ternary/containers/{same}")), &linear) == expected,
                "{same} {linear}"
            );
        }
        for (other, tolerance) in [("hf-bitlinear", f32::EPSILON), ("hf-online", 1.0)] {
            let found = ternary(&open(&format!("ternary/containers/{other}")), &linear);
            assert!(found.trits() == expected.trits(), "{other} {linear}");
            let Scales::Tensor(other_scale) = *found.scales() else { panic!("{other} {linear}") };
            assert!(
                (other_scale / scale - 1.0).abs() <= tolerance,
                "{other} {linear}: {other_scale} {scale}"
            );
        }
        let dense = open("ternary/containers/model-f16.gguf").dense(&linear).unwrap();
        assert!(dense.widened() == expected.dequantize(), "f16 {linear}");
    }
}

#[test]
fn the_rest_of_every_container_is_the_same_too() {
    let reference = open("ternary/containers/model-f16.gguf");
    let files = ["i2_s", "tq1_0", "tq2_0", "iq1_bn", "iq2_bn"].map(|kind| format!("model-{kind}.gguf"));
    for other in files.iter().map(String::as_str).chain(["hf-offline", "hf-bitlinear"]) {
        let other = open(&format!("ternary/containers/{other}"));
        for info in reference.tensors().filter(|info| !LINEARS.iter().any(|name| info.name.contains(name))) {
            assert!(
                as_f16(&numbers(&other, &info.name)) == as_f16(&numbers(&reference, &info.name)),
                "{}",
                info.name
            );
        }
        assert_eq!(other.tensors().len(), reference.tensors().len());
    }
}

#[test]
fn the_trained_model_is_the_same_in_its_three_containers() {
    let reference = open("ternary/bitnet/model-i2_s.gguf");
    for other in ["ternary/bitnet/model-tq2_0.gguf", "ternary/bitnet/hf-offline"].map(open) {
        assert_same_weights(&reference, &other);
        assert_same_metadata(&reference, &other);
    }
}

#[test]
fn ternary_experts_are_equal_and_each_has_its_scale() {
    let [a, b] = ["tq1_0", "tq2_0"].map(|kind| open(&format!("ternary/qwen3_moe/model-{kind}.gguf")));
    for name in ["blk.0.ffn_gate_exps.weight", "blk.1.ffn_down_exps.weight"] {
        let [a, b] = [a.experts(name).unwrap(), b.experts(name).unwrap()];
        assert_eq!(a.len(), 8);
        assert!(a == b, "{name}");
        let scaled = |matrix: &Matrix| matches!(matrix, Matrix::Ternary(matrix) if matches!(matrix.scales(), Scales::Tensor(_)));
        assert!(a.iter().all(scaled), "{name}");
    }
}

#[test]
fn an_i2_s_stack_is_divided_under_its_one_scale() {
    let trits: Vec<i8> = (0..3 * 4 * 64).map(|at| [1, 0, -1, -1, 1][at % 5]).collect();
    let all = TernaryMatrix::new(12, 64, trits, Scales::Tensor(0.5)).unwrap();
    let format = craftsman_golden::format::by_name("I2_S").unwrap();
    let bytes = format.encode_ternary(&all).unwrap();
    let experts = checkpoint(&[("blk.0.ffn_up_exps.weight", &[3, 4, 64], "I2_S", &bytes)])
        .experts("blk.0.ffn_up_exps.weight")
        .unwrap();
    let expected: Vec<Matrix> =
        (0..3).map(|at| Matrix::Ternary(all.rows(at * 4..at * 4 + 4).unwrap())).collect();
    assert_eq!(experts, expected);
}

/// A checkpoint of these tensors: name, shape, type, bytes.
fn checkpoint(tensors: &[(&str, &[usize], &str, &[u8])]) -> Checkpoint {
    let writer = GgufWriter::new().metadata("general.architecture", "llama");
    let writer = tensors.iter().fold(writer, |writer, &(name, shape, kind, bytes)| {
        writer.tensor(name, shape, TensorType::named(kind).unwrap(), bytes)
    });
    let gguf =
        craftsman_model::container::Gguf::from_bytes("made.gguf", writer.into_bytes().unwrap()).unwrap();
    Checkpoint::from_gguf(gguf).unwrap()
}

#[test]
fn embedding_head_router_and_norms_are_never_ternary() {
    let bytes = [0; 66];
    for name in
        ["token_embd.weight", "output.weight", "blk.0.ffn_gate_inp.weight", "blk.0.attn_q_norm.weight"]
    {
        let checkpoint = checkpoint(&[(name, &[1, 256], "TQ2_0", &bytes)]);
        for error in [checkpoint.matrix(name).unwrap_err(), checkpoint.dense(name).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::WrongType);
            let message = error.to_string();
            assert!(
                message.contains(name) && message.contains("TQ2_0") && message.contains("made.gguf"),
                "{message}"
            );
        }
    }
    let packed = open("ternary/containers/hf-offline").dense("blk.0.attn_q.weight").unwrap_err();
    assert!(packed.to_string().contains("BITNET_HF"), "{packed}");
}

#[test]
fn dense_types_keep_their_width_and_q8_0_widens() {
    let mut q8 = vec![0, 0x40]; // 2.0 as f16
    q8.extend((0..32).map(|at| (at - 16) as i8 as u8));
    let bf16 = [0x80, 0x3F].repeat(4);
    let made = checkpoint(&[("a.weight", &[1, 32], "Q8_0", &q8), ("b.weight", &[2, 2], "BF16", &bf16)]);
    let expected: Vec<f32> = (0..32).map(|at| 2.0 * (at - 16) as f32).collect();
    assert_eq!(made.dense("a.weight").unwrap().widened(), expected);
    let b = made.dense("b.weight").unwrap();
    assert!(matches!(b.data(), craftsman_kernelgen::float::DenseData::BF16(_)));
    assert_eq!(b.widened(), [1.0; 4]);
}

#[test]
fn what_is_asked_for_wrongly_is_named() {
    let i2_s = open("ternary/containers/model-i2_s.gguf");
    let message = |result: Result<Matrix, craftsman_model::ModelError>| result.unwrap_err().to_string();
    let missing = message(i2_s.matrix("blk.9.attn_q.weight"));
    assert!(missing.contains("tensor `blk.9.attn_q.weight`: is missing"), "{missing}");
    let shape = message(i2_s.matrix("output_norm.weight"));
    assert!(shape.contains("has shape [512], expected a matrix"), "{shape}");
    assert!(i2_s.vector("blk.0.attn_q.weight").is_err());
    assert!(i2_s.experts("blk.0.attn_q.weight").is_err());
    let key = i2_s.metadata().arch_u32("expert_count").unwrap_err();
    assert_eq!((key.kind(), key.subject()), (ErrorKind::Missing, Some("bitnet-b1.58.expert_count")));
    let listed = checkpoint(&[("blk.0.attn_q.weight", &[1, 256], "Q2_K", &[0; 84])]);
    let unsupported = message(listed.matrix("blk.0.attn_q.weight"));
    assert!(unsupported.contains("Q2_K") && unsupported.contains("at byte"), "{unsupported}");
}

/// Copies a fixture folder, its tensors divided over two files with an index.
fn sharded(folder: &Path, to: &Path) {
    let data = std::fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&data).unwrap().tensors();
    std::fs::copy(folder.join("config.json"), to.join("config.json")).unwrap();
    let mut map = serde_json::Map::new();
    for (at, part) in tensors.chunks(tensors.len() / 2 + 1).enumerate() {
        let file = format!("model-{at}.safetensors");
        map.extend(part.iter().map(|(name, _)| (name.clone(), file.clone().into())));
        let part = part.iter().map(|(name, view)| (name.as_str(), view));
        safetensors::serialize_to_file(part, None, &to.join(file)).unwrap();
    }
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(to.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn a_folder_may_be_sharded() {
    let folder = tempfile::tempdir().unwrap();
    sharded(&fixture("arch/qwen3_moe"), folder.path());
    let (whole, parts) = (open("arch/qwen3_moe"), Checkpoint::open(folder.path()).unwrap());
    assert_eq!(whole.tensors().len(), parts.tensors().len());
    for info in whole.tensors() {
        assert!(numbers(&whole, &info.name) == numbers(&parts, &info.name), "{}", info.name);
    }
}

#[test]
fn packed_shards_hold_what_their_index_says() {
    let folder = tempfile::tempdir().unwrap();
    sharded(&fixture("ternary/containers/hf-offline"), folder.path());
    let (whole, parts) = (open("ternary/containers/hf-offline"), Checkpoint::open(folder.path()).unwrap());
    // A packed tensor and its scale may lie in different files.
    for info in whole.tensors() {
        assert!(numbers(&whole, &info.name) == numbers(&parts, &info.name), "{}", info.name);
    }
    let index = folder.path().join("model.safetensors.index.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let message = |json: &serde_json::Value| {
        std::fs::write(&index, json.to_string()).unwrap();
        Checkpoint::open(folder.path()).err().unwrap().to_string()
    };
    json["weight_map"]["model.norm.weight"] = "model-0.safetensors".into();
    json["weight_map"]["model.embed_tokens.weight"] = "model-0.safetensors".into();
    json["weight_map"]["model.absent"] = "model-1.safetensors".into();
    let lost = message(&json);
    assert!(lost.contains("index.json: tensor `model.") && lost.contains("is not in `model-"), "{lost}");
    json["weight_map"]["model.absent"] = "model-9.safetensors".into();
    assert!(message(&json).contains("model-9.safetensors: "));
}

#[test]
fn broken_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        |folder: &Path| Checkpoint::open(folder).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error(folder.path()).contains("config.json: "));
    sharded(&fixture("arch/llama"), folder.path());
    let index = folder.path().join("model.safetensors.index.json");
    for outside in ["../model-0.safetensors", "/model.safetensors", ".", ""] {
        std::fs::write(&index, serde_json::json!({ "weight_map": { "x": outside } }).to_string()).unwrap();
        assert!(error(folder.path()).contains("is no file of the folder"), "{outside}");
    }
    std::fs::remove_file(&index).unwrap();
    let model = folder.path().join("model.safetensors");
    let data = std::fs::read(fixture("arch/llama/model.safetensors")).unwrap();
    for (broken, expected) in [
        (&data[..4], "shorter than a header"),
        (&data[..100], "claims a header"),
        (&data[..data.len() - 2], "follow the header"),
    ] {
        std::fs::write(&model, broken).unwrap();
        assert!(error(folder.path()).contains(expected), "{expected}: {}", error(folder.path()));
    }
}
