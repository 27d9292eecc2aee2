//! A checkpoint written again, as one GGUF file, with weights of another type.
//!
//! What is ternary stays exactly what it is in every ternary type, and in a type of numbers as far as that holds it. A
//! plan says of each tensor what becomes of it before anything is written; then tensors are made one by one while the
//! file is written, in runs of rows or as matrices of a stack, so that memory never holds more than one of them.

mod metadata;
mod tensor;

use std::cell::Cell;
use std::io::Write;
use std::path::Path;

use craftsman_golden::TernaryMatrix;
use craftsman_golden::format::Format;
use craftsman_kernelgen::float::DenseMatrix;

use super::TensorInfo;
use super::checkpoint::{Checkpoint, ContainerKind, is_never_ternary};
use super::decode;
use super::part::{Encoding, Part};
use super::types::TensorType;
use crate::architecture::Architecture;
use crate::{ErrorKind, ModelError};
use tensor::TensorSource;

/// What to convert to, and how.
///
/// ```no_run
/// use craftsman_model::container::{Checkpoint, Conversion};
/// let checkpoint = Checkpoint::open("model-i2_s.gguf".as_ref())?;
/// Conversion::to("tq2_0")?.write(&checkpoint, "model-tq2_0.gguf".as_ref())?;
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
pub struct Conversion<'a> {
    target: &'static Format,
    round_scales: bool,
    quantizer: Option<&'a dyn Quantizer>,
    progress: Option<&'a dyn Fn(usize, usize)>,
}

/// Makes trits of weights that are none yet.
pub trait Quantizer {
    /// Whether a tensor of numbers is to become ternary.
    fn takes(&self, tensor: &TensorInfo) -> bool;

    /// The trits and scales of one matrix of the tensor `tensor`, its number in a stack of experts being `expert`. Matrices
    /// come in the order of the blocks.
    fn quantize(
        &self,
        tensor: &str,
        expert: usize,
        weights: &DenseMatrix,
    ) -> Result<TernaryMatrix, ModelError>;
}

/// What a conversion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Tensors written with another type than they had.
    pub converted: usize,
    /// Tensors written as they were.
    pub kept: usize,
}

