//! Conversion: what is ternary stays what it is, what does not fit is refused, and files appear whole.

mod containers_support;
mod support;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use containers_support::open;
use craftsman_golden::{Scales, TernaryMatrix};
use craftsman_model::container::{Checkpoint, Conversion, Converted, GgufWriter, Matrix, TensorType};
use craftsman_model::tokenizer::Tokenizer;
use craftsman_model::{ErrorKind, LoadOptions, Model, ModelError};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{Reference, bits};
use tempfile::TempDir;

const TERNARY: [&str; 5] = ["TQ1_0", "TQ2_0", "I2_S", "Q2_0", "BITNET_T158"];

/// A folder for the files of one test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn convert(&self, from: &Checkpoint, to: &str, name: &str) -> Result<Checkpoint, ModelError> {
        let path = self.path(name);
        Conversion::to(to)?.write(from, &path)?;
        Checkpoint::open(&path)
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.0.path()).unwrap().count()
    }
}

/// The matrices of a tensor of two or three dimensions; of those written out as numbers the ternary ones they are.
fn matrices(checkpoint: &Checkpoint, name: &str) -> Vec<TernaryMatrix> {
    let found = match checkpoint.shape(name).unwrap().len() {
        2 => vec![checkpoint.matrix(name).unwrap()],
        _ => checkpoint.experts(name).unwrap(),
    };
    let ternary = |matrix: Matrix| match matrix {
        Matrix::Ternary(matrix) => matrix,
        Matrix::Dense(dense) => {
            let (m, k) = (dense.rows(), dense.cols());
            craftsman_golden::quantize::written_out(&dense.widened(), m, k).expect("ternary")
        }
    };
    found.into_iter().map(ternary).collect()
}

fn is_projection(name: &str) -> bool {
    let parts = ["attn_q.", "attn_k.", "attn_v.", "attn_output.", "ffn_gate", "ffn_up", "ffn_down"];
    parts.iter().any(|part| name.contains(part)) && !name.contains("gate_inp")
}

/// Checks that two checkpoints hold the same trits and scales, and everything else alike.
fn assert_same(a: &Checkpoint, b: &Checkpoint, what: &str) {
    assert_eq!(a.tensors().len(), b.tensors().len(), "{what}");
    for info in a.tensors() {
        let name = &info.name;
        assert_eq!(b.shape(name).unwrap(), info.shape, "{what} {name}");
        if is_projection(name) {
            assert!(matrices(a, name) == matrices(b, name), "{what} {name}");
        } else if info.shape.len() == 1 {
            assert_eq!(a.vector(name).unwrap(), b.vector(name).unwrap(), "{what} {name}");
        } else {
            assert!(a.dense(name).unwrap().widened() == b.dense(name).unwrap().widened(), "{what} {name}");
        }
    }
}

#[test]
fn every_ternary_container_becomes_every_other() {
    let folder = Folder::new();
    let reference = open("ternary/containers/model-i2_s.gguf");
    let sources = ["f16", "i2_s", "tq1_0", "tq2_0", "iq1_bn", "iq2_bn"];
    for (source, target) in sources.iter().flat_map(|source| TERNARY.map(|target| (source, target))) {
        let from = open(&format!("ternary/containers/model-{source}.gguf"));
        let made = folder.convert(&from, target, "made.gguf").unwrap();
        let what = format!("{source} to {target}");
        assert_same(&made, &reference, &what);
        assert!(made.tensors().all(|info| is_projection(&info.name) == (info.type_name == target)), "{what}");
        for (key, value) in reference.metadata().iter().filter(|(key, _)| *key != "general.file_type") {
            assert_eq!(made.metadata().get(key), Some(value), "{what} {key}");
        }
    }
    assert_eq!(folder.files(), 1, "nothing temporary is left");
}

#[test]
fn experts_keep_their_own_scales() {
    let folder = Folder::new();
    let from = open("ternary/qwen3_moe/model-tq1_0.gguf");
    for target in ["TQ2_0", "Q2_0", "BITNET_T158", "F16"] {
        assert_same(&folder.convert(&from, target, "made.gguf").unwrap(), &from, target);
    }
    let error = folder.convert(&from, "I2_S", "refused.gguf").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains("_exps.weight`") && error.to_string().contains("I2_S"), "{error}");
    assert!(error.file().is_some_and(|file| file.ends_with("model-tq1_0.gguf")) && error.offset().is_some());
    assert_eq!(folder.files(), 1, "a refused conversion leaves nothing");
}

#[test]
fn there_and_back_is_the_same_file() {
    let folder = Folder::new();
    for target in ["TQ2_0", "TQ1_0"] {
        let first =
            folder.convert(&open("ternary/containers/model-i2_s.gguf"), target, "first.gguf").unwrap();
        let other = folder.convert(&first, "BITNET_T158", "other.gguf").unwrap();
        folder.convert(&other, target, "second.gguf").unwrap();
        let [first, second] =
            ["first.gguf", "second.gguf"].map(|name| std::fs::read(folder.path(name)).unwrap());
        assert!(first == second, "{target}");
    }
}

