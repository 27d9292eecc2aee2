//! From the tensors of a checkpoint to the blocks of a model: every shape is checked, every weight packed once.

mod feed_forward;
mod mixer;
mod predictor;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use craftsman_golden::TernaryMatrix;
use craftsman_golden::float::{RopeScaling, RopeTable};
use craftsman_golden::quantize::written_out;
use craftsman_golden::quants::QuantMatrix;
use craftsman_kernelgen::float::{DenseData, DenseMatrix, PackedDense};
use craftsman_kernelgen::{Epilogue, KernelCompiler, KernelError, LinearOptions};

use crate::architecture::Architecture;
use crate::config::{LayerKind, ModelConfig, first_predicting};
use crate::container::{Checkpoint, Matrix, dense_matrix};
use crate::layer::{Block, FeedForward, Linear, Norm};
use crate::{ErrorKind, ModelError};

/// Reads the tensors of one checkpoint, and remembers which it has read. Experts keep it for what is read later.
pub(crate) struct Loader {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) row: &'static Architecture,
    pub(crate) config: ModelConfig,
    pub(crate) compiler: Arc<KernelCompiler>,
    /// Whether experts are packed before they are needed.
    resident: bool,
    read: Mutex<BTreeSet<String>>,
    /// Packed bytes of an expert by the types that its matrices are stored as.
    trials: Mutex<HashMap<Vec<String>, usize>>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("path", &self.checkpoint.path()).finish_non_exhaustive()
    }
}