/// What becomes of a tensor.
#[derive(Clone, Copy)]
enum Plan {
    /// It stays of its type.
    Keep(TensorType),
    /// Its numbers, or the products of its trits and scales.
    Numbers(&'static Format),
    /// Its trits and scales.
    Trits(&'static Format),
}

impl Plan {
    fn kind(self) -> TensorType {
        match self {
            Self::Keep(kind) => kind,
            Self::Numbers(format) | Self::Trits(format) => TensorType::Format(format),
        }
    }
}

impl<'a> Conversion<'a> {
    /// A conversion to the type called `name`, in letters of any case, which must be one that is written.
    pub fn to(name: &str) -> Result<Self, ModelError> {
        let target = TensorType::written().find(|format| format.name().eq_ignore_ascii_case(name));
        let target = target.ok_or_else(|| {
            let names: Vec<_> = TensorType::written().map(Format::name).collect();
            let problem = format!("`{}` is no type that can be written", name.escape_debug());
            ModelError::new(ErrorKind::Input, problem, format!("use one of {}", names.join(", ")))
        })?;
        Ok(Self { target, round_scales: false, quantizer: None, progress: None })
    }

    /// Rounds scales to what the type stores, instead of refusing those that would change.
    #[must_use]
    pub fn rounding_scales(mut self, round: bool) -> Self {
        self.round_scales = round;
        self
    }

    /// The type that is converted to.
    pub fn target(&self) -> &'static Format {
        self.target
    }

    /// Lets `quantizer` make trits of numbers that it takes.
    #[must_use]
    pub fn quantizing_by(mut self, quantizer: &'a dyn Quantizer) -> Self {
        self.quantizer = Some(quantizer);
        self
    }

    /// Calls `progress` with the weights written so far and those of the model.
    #[must_use]
    pub fn with_progress(mut self, progress: &'a dyn Fn(usize, usize)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Writes `checkpoint` to `path`, which appears complete or not at all. The same input gives the same bytes.
    pub fn write(&self, checkpoint: &Checkpoint, path: &Path) -> Result<Converted, ModelError> {
        let infos: Vec<&TensorInfo> = checkpoint.tensors().collect();
        refuse_own_files(checkpoint, infos.len(), path)?;
        let plans = infos.iter().enumerate().map(|(at, info)| self.fitting_plan(checkpoint, at, info));
        let plans = plans.collect::<Result<Vec<_>, ModelError>>()?;
        self.refuse_without_trits(checkpoint, &plans)?;
        let total = infos.iter().map(|info| info.shape.iter().product::<usize>()).sum();
        let advance = Advance { progress: self.progress, done: Cell::new(0), total };
        let heads = Heads::of(checkpoint)?;
        let divisors = metadata::rope_divisors(checkpoint)?;
        let mut writer = metadata::writer(checkpoint, self.target, divisors.is_some())?;
        if let Some(divisors) = &divisors {
            let bytes: Vec<u8> = divisors.iter().flat_map(|divisor| divisor.to_le_bytes()).collect();
            writer = writer.tensor(metadata::ROPE_DIVISORS, &[divisors.len()], TensorType::F32, bytes);
        }
        for at in self.order(&infos) {
            let (info, plan) = (infos[at], plans[at]);
            let source = TensorSource {
                checkpoint,
                at,
                name: &info.name,
                heads: heads.count(&info.name),
                round_scales: self.round_scales,
                quantizer: self.quantizer.filter(|quantizer| quantizer.takes(info)),
                advance: &advance,
            };
            writer = writer.tensor(&info.name, &info.shape, plan.kind(), move |out: &mut dyn Write| {
                source.write(plan, out)
            });
        }
        writer.write(path)?;
        let kept = plans.iter().filter(|plan| matches!(plan, Plan::Keep(_))).count();
        Ok(Converted { converted: plans.len() - kept, kept })
    }

    /// In which order tensors are written: that of the model; for a quantiser that of the blocks.
    fn order(&self, infos: &[&TensorInfo]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..infos.len()).collect();
        if self.quantizer.is_some() {
            order.sort_by_key(|&at| block(&infos[at].name));
        }
        order
    }

    /// What becomes of tensor `at`; an error when its shape does not fit the new type.
    fn fitting_plan(
        &self,
        checkpoint: &Checkpoint,
        at: usize,
        info: &TensorInfo,
    ) -> Result<Plan, ModelError> {
        let plan = self.plan(checkpoint, at, info)?;
        match plan.kind().bytes_of(&info.shape) {
            Ok(_) => Ok(plan),
            Err(problem) => {
                let error = ModelError::new(ErrorKind::Input, problem, "choose i2_s, q2_0 or f16");
                Err(error.in_file(checkpoint.path()).tensor(&info.name))
            }
        }
    }

    fn plan(&self, checkpoint: &Checkpoint, at: usize, info: &TensorInfo) -> Result<Plan, ModelError> {
        let parts = checkpoint.parts(at);
        let first = &parts[0];
        let place = |error| checkpoint.place_part(at, first, error);
        let stored = match first.encoding {
            Encoding::Stored(kind) => Some(kind),
            Encoding::Online(_) | Encoding::Packed(_) => None,
            Encoding::Unknown(ref name) => return Err(place(decode::undecodable(name))),
        };
        let numbers = stored.filter(|kind| !kind.is_ternary());
        let trits = |target: &'static Format| {
            if target.is_ternary() { Plan::Trits(target) } else { Plan::Numbers(target) }
        };
        match numbers {
            _ if stored == Some(TensorType::Format(self.target)) => {
                Ok(Plan::Keep(TensorType::Format(self.target)))
            }
            None => Ok(trits(self.target)),
            Some(_) if self.quantizer.is_some_and(|quantizer| quantizer.takes(info)) => {
                Ok(trits(self.target))
            }
            Some(kind) if is_small(info) => Ok(widened(kind, checkpoint.kind())),
            Some(_) if !self.target.is_ternary() => Ok(Plan::Numbers(self.target)),
            Some(kind) if is_never_ternary(&info.name) => Ok(Plan::Keep(kind)),
            Some(kind) => {
                let mut all = parts.iter().map(tensor::is_written_out);
                let all = all.try_fold(true, |all, next| next.map(|next| all && next)).map_err(place)?;
                Ok(if all { Plan::Trits(self.target) } else { Plan::Keep(kind) })
            }
        }
    }