#[test]
fn numbers_are_rounded_once_and_norms_are_kept() {
    let folder = Folder::new();
    let from = open("arch/mixtral/model-f16.gguf");
    for target in ["F32", "BF16", "Q8_0", "F16"] {
        let made = folder.convert(&from, target, "made.gguf").unwrap();
        for info in made.tensors() {
            let before = from.info(&info.name).unwrap();
            let small = info.shape.len() == 1 || info.name.contains("ffn_gate_inp");
            assert_eq!(info.type_name, if small { &before.type_name } else { target }, "{}", info.name);
        }
        let name = "token_embd.weight";
        let [values, found] = [&from, &made].map(|checkpoint| checkpoint.dense(name).unwrap().widened());
        let format = craftsman_golden::format::by_name(target).unwrap();
        let [m, k] = *from.shape(name).unwrap() else { panic!("{name}") };
        let expected = format.decode_f32(&format.encode_f32(&values).unwrap(), m, k).unwrap();
        assert!(found == expected, "{target}");
        assert_eq!(made.metadata().u32("general.file_type").is_ok(), target != "BITNET_T158");
    }
}

#[test]
fn folders_become_files_that_other_tools_would_write() {
    let folder = Folder::new();
    for name in ["llama", "mixtral", "qwen3_moe", "olmoe"] {
        let (from, other) = (open(&format!("arch/{name}")), open(&format!("arch/{name}/model-f16.gguf")));
        let made = folder.convert(&from, "F16", "made.gguf").unwrap();
        // Rows of queries and keys are in GGUF's order, as llama.cpp's converter writes them.
        for info in other.tensors() {
            let [made, other] = [&made, &other].map(|checkpoint| numbers(checkpoint, &info.name));
            assert!(made == other, "{name} {}", info.name);
        }
        assert!(
            made.tensors().all(|info| info.type_name == "F16"
                || info.shape.len() == 1
                || info.name.contains("gate_inp"))
        );
        assert!(made.metadata().arch_get_str("rope.scaling.type").unwrap().is_none_or(|kind| kind == "none"));
        let text = "def f(x): # 12345 \u{E9}\u{1F980}<|begin_of_text|>\n\t";
        let ids =
            |checkpoint| Tokenizer::from_checkpoint(checkpoint).unwrap().encode_control(text, true).unwrap();
        assert_eq!(ids(&made), ids(&from), "{name}");
    }
}

#[test]
fn the_three_packings_become_files() {
    let folder = Folder::new();
    let reference = open("ternary/containers/model-i2_s.gguf");
    for (name, target) in [("hf-offline", "TQ2_0"), ("hf-bitlinear", "I2_S"), ("hf-online", "I2_S")] {
        let from = open(&format!("ternary/containers/{name}"));
        let made = folder.convert(&from, target, "made.gguf").unwrap();
        for info in reference.tensors().filter(|info| is_projection(&info.name)) {
            assert!(matrices(&made, &info.name) == matrices(&from, &info.name), "{name} {}", info.name);
            assert_eq!(matrices(&made, &info.name)[0].trits(), matrices(&reference, &info.name)[0].trits());
        }
    }
}

fn numbers(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    match checkpoint.shape(name).unwrap().len() {
        1 => checkpoint.vector(name).unwrap(),
        2 => checkpoint.matrix(name).unwrap().to_f32(),
        _ => checkpoint.experts(name).unwrap().iter().flat_map(Matrix::to_f32).collect(),
    }
}

/// A model of one attention matrix.
fn one_matrix(folder: &Folder, name: &str, w: &TernaryMatrix, kind: &str) -> Checkpoint {
    let format = craftsman_golden::format::by_name(kind).unwrap();
    let (bytes, kind) = (format.encode_ternary(w).unwrap(), TensorType::named(kind).unwrap());
    let writer = GgufWriter::new().metadata("general.architecture", "llama");
    let path = folder.path(name);
    writer.tensor("blk.0.attn_q.weight", &[w.m(), w.k()], kind, bytes).write(&path).unwrap();
    Checkpoint::open(&path).unwrap()
}