impl Loader {
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        row: &'static Architecture,
        config: &ModelConfig,
        compiler: &Arc<KernelCompiler>,
        resident: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            checkpoint: checkpoint.clone(),
            row,
            config: config.clone(),
            compiler: Arc::clone(compiler),
            resident,
            read: Mutex::default(),
            trials: Mutex::default(),
        })
    }

    /// Block number `layer`.
    pub(crate) fn block(self: &Arc<Self>, layer: usize) -> Result<Block, ModelError> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let hidden = self.config.hidden;
        let LayerKind { mixing, experts } = self.config.layer(layer);
        Ok(Block {
            mixer_norm: self.norm(&name("attn_norm"), hidden)?,
            mixer: self.mixer(&name, mixing)?,
            ffn_norm: self.norm(&name("ffn_norm"), hidden)?,
            ffn: match self.config.experts.filter(|_| experts) {
                Some(experts) => FeedForward::Experts(Box::new(self.experts(layer, &name, experts)?)),
                None => FeedForward::Dense(Box::new(self.gated(&name)?)),
            },
        })
    }

    /// One RMS norm over `width` values.
    pub(crate) fn norm(&self, name: &str, width: usize) -> Result<Norm, ModelError> {
        Ok(Norm { weight: self.vector(name, width)?, epsilon: self.config.epsilon })
    }

    fn vector(&self, name: &str, width: usize) -> Result<Vec<f32>, ModelError> {
        self.check(name, &[width])?;
        self.checkpoint.vector(name)
    }

    fn norm_if(&self, present: bool, name: &str, width: usize) -> Result<Option<Norm>, ModelError> {
        present.then(|| self.norm(name, width)).transpose()
    }

    /// A matrix that is never ternary: embedding, head, router.
    pub(crate) fn numbers(&self, name: &str, shape: [usize; 2]) -> Result<DenseMatrix, ModelError> {
        self.check(name, &shape)?;
        self.checkpoint.dense(name)
    }

    /// The same as it is stored, if that is integers in blocks.
    pub(crate) fn quants(&self, name: &str, shape: [usize; 2]) -> Result<Option<QuantMatrix>, ModelError> {
        self.check(name, &shape)?;
        self.checkpoint.quants(name)
    }

    /// Packs it for emitted code.
    pub(crate) fn quantized(&self, name: &str, matrix: &QuantMatrix) -> Result<Linear, ModelError> {
        let linear = self.compiler.quantized(matrix).map_err(|source| self.no_kernel(name, source))?;
        Ok(Linear::Quant(linear))
    }

    /// Packs numbers for the matrix product.
    pub(crate) fn packed(&self, name: &str, matrix: &DenseMatrix) -> Result<PackedDense, ModelError> {
        self.compiler.dense(matrix).map_err(|source| self.no_kernel(name, source))
    }

    /// A matrix of numbers, packed; those of sixteen bits straight out of the file.
    pub(crate) fn dense(&self, name: &str, [m, k]: [usize; 2]) -> Result<PackedDense, ModelError> {
        self.check(name, &[m, k])?;
        let Some((kind, bytes)) = self.checkpoint.halves(name)? else {
            return self.packed(name, &self.checkpoint.dense(name)?);
        };
        self.compiler.halves(kind, m, k, &bytes).map_err(|source| self.no_kernel(name, source))
    }

    /// How positions turn queries and keys.
    pub(crate) fn rope(&self) -> Result<RopeTable, ModelError> {
        let rope = &self.config.rope;
        let divisors = self.rope_divisors()?.map(RopeScaling::Divisors);
        Ok(RopeTable::new(rope.dims, rope.theta, divisors.as_ref().unwrap_or(&rope.scaling)))
    }

    /// Divisors of the rope frequencies, if the file keeps any.
    fn rope_divisors(&self) -> Result<Option<Vec<f32>>, ModelError> {
        let name = "rope_freqs.weight";
        if !self.checkpoint.has(name) {
            return Ok(None);
        }
        self.vector(name, self.config.rope.dims / 2).map(Some)
    }

    fn projection(&self, name: &str, shape: [usize; 2]) -> Result<Linear, ModelError> {
        self.linear(name, self.matrix(name, shape)?, Epilogue::None)
    }

    /// A projection onto the residual stream: its kernel, if it has one, adds.
    fn adding(&self, name: &str, shape: [usize; 2]) -> Result<Linear, ModelError> {
        self.linear(name, self.matrix(name, shape)?, Epilogue::Add)
    }

    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Weights, ModelError> {
        self.check(name, &shape)?;
        let factors = self.factors(name, 1)?;
        self.weights(name, self.checkpoint.matrix(name)?, factors[0])
    }

    /// The stack `name`, `[experts, m, k]`, checked but not read; files from before there were stacks have a tensor for
    /// each expert.
    fn stack(&self, name: &str, [count, m, k]: [usize; 3]) -> Result<Stack, ModelError> {
        let mut stack = Stack { name: name.to_owned(), rows: m, cols: k, apart: false, factors: Vec::new() };
        stack.apart = !self.checkpoint.has(name) && self.checkpoint.has(&apart(name, 0));
        if stack.apart {
            for expert in 0..count {
                let name = stack.tensor(expert);
                self.check(&name, &[m, k])?;
                stack.factors.extend(self.factors(&name, 1)?);
            }
        } else {
            self.check(name, &[count, m, k])?;
            stack.factors = self.factors(name, count)?;
        }
        Ok(stack)
    }

    /// One matrix of a stack.
    fn expert(&self, stack: &Stack, expert: usize) -> Result<Weights, ModelError> {
        let matrix = self.expert_matrix(stack, expert)?;
        self.weights(&stack.tensor(expert), matrix, stack.factors[expert])
    }

    /// One matrix of a stack in its two halves.
    fn halves_of(&self, stack: &Stack, expert: usize) -> Result<[Weights; 2], ModelError> {
        let (name, factor) = (stack.tensor(expert), stack.factors[expert]);
        let matrix = self.expert_matrix(stack, expert)?;
        let halves = halves(&matrix, stack.rows / 2, stack.cols).map_err(|error| self.place(error, &name))?;
        let [low, high] = halves.map(|half| self.weights(&name, half, factor));
        Ok([low?, high?])
    }

    fn expert_matrix(&self, stack: &Stack, expert: usize) -> Result<Matrix, ModelError> {
        if stack.apart {
            self.checkpoint.matrix(&stack.tensor(expert))
        } else {
            self.checkpoint.expert(&stack.name, expert)
        }
    }

    /// What the matrices of a tensor are multiplied by: numbers that a file may keep beside it under `.scale`.
    fn factors(&self, name: &str, count: usize) -> Result<Vec<f32>, ModelError> {
        let scale = format!("{}.scale", name.strip_suffix(".weight").unwrap_or(name));
        if self.checkpoint.has(&scale) { self.vector(&scale, count) } else { Ok(vec![1.0; count]) }
    }

    /// Ternary where it is or can be.
    fn weights(&self, name: &str, matrix: Matrix, factor: f32) -> Result<Weights, ModelError> {
        let ternary = match matrix {
            Matrix::Ternary(ternary) => ternary,
            Matrix::Dense(dense) => match self.row.ternary.then(|| ternary(&dense)).flatten() {
                Some(ternary) => ternary,
                None if factor == 1.0 => return self.packed(name, &dense).map(Weights::Dense),
                None => {
                    let products = dense.widened().into_iter().map(|weight| weight * factor).collect();
                    let scaled = dense_matrix(dense.rows(), dense.cols(), DenseData::F32(products))?;
                    return self.packed(name, &scaled).map(Weights::Dense);
                }
            },
        };
        let scaled = if factor == 1.0 { Ok(ternary) } else { ternary.times(factor) };
        scaled.map(Weights::Ternary).map_err(|error| self.place(ModelError::shape(error.to_string()), name))
    }

    /// A projection; only the kernels of ternary ones have epilogues.
    fn linear(&self, name: &str, weights: Weights, epilogue: Epilogue) -> Result<Linear, ModelError> {
        match weights {
            Weights::Dense(dense) => Ok(Linear::Dense(Arc::new(dense))),
            Weights::Ternary(ternary) => self.fused(name, &[&ternary], epilogue),
        }
    }

    fn fused(
        &self,
        name: &str,
        weights: &[&TernaryMatrix],
        epilogue: Epilogue,
    ) -> Result<Linear, ModelError> {
        let linear = self
            .compiler
            .linear_with(weights, LinearOptions { epilogue, ..LinearOptions::default() })
            .map_err(|source| self.no_kernel(name, source))?;
        Ok(Linear::Ternary(linear))
    }

    fn no_kernel(&self, name: &str, source: KernelError) -> ModelError {
        let problem = format!("no kernel could be made for it: {source}");
        let remedy = "this is a bug: please report it with this message";
        self.place(ModelError::new(ErrorKind::Kernel, problem, remedy).because(source), name)
    }

    /// Checks that `name` exists with `shape`, before anything of that size is made.
    fn check(&self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        let found = self.checkpoint.shape(name)?;
        if found != shape {
            let problem = format!("has shape {found:?}, expected {shape:?}");
            return Err(self.place(ModelError::shape(problem), name));
        }
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(())
    }

    /// Refuses tensors that nothing has read: a bias or a norm that is left out gives wrong text, not an error.
    pub(crate) fn check_all_read(&self) -> Result<(), ModelError> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let unread = self.checkpoint.tensors().filter(|tensor| !read.contains(&tensor.name));
        let (skipped, mut unread): (Vec<_>, Vec<_>) = unread.partition(|tensor| self.predicts(&tensor.name));
        if !skipped.is_empty() {
            tracing::info!(
                tensors = skipped.len(),
                "left out the blocks that predict further tokens (MTP): only guessing with them needs them"
            );
        }
        let Some(unread) = unread.pop() else { return Ok(()) };
        let problem = format!("the graph of `{}` has no place for it", self.config.architecture);
        let remedy = "this variant of the architecture needs a newer version";
        Err(self.place(ModelError::new(ErrorKind::Unsupported, problem, remedy), &unread.name))
    }

    /// Whether a tensor belongs to a block that predicts further tokens.
    fn predicts(&self, tensor: &str) -> bool {
        let block = tensor.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let number = block.and_then(|(number, _)| number.parse::<usize>().ok());
        number.zip(first_predicting(&self.checkpoint)).is_some_and(|(number, first)| number >= first)
    }

    fn place(&self, error: ModelError, tensor: &str) -> ModelError {
        error.in_file(self.checkpoint.path()).tensor(tensor)
    }
}