    fn refuse_without_trits(&self, checkpoint: &Checkpoint, plans: &[Plan]) -> Result<(), ModelError> {
        let target = TensorType::Format(self.target);
        if !self.target.is_ternary() || plans.iter().any(|plan| plan.kind() == target) {
            return Ok(());
        }
        let problem = format!("holds no ternary weights that {} could store", self.target.name());
        let remedy = "quantise the model first, or convert it to a type of numbers";
        Err(ModelError::new(ErrorKind::Input, problem, remedy).in_file(checkpoint.path()))
    }
}

/// The number of the block that a tensor belongs to, if it belongs to any.
fn block(tensor: &str) -> Option<usize> {
    tensor.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// Norms, biases and routers are small and decide much: they keep their precision.
fn is_small(info: &TensorInfo) -> bool {
    info.shape.len() < 2 || info.name.contains(".ffn_gate_inp.")
}

/// What becomes of something small: GGUF tools expect it in F32, which holds all that folders store.
fn widened(kind: TensorType, container: ContainerKind) -> Plan {
    match TensorType::F32 {
        TensorType::Format(f32) if container == ContainerKind::HuggingFace && kind != TensorType::F32 => {
            Plan::Numbers(f32)
        }
        _ => Plan::Keep(kind),
    }
}

/// Refuses to write over a file that is being read.
fn refuse_own_files(checkpoint: &Checkpoint, tensors: usize, path: &Path) -> Result<(), ModelError> {
    let Ok(out) = path.canonicalize() else { return Ok(()) };
    let is_out = |part: &Part| part.file.canonicalize().is_ok_and(|file| file == out);
    if (0..tensors).all(|at| !checkpoint.parts(at).first().is_some_and(is_out)) {
        return Ok(());
    }
    let remedy = "give the new file another name";
    Err(ModelError::new(ErrorKind::Input, "is the model that is converted", remedy).in_file(path))
}

/// How many heads the rows of queries and keys are divided into, where they must be put in another order.
struct Heads(Option<[u32; 2]>);

impl Heads {
    fn of(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let metadata = checkpoint.metadata();
        let architecture = Architecture::find(checkpoint.architecture());
        let other_order = |row: &Architecture| {
            checkpoint.kind() == ContainerKind::HuggingFace && row.rope.gguf != row.rope.hugging_face
        };
        if !architecture.is_ok_and(other_order) {
            return Ok(Self(None));
        }
        Ok(Self(Some([
            metadata.arch_u32("attention.head_count")?,
            metadata.arch_u32("attention.head_count_kv")?,
        ])))
    }

    fn count(&self, tensor: &str) -> Option<usize> {
        let [queries, keys] = self.0?;
        let of = |name: &str| tensor.contains(&format!(".{name}."));
        let heads = if of("attn_q") {
            queries
        } else if of("attn_k") {
            keys
        } else {
            return None;
        };
        Some(heads as usize)
    }
}

/// How far the writing has come.
struct Advance<'a> {
    progress: Option<&'a dyn Fn(usize, usize)>,
    done: Cell<usize>,
    total: usize,
}

impl Advance<'_> {
    fn by(&self, weights: usize) {
        self.done.set(self.done.get() + weights);
        if let Some(progress) = self.progress {
            progress(self.done.get(), self.total);
        }
    }
}