fn message(result: Result<Checkpoint, ModelError>) -> String {
    result.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = Folder::new();
    let matrix = |k: usize, scale| TernaryMatrix::new(2, k, vec![1; 2 * k], Scales::Tensor(scale)).unwrap();
    let inexact = one_matrix(&folder, "inexact.gguf", &matrix(256, 0.1), "I2_S");
    let refused = message(folder.convert(&inexact, "TQ2_0", "out.gguf"));
    assert!(
        refused.contains("tensor `blk.0.attn_q.weight` at byte") && refused.contains("--round-scales"),
        "{refused}"
    );
    let rounding = Conversion::to("TQ2_0").unwrap().rounding_scales(true);
    rounding.write(&inexact, &folder.path("rounded.gguf")).unwrap();
    let rounded = matrices(&Checkpoint::open(&folder.path("rounded.gguf")).unwrap(), "blk.0.attn_q.weight");
    assert_eq!(rounded[0].scales(), &Scales::Tensor(half::f16::from_f32(0.1).to_f32()));

    let odd = one_matrix(&folder, "odd.gguf", &matrix(3200, 0.5), "I2_S");
    let refused = message(folder.convert(&odd, "TQ2_0", "out.gguf"));
    assert!(refused.contains("blocks of 256") && refused.contains("`blk.0.attn_q.weight`"), "{refused}");
    assert_same(&folder.convert(&odd, "Q2_0", "q2.gguf").unwrap(), &odd, "3200 columns");

    let dense = open("arch/mixtral/model-f16.gguf");
    assert!(message(folder.convert(&dense, "TQ2_0", "out.gguf")).contains("holds no ternary weights"));
    assert!(Conversion::to("Q5_K").err().unwrap().to_string().contains("use one of F32, F16, BF16, Q8_0"));
    let own = folder.path("odd.gguf");
    let refused = Conversion::to("Q2_0").unwrap().write(&odd, &own).unwrap_err();
    assert!(refused.to_string().contains("is the model that is converted"), "{refused}");
    assert!(!folder.path("out.gguf").exists());
}

#[test]
fn a_model_in_every_written_type_gives_the_same_bits() {
    let folder = Folder::new();
    let reference = Reference::open("ternary/containers");
    let from = open("ternary/containers/model-tq1_0.gguf");
    let logits = |checkpoint: &Checkpoint| {
        let options = LoadOptions { threads: NonZeroUsize::new(1), ..LoadOptions::default() };
        let model = Model::load(checkpoint, &options).unwrap();
        bits(&model.session().logits_all(&reference.tokens[0]).unwrap())
    };
    let expected = logits(&from);
    for target in TERNARY.into_iter().chain(["F32"]) {
        assert!(logits(&folder.convert(&from, target, "made.gguf").unwrap()) == expected, "{target}");
    }
}

#[test]
fn progress_ends_where_it_should() {
    let folder = Folder::new();
    let last = std::cell::Cell::new((0, 0));
    let advance = |done, total| {
        assert!(last.get().0 < done && done <= total);
        last.set((done, total));
    };
    let from = open("ternary/containers/model-tq2_0.gguf");
    let all: usize = from.tensors().map(|info| info.shape.iter().product::<usize>()).sum();
    let conversion = Conversion::to("f16").unwrap().with_progress(&advance);
    let done = conversion.write(&from, &folder.path("made.gguf")).unwrap();
    assert_eq!((last.get(), done), ((all, all), Converted { converted: 7, kept: 6 }));
}

/// Positive scales that f16 holds.
fn scale() -> impl Strategy<Value = f32> {
    (1_u16..0x7c00).prop_map(|bits| half::f16::from_bits(bits).to_f32())
}

/// An `[m, 256 b]` matrix with scales of any granularity that one of the formats has.
fn ternary() -> impl Strategy<Value = TernaryMatrix> {
    (1_usize..4, 1_usize..3, 0..4).prop_flat_map(|(m, b, granularity)| {
        let k = 256 * b;
        let scales = match granularity {
            0 => scale().prop_map(Scales::Tensor).boxed(),
            1 => vec(scale(), m).prop_map(Scales::Row).boxed(),
            2 => vec(scale(), m * b).prop_map(|values| Scales::Block { size: 256, values }).boxed(),
            _ => vec(scale(), m * b * 4).prop_map(|values| Scales::Block { size: 64, values }).boxed(),
        };
        (vec(-1_i8..=1, m * k), scales)
            .prop_map(move |(trits, scales)| TernaryMatrix::new(m, k, trits, scales).unwrap())
    })
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn ternary_types_lose_nothing(w in ternary(), route in vec(0_usize..5, 1..5)) {
        let folder = Folder::new();
        // The finest blocks hold every granularity.
        let start = one_matrix(&folder, "start.gguf", &w, "Q2_0");
        let expected = w.coarsened();
        let mut at = Checkpoint::open(start.path()).unwrap();
        for (step, target) in route.into_iter().map(|index| TERNARY[index]).chain(["F32", "Q2_0"]).enumerate() {
            let name = format!("{step}.gguf");
            match folder.convert(&at, target, &name) {
                Ok(made) => at = made,
                // Only types with coarser scales may refuse.
                Err(error) => {
                    prop_assert!(target != "Q2_0" && error.to_string().contains("granularity"), "{}", error);
                    continue;
                }
            }
            prop_assert_eq!(&matrices(&at, "blk.0.attn_q.weight")[0], &expected, "{}", target);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(w in ternary()) {
        let folder = Folder::new();
        let start = one_matrix(&folder, "start.gguf", &w, "Q2_0");
        folder.convert(&start, "F16", "a.gguf").unwrap();
        folder.convert(&start, "F16", "b.gguf").unwrap();
        prop_assert!(bytes(&folder.path("a.gguf")) == bytes(&folder.path("b.gguf")));
    }
}
