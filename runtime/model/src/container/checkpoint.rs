//! One view of a model's files, whatever container they are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craftsman_golden::quants::QuantMatrix;
use craftsman_kernelgen::float::HalfKind;

use super::TensorInfo;
use super::decode::{self, DenseData, DenseMatrix, Matrix};
use super::gguf::{Gguf, GgufTensor, Shards};
use super::huggingface::Folder;
use super::mapping::Bytes;
use super::metadata::{ARCHITECTURE, Metadata};
use super::part::{Encoding, Part};
use super::types::I2sRule;
use crate::{ErrorKind, ModelError};

/// What a checkpoint is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerKind {
    /// One GGUF file, or all shards of one.
    Gguf,
    /// A folder with `config.json` and safetensors files.
    HuggingFace,
}

/// A model's files, opened and checked: metadata under GGUF's keys, tensors under GGUF's names.
///
/// Tensors are decoded when they are asked for; a clone shares the open files. Two things differ between containers and stay different:
/// - Rows of `attn_q` and `attn_k` of architecture `llama` are permuted in GGUF files (rope pairs neighbours) and not
///   in folders (rope pairs halves).
/// - Llama 3's stretched rope is a tensor of divisors in GGUF files (`rope_freqs.weight`), and in folders the keys
///   `rope.scaling.{type = "llama3", factor, low_freq_factor, high_freq_factor, original_context_length}`.
///
/// Folders have some keys that GGUF has no name for: `{arch}.tie_word_embeddings`, `{arch}.hidden_act`.
#[derive(Clone)]
pub struct Checkpoint {
    path: Arc<Path>,
    source: Arc<Source>,
    tensors: Arc<[TensorInfo]>,
    by_name: Arc<HashMap<String, usize>>,
}

enum Source {
    Gguf(Shards),
    Folder(Folder),
}

/// Tensors that are never ternary, by the last part of their name.
const NEVER_TERNARY: [&str; 4] = ["token_embd", "output", "ffn_gate_inp", "_norm"];

