//! Quantising a trained model to trits, without training it again.
//!
//! Two ways. **Absmean** is the rule of BitNet b1.58: a scale is the mean magnitude of its weights, a trit the nearest
//! multiple. It looks at nothing but the weights. **Calibrated** looks at what the projections are given: a text goes
//! through the model block by block, and for each projection the second moments `H = X^T X` of its inputs are taken down.
//! Scales, and with them the thresholds at half a scale, then minimise `sum h_j (w_j - s t_j)^2`, and each row is rounded
//! column by column, where what a column lost is made up for in those after it, as far as inputs go together: the sum that
//! is minimised is that of the projection's outputs, `(w - s t) H (w - s t)^T`. This is post-training quantisation as of
//! PT-BitNet (2025), with the rounding of GPTQ (arXiv 2210.17323) in the form that `QuIP` gives it (arXiv 2307.13304, "LDLQ").
//!
//! Memory holds one block of the model, its moments, and one matrix. The same input gives the same bytes, for any number
//! of threads: every sum has one order.

mod calibration;
mod factor;
mod moments;
mod policy;
mod report;
mod round;

use std::cell::RefCell;
use std::path::Path;

use craftsman_golden::quantize::{ScaleStorage, absmean_stored};
use craftsman_golden::{Granularity, TernaryMatrix};
use craftsman_model::container::{Checkpoint, Conversion, DenseMatrix, Quantizer, TensorInfo};
use craftsman_model::{ErrorKind, ModelError};

pub use calibration::Calibration;
pub use policy::Policy;
pub use report::{Report, TensorReport};

use calibration::Calibrator;
use report::Measured;
use round::{Rounded, Rounding};

/// How far a scale reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleReach {
    /// As few weights as the type allows: a block, or the whole matrix.
    Finest,
    /// A row.
    Row,
    /// The whole matrix, as BitNet b1.58 is trained.
    Tensor,
}

/// A quantisation to be done.
///
/// ```no_run
/// use craftsman_model::{container::Checkpoint, tokenizer::Tokenizer};
/// use craftsman_train::quantize::{Calibration, Quantization};
/// let checkpoint = Checkpoint::open("model-f16.gguf".as_ref())?;
/// let tokenizer = Tokenizer::from_checkpoint(&checkpoint)?;
/// let tokens = tokenizer.encode(&std::fs::read_to_string("text.txt").unwrap(), false)?;
/// let report = Quantization::to("tq2_0")?
///     .calibrated(Calibration::windows(&tokens, tokenizer.bos(), 4096))
///     .write(&checkpoint, "model-tq2_0.gguf".as_ref())?;
/// for tensor in &report.tensors {
///     println!("{} {:.3}", tensor.name, tensor.weight_error);
/// }
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
pub struct Quantization<'a> {
    target: String,
    reach: ScaleReach,
    policy: Policy,
    calibration: Option<Calibration>,
    progress: Option<&'a dyn Fn(usize, usize)>,
}

impl<'a> Quantization<'a> {
    /// A quantisation to the ternary type called `name`, in letters of any case, by absmean, with the usual policy.
    pub fn to(name: &str) -> Result<Self, ModelError> {
        if !Conversion::to(name)?.target().is_ternary() {
            let problem = format!("`{}` stores numbers", name.escape_debug());
            let remedy = "use one of tq1_0, tq2_0, i2_s, q2_0, bitnet_t158; convert writes types of numbers";
            return Err(ModelError::new(ErrorKind::Input, problem, remedy));
        }
        Ok(Self {
            target: name.to_owned(),
            reach: ScaleReach::Finest,
            policy: Policy::default(),
            calibration: None,
            progress: None,
        })
    }

    /// How far a scale reaches.
    #[must_use]
    pub fn with_reach(mut self, reach: ScaleReach) -> Self {
        self.reach = reach;
        self
    }

    /// Which tensors become ternary.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Lets scales and trits fit what the projections are given in `calibration`.
    #[must_use]
    pub fn calibrated(mut self, calibration: Calibration) -> Self {
        self.calibration = Some(calibration);
        self
    }

    /// Calls `progress` with the weights written so far and those of the model.
    #[must_use]
    pub fn with_progress(mut self, progress: &'a dyn Fn(usize, usize)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Writes `checkpoint` to `path`, which appears complete or not at all.
    pub fn write(&self, checkpoint: &Checkpoint, path: &Path) -> Result<Report, ModelError> {
        let conversion = Conversion::to(&self.target)?.rounding_scales(true);
        let target = conversion.target();
        let granularity = match self.reach {
            ScaleReach::Finest if !target.has_tensor_scale() => Granularity::Block(target.block_len()),
            ScaleReach::Row if !target.has_tensor_scale() => Granularity::Row,
            ScaleReach::Tensor | ScaleReach::Finest => Granularity::Tensor,
            ScaleReach::Row => {
                let problem = format!("{} has one scale for a whole tensor", target.name());
                let remedy = "choose a type with scales of blocks (tq2_0, tq1_0, q2_0), or the reach tensor";
                return Err(ModelError::new(ErrorKind::Input, problem, remedy));
            }
        };
        let calibrator =
            self.calibration.as_ref().map(|texts| Calibrator::new(checkpoint, texts)).transpose()?;
        let maker = Maker {
            policy: &self.policy,
            granularity,
            storage: target.scale_storage().unwrap_or(ScaleStorage::F32),
            calibrator: calibrator.map(RefCell::new),
            measured: RefCell::default(),
        };
        let mut conversion = conversion.quantizing_by(&maker);
        if let Some(progress) = self.progress {
            conversion = conversion.with_progress(progress);
        }
        let kept = conversion.write(checkpoint, path)?.kept;
        Ok(maker.measured.into_inner().report(kept))
    }
}

/// Makes the trits of one conversion, and takes down how well they fit.
struct Maker<'a> {
    policy: &'a Policy,
    granularity: Granularity,
    storage: ScaleStorage,
    calibrator: Option<RefCell<Calibrator>>,
    measured: RefCell<Measured>,
}

impl Quantizer for Maker<'_> {
    fn takes(&self, tensor: &TensorInfo) -> bool {
        self.policy.takes(tensor)
    }

    fn quantize(
        &self,
        tensor: &str,
        expert: usize,
        weights: &DenseMatrix,
    ) -> Result<TernaryMatrix, ModelError> {
        let (m, k) = (weights.rows(), weights.cols());
        let numbers = weights.widened();
        let mut calibrator = self.calibrator.as_ref().map(RefCell::borrow_mut);
        let metric = match &mut calibrator {
            Some(calibrator) => calibrator.metric(tensor, expert, k)?,
            None => None,
        };
        let unfit = |source: craftsman_golden::quantize::QuantizeError| {
            let remedy = "the weights are damaged, or too large for the scales of the type: choose another";
            ModelError::new(ErrorKind::Input, source.to_string(), remedy).because(source).tensor(tensor)
        };
        let rounded = if let Some(metric) = metric {
            let rounding = Rounding { m, k, granularity: self.granularity, storage: self.storage };
            rounding.run(&numbers, metric).map_err(unfit)?
        } else {
            let matrix = absmean_stored(&numbers, m, k, self.granularity, self.storage).map_err(unfit)?;
            Rounded { matrix, output: None }
        };
        let missed = calibrator.is_some() && rounded.output.is_none();
        self.measured.borrow_mut().add(tensor, &numbers, &rounded, missed);
        Ok(rounded.matrix)
    }
}