/// The matrices of a layer's experts, as they stand in the checkpoint.
#[derive(Debug)]
struct Stack {
    name: String,
    rows: usize,
    cols: usize,
    /// Whether each is a tensor of its own.
    apart: bool,
    /// What each is multiplied by.
    factors: Vec<f32>,
}

impl Stack {
    /// The tensor that expert number `expert` is in.
    fn tensor(&self, expert: usize) -> String {
        if self.apart { apart(&self.name, expert) } else { self.name.clone() }
    }
}

/// The name of the tensor of one expert in files from before there were stacks.
fn apart(stack: &str, expert: usize) -> String {
    stack.replace("_exps.", &format!(".{expert}."))
}

/// A matrix as it will be multiplied.
enum Weights {
    Ternary(TernaryMatrix),
    Dense(PackedDense),
}

/// The first and the last `m` rows of a matrix `[2 m, k]`.
fn halves(matrix: &Matrix, m: usize, k: usize) -> Result<[Matrix; 2], ModelError> {
    let half = |first: usize| match matrix {
        Matrix::Ternary(ternary) => {
            let rows = ternary.rows(first..first + m).map_err(|e| ModelError::shape(e.to_string()))?;
            Ok(Matrix::Ternary(rows.coarsened()))
        }
        Matrix::Dense(dense) => {
            let range = first * k..(first + m) * k;
            let values = match dense.data() {
                DenseData::F32(values) => DenseData::F32(values[range].to_vec()),
                DenseData::F16(values) => DenseData::F16(values[range].to_vec()),
                DenseData::BF16(values) => DenseData::BF16(values[range].to_vec()),
            };
            dense_matrix(m, k, values).map(Matrix::Dense)
        }
    };
    Ok([half(0)?, half(m)?])
}

/// The ternary matrix that some tool has written out as floats.
fn ternary(dense: &DenseMatrix) -> Option<TernaryMatrix> {
    written_out(&dense.widened(), dense.rows(), dense.cols())
}