impl Checkpoint {
    /// Opens a GGUF file or a Hugging Face folder; of a model in several GGUF files any of them. The files stay mapped,
    /// and must not be shortened, while the checkpoint is in use.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::open_with(path, I2sRule::default())
    }

    /// As [`Self::open`], with `I2_S` tensors of GGUF files read by `rule`.
    pub fn open_with(path: &Path, rule: I2sRule) -> Result<Self, ModelError> {
        if path.is_dir() {
            Self::new(path, Source::Folder(Folder::open(path)?))
        } else {
            Self::new(path, Source::Gguf(Shards::open(path, rule)?))
        }
    }

    /// The view of a GGUF file that is open already.
    pub fn from_gguf(gguf: Gguf) -> Result<Self, ModelError> {
        let path = gguf.file().to_path_buf();
        Self::new(&path, Source::Gguf(Shards::single(gguf)?))
    }

    fn new(path: &Path, source: Source) -> Result<Self, ModelError> {
        let tensors: Arc<[TensorInfo]> = match &source {
            Source::Gguf(shards) => shards.tensors().map(|(_, tensor)| info(tensor)).collect(),
            Source::Folder(folder) => folder.tensors().iter().map(|tensor| tensor.info.clone()).collect(),
        };
        let by_name = tensors.iter().enumerate().map(|(at, info)| (info.name.clone(), at)).collect();
        let checkpoint =
            Self { path: path.into(), source: Arc::new(source), tensors, by_name: Arc::new(by_name) };
        checkpoint.metadata().str(ARCHITECTURE)?;
        Ok(checkpoint)
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    pub fn kind(&self) -> ContainerKind {
        match *self.source {
            Source::Gguf(_) => ContainerKind::Gguf,
            Source::Folder(_) => ContainerKind::HuggingFace,
        }
    }

    /// GGUF's name of the architecture: `bitnet-b1.58`, `llama`, `qwen3moe`.
    pub fn architecture(&self) -> &str {
        self.metadata().architecture()
    }

    /// The metadata under GGUF's keys.
    pub fn metadata(&self) -> &Metadata {
        match &*self.source {
            Source::Gguf(shards) => shards.metadata(),
            Source::Folder(folder) => folder.metadata(),
        }
    }

    /// The `tokenizer.json` of a folder; a GGUF file has its tokenizer in the metadata.
    pub fn tokenizer_file(&self) -> Option<PathBuf> {
        (self.kind() == ContainerKind::HuggingFace).then(|| self.path.join("tokenizer.json"))
    }

    /// All tensors.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// What is known about a tensor without decoding it.
    pub fn info(&self, name: &str) -> Result<&TensorInfo, ModelError> {
        self.index(name).map(|at| &self.tensors[at])
    }

    /// The shape of a tensor, row major.
    pub fn shape(&self, name: &str) -> Result<&[usize], ModelError> {
        self.info(name).map(|info| &info.shape[..])
    }

    /// A tensor of one dimension, as f32. Refuses ternary types.
    pub fn vector(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let at = self.index(name)?;
        match self.tensors[at].shape.len() {
            1 => self.numbers(at).map(decode::floats),
            _ => Err(self.misshapen(at, "a vector")),
        }
    }

    /// A matrix of floats. Refuses ternary types.
    pub fn dense(&self, name: &str) -> Result<DenseMatrix, ModelError> {
        let at = self.index(name)?;
        let &[rows, cols] = &self.tensors[at].shape[..] else { return Err(self.misshapen(at, "a matrix")) };
        decode::dense_matrix(rows, cols, self.numbers(at)?).map_err(|error| self.place(at, error))
    }

    /// The bytes of a matrix, if it is stored as numbers of sixteen bits.
    pub(crate) fn halves(&self, name: &str) -> Result<Option<(HalfKind, Bytes)>, ModelError> {
        let parts = self.parts(self.index(name)?);
        let [part] = &parts[..] else { return Ok(None) };
        Ok(part.halves().map(|(kind, bytes)| (kind, bytes.clone())))
    }

    /// A matrix as it is stored, if that is integers in blocks that can be multiplied with: `Q8_0`, `Q6_K`, `Q4_K`.
    pub fn quants(&self, name: &str) -> Result<Option<QuantMatrix>, ModelError> {
        let at = self.index(name)?;
        match &self.parts(at)[..] {
            [part] => part.quants().map_err(|error| self.place_part(at, part, error)),
            _ => Ok(None),
        }
    }

    /// A matrix, ternary or dense as the file has it. Refuses ternary types for embedding, head, router and norms.
    pub fn matrix(&self, name: &str) -> Result<Matrix, ModelError> {
        let at = self.index(name)?;
        if self.tensors[at].shape.len() != 2 {
            return Err(self.misshapen(at, "a matrix"));
        }
        if is_never_ternary(name) {
            return self.dense(name).map(Matrix::Dense);
        }
        let mut matrices = self.matrices(at)?;
        matrices.pop().ok_or_else(|| self.misshapen(at, "a matrix"))
    }

    /// The matrices of a stack of experts `[experts, out, in]`, in ascending order.
    pub fn experts(&self, name: &str) -> Result<Vec<Matrix>, ModelError> {
        let at = self.index(name)?;
        match self.tensors[at].shape.len() {
            3 => self.matrices(at),
            _ => Err(self.misshapen(at, "a stack of experts")),
        }
    }

    /// Matrix number `expert` of a stack of experts, the same as in [`Self::experts`]; nothing else of it is decoded.
    pub fn expert(&self, name: &str, expert: usize) -> Result<Matrix, ModelError> {
        let at = self.index(name)?;
        let &[count, m, k] = &self.tensors[at].shape[..] else {
            return Err(self.misshapen(at, "a stack of experts"));
        };
        if expert >= count {
            return Err(self.place(at, ModelError::shape(format!("has {count} experts"))).expert(expert));
        }
        let divided = self.part_count(at) == count;
        let part = self.part(at, if divided { expert } else { 0 });
        let matrix = if divided { part.matrix() } else { part.matrix_at(expert, m, k) };
        matrix.map_err(|error| self.place_part(at, &part, error).expert(expert))
    }

    fn index(&self, name: &str) -> Result<usize, ModelError> {
        self.by_name.get(name).copied().ok_or_else(|| {
            let remedy = "the model is incomplete, or of another architecture than it says: convert it again";
            ModelError::new(ErrorKind::Missing, "is missing", remedy).in_file(&self.path).tensor(name)
        })
    }

    fn numbers(&self, at: usize) -> Result<DenseData, ModelError> {
        match &self.parts(at)[..] {
            [part] => part.dense().map_err(|error| self.place_part(at, part, error)),
            _ => Err(self.misshapen(at, "no stack of experts")),
        }
    }

    fn matrices(&self, at: usize) -> Result<Vec<Matrix>, ModelError> {
        let parts = self.parts(at);
        let count = if let [count, _, _] = self.tensors[at].shape[..] { count } else { 1 };
        let matrices = parts
            .iter()
            .map(|part| part.matrices(count / parts.len()).map_err(|error| self.place_part(at, part, error)));
        Ok(matrices.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// How tensor `at` stands in the files: a stack as one part a matrix, if its bytes divide into them.
    pub(super) fn parts(&self, at: usize) -> Vec<Part> {
        (0..self.part_count(at)).map(|number| self.part(at, number)).collect()
    }

    fn part_count(&self, at: usize) -> usize {
        match &*self.source {
            Source::Gguf(shards) => division(shards.tensor(at).1).0,
            Source::Folder(folder) => folder.tensors()[at].parts().len(),
        }
    }

    fn part(&self, at: usize, number: usize) -> Part {
        match &*self.source {
            Source::Gguf(shards) => {
                let (gguf, tensor) = shards.tensor(at);
                gguf_part(gguf, tensor, number)
            }
            Source::Folder(folder) => folder.tensors()[at].parts()[number].clone(),
        }
    }

    fn misshapen(&self, at: usize, wanted: &str) -> ModelError {
        let problem = format!("has shape {:?}, expected {wanted}", self.tensors[at].shape);
        self.place(at, ModelError::shape(problem))
    }

    /// Names file, tensor and byte in an error about tensor `at`.
    fn place(&self, at: usize, error: ModelError) -> ModelError {
        match self.parts(at).first() {
            Some(part) => self.place_part(at, part, error),
            None => error.in_file(&self.path),
        }
    }

    /// Names file, tensor and byte in an error about `part` of tensor `at`.
    pub(super) fn place_part(&self, at: usize, part: &Part, error: ModelError) -> ModelError {
        error.in_file(&part.file).tensor(&self.tensors[at].name).at(part.offset as u64)
    }
}

fn info(tensor: &GgufTensor) -> TensorInfo {
    TensorInfo {
        name: tensor.name().to_owned(),
        shape: tensor.shape().to_vec(),
        type_name: tensor.kind().name().to_owned(),
        bytes: tensor.bytes(),
        offset: tensor.offset(),
    }
}

/// Whether the tensor called `name` is never ternary: embedding, head, router, norm.
pub(super) fn is_never_ternary(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let last = stem.rsplit_once('.').map_or(stem, |(_, last)| last);
    NEVER_TERNARY
        .iter()
        .any(|known| if known.starts_with('_') { last.ends_with(known) } else { last == *known })
}

/// How many parts a tensor of a GGUF file has, and the shape of one: a stack of experts is a matrix each, if its bytes
/// divide into them.
fn division(tensor: &GgufTensor) -> (usize, Vec<usize>) {
    let &[count, m, k] = tensor.shape() else { return (1, tensor.shape().to_vec()) };
    let each = tensor.kind().bytes(m, k).ok().and_then(|each| each.checked_mul(count));
    if each.map(|all| all as u64) == Some(tensor.bytes()) {
        (count, vec![m, k])
    } else {
        (1, vec![count * m, k])
    }
}

/// Part `number` of a tensor of a GGUF file.
fn gguf_part(gguf: &Gguf, tensor: &GgufTensor, number: usize) -> Part {
    let (count, shape) = division(tensor);
    let data = gguf.data(tensor);
    let each = data.len() / count.max(1);
    let range = number * each..(number + 1) * each;
    let offset = tensor.offset() as usize + range.start;
    Part {
        file: gguf.file().to_path_buf(),
        encoding: Encoding::Stored(tensor.kind()),
        shape,
        offset,
        bytes: data.slice(range).unwrap_or_else(|| data.clone()),
    }
}
