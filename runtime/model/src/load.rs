//! From the tensors of a checkpoint to the blocks of a model: every shape is checked, every weight packed once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use craftsman_golden::{Scales, TernaryMatrix};
use craftsman_kernelgen::float::{DenseMatrix, PackedDense};
use craftsman_kernelgen::{Epilogue, KernelCompiler, LinearOptions};

use crate::architecture::{Activation, Architecture, QueryKeyNorms};
use crate::config::{ExpertConfig, ModelConfig};
use crate::container::{Checkpoint, Matrix};
use crate::layer::{Attention, Block, Entry, Experts, FeedForward, Gated, Linear, Norm};
use crate::{ErrorKind, ModelError};

/// Reads the tensors of one checkpoint, and remembers which it has read.
pub(crate) struct Loader<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) row: &'static Architecture,
    pub(crate) config: &'a ModelConfig,
    pub(crate) compiler: &'a KernelCompiler,
    read: Mutex<BTreeSet<String>>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        row: &'static Architecture,
        config: &'a ModelConfig,
        compiler: &'a KernelCompiler,
    ) -> Self {
        Self { checkpoint, row, config, compiler, read: Mutex::default() }
    }

    /// Block number `layer`.
    pub(crate) fn block(&self, layer: usize) -> Result<Block, ModelError> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let hidden = self.config.hidden;
        Ok(Block {
            attention_norm: self.norm(&name("attn_norm"), hidden)?,
            attention: self.attention(&name)?,
            ffn_norm: self.norm(&name("ffn_norm"), hidden)?,
            ffn: match self.config.experts.filter(|_| self.checkpoint.has(&name("ffn_gate_inp"))) {
                Some(experts) => FeedForward::Experts(self.experts(&name, experts)?),
                None => FeedForward::Dense(Box::new(self.gated(&name)?)),
            },
        })
    }

    fn attention(&self, name: &dyn Fn(&str) -> String) -> Result<Attention, ModelError> {
        let config = self.config;
        let (hidden, query, kv) = (config.hidden, config.query_width(), config.kv_width());
        let norm = |part, full| {
            let width = match self.row.query_key_norms {
                QueryKeyNorms::None => return Ok(None),
                QueryKeyNorms::Head => config.head_dim,
                QueryKeyNorms::Full => full,
            };
            self.norm(&name(part), width).map(Some)
        };
        Ok(Attention {
            q: self.projection(&name("attn_q"), [query, hidden])?,
            k: self.projection(&name("attn_k"), [kv, hidden])?,
            v: self.projection(&name("attn_v"), [kv, hidden])?,
            o: self.adding(&name("attn_output"), [hidden, query])?,
            q_norm: norm("attn_q_norm", query)?,
            k_norm: norm("attn_k_norm", kv)?,
            sub_norm: self.norm_if(self.row.sub_norms, &name("attn_sub_norm"), query)?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            pairing: config.rope.pairing,
        })
    }

    fn gated(&self, name: &dyn Fn(&str) -> String) -> Result<Gated, ModelError> {
        let (hidden, ffn) = (self.config.hidden, self.config.ffn);
        let (gate, up) = (name("ffn_gate"), name("ffn_up"));
        Ok(Gated {
            entry: self.entry(
                [&gate, &up],
                [self.matrix(&gate, [ffn, hidden])?, self.matrix(&up, [ffn, hidden])?],
            )?,
            down: self.adding(&name("ffn_down"), [hidden, ffn])?,
            activation: self.config.activation,
            sub_norm: self.norm_if(self.row.sub_norms, &name("ffn_sub_norm"), ffn)?,
        })
    }

    fn experts(&self, name: &dyn Fn(&str) -> String, config: ExpertConfig) -> Result<Experts, ModelError> {
        let (hidden, ffn) = (self.config.hidden, config.ffn);
        let router = self.dense(&name("ffn_gate_inp"), [config.count, hidden])?;
        let [gate, up, down] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"].map(name);
        let stack = |name, m, k| self.stack(name, [config.count, m, k]);
        let (gates, ups) = (stack(&gate, ffn, hidden)?, stack(&up, ffn, hidden)?);
        let downs = stack(&down, hidden, ffn)?;
        let activation = self.config.activation;
        let experts = gates.into_iter().zip(ups).zip(downs).map(|((g, u), d)| {
            let entry = self.entry([&gate, &up], [g, u])?;
            Ok(Gated { entry, down: self.linear(&down, d, Epilogue::None)?, activation, sub_norm: None })
        });
        let experts: Result<_, ModelError> = experts.collect();
        Ok(Experts::new(Linear::Dense(Arc::new(router)), experts?, config))
    }

    /// One RMS norm over `width` values.
    pub(crate) fn norm(&self, name: &str, width: usize) -> Result<Norm, ModelError> {
        self.check(name, &[width])?;
        Ok(Norm { weight: self.checkpoint.vector(name)?, epsilon: self.config.epsilon })
    }

    fn norm_if(&self, present: bool, name: &str, width: usize) -> Result<Option<Norm>, ModelError> {
        present.then(|| self.norm(name, width)).transpose()
    }

    /// A matrix that is never ternary: embedding, head, router.
    pub(crate) fn dense(&self, name: &str, shape: [usize; 2]) -> Result<PackedDense, ModelError> {
        self.check(name, &shape)?;
        Ok(PackedDense::new(&self.checkpoint.dense(name)?))
    }

    /// Divisors of the rope frequencies, if the file keeps any.
    pub(crate) fn rope_divisors(&self) -> Result<Option<Vec<f32>>, ModelError> {
        let name = "rope_freqs.weight";
        if !self.checkpoint.has(name) {
            return Ok(None);
        }
        self.check(name, &[self.config.rope.dims / 2])?;
        self.checkpoint.vector(name).map(Some)
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
        Ok(self.weights(self.checkpoint.matrix(name)?))
    }

    fn stack(&self, name: &str, shape: [usize; 3]) -> Result<Vec<Weights>, ModelError> {
        self.check(name, &shape)?;
        let experts = self.checkpoint.experts(name)?;
        Ok(experts.into_iter().map(|matrix| self.weights(matrix)).collect())
    }

    /// Ternary where it is or can be.
    fn weights(&self, matrix: Matrix) -> Weights {
        match matrix {
            Matrix::Ternary(ternary) => Weights::Ternary(ternary),
            Matrix::Dense(dense) => match self.row.ternary.then(|| written_out(&dense)).flatten() {
                Some(ternary) => Weights::Ternary(ternary),
                None => Weights::Dense(PackedDense::new(&dense)),
            },
        }
    }

    /// A projection; only the kernels of ternary ones have epilogues.
    fn linear(&self, name: &str, weights: Weights, epilogue: Epilogue) -> Result<Linear, ModelError> {
        match weights {
            Weights::Dense(dense) => Ok(Linear::Dense(Arc::new(dense))),
            Weights::Ternary(ternary) => self.fused(name, &[&ternary], epilogue),
        }
    }

    /// Gate and up in one kernel, if both are ternary and alike.
    fn entry(&self, names: [&str; 2], weights: [Weights; 2]) -> Result<Entry, ModelError> {
        let [gate, up] = weights;
        if let (Weights::Ternary(gate), Weights::Ternary(up)) = (&gate, &up)
            && gate.granularity() == up.granularity()
        {
            let epilogue = match self.config.activation {
                Activation::Silu => Epilogue::Silu,
                Activation::Relu2 => Epilogue::Relu2,
            };
            return Ok(Entry::Fused(self.fused(names[0], &[gate, up], epilogue)?));
        }
        let [gate, up] = [(names[0], gate), (names[1], up)]
            .map(|(name, weights)| self.linear(name, weights, Epilogue::None));
        Ok(Entry::Apart { gate: gate?, up: up? })
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
            .map_err(|source| {
                let problem = format!("no kernel could be made for it: {source}");
                let remedy = "this is a bug: please report it with this message";
                self.place(ModelError::new(ErrorKind::Kernel, problem, remedy).because(source), name)
            })?;
        Ok(Linear::Ternary(linear))
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
        let Some(unread) = self.checkpoint.tensors().find(|tensor| !read.contains(&tensor.name)) else {
            return Ok(());
        };
        let problem = format!("the graph of `{}` has no place for it", self.config.architecture);
        let remedy = "this variant of the architecture needs a newer version";
        Err(self.place(ModelError::new(ErrorKind::Unsupported, problem, remedy), &unread.name))
    }

    fn place(&self, error: ModelError, tensor: &str) -> ModelError {
        error.in_file(self.checkpoint.path()).tensor(tensor)
    }
}

/// A matrix as it will be multiplied.
enum Weights {
    Ternary(TernaryMatrix),
    Dense(PackedDense),
}

/// The ternary matrix that some tool has written out as floats: every value is `-s`, `0` or `+s` for one `s`.
fn written_out(dense: &DenseMatrix) -> Option<TernaryMatrix> {
    let values = dense.widened();
    let scale = values.iter().copied().find(|&value| value != 0.0)?.abs();
    if !scale.is_finite() || values.iter().any(|value| *value != 0.0 && value.abs() != scale) {
        return None;
    }
    let trits = values.iter().map(|&value| if value == 0.0 { 0 } else { value.signum() as i8 }).collect();
    TernaryMatrix::new(dense.rows(), dense.cols(), trits, Scales::Tensor(scale)).ok()
}
