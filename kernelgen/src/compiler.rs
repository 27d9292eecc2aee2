//! From a matrix to kernels that run it: select, emit, verify, and remember by shape.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use craftsman_golden::quants::QuantMatrix;
use craftsman_golden::{Granularity, TernaryMatrix};
use craftsman_isa::HardwareCaps;
use serde::Serialize;

use crate::code::{Code, EmitError};
use crate::config::KernelConfig;
use crate::cost::Environment;
use crate::float::{DenseMatrix, HalfKind, PackedDense};
use crate::host;
use crate::kernel::{Candidate, Kernel, emit};
use crate::key::{Batch, KernelKey, NameError};
use crate::linear::{LinearOptions, TernaryLinear};
use crate::packed::Layout;
use crate::quantizer::{Quantizer, QuantizerKey};
use crate::quants::{QuantKernel, QuantKey, QuantLinear};
use crate::selector::offers;
use crate::tuning::{Residence, Tuning};
use crate::verify::{VerifyError, verify};

/// The seed of the inputs that kernels are verified with at load; any would do.
pub const VERIFY_SEED: u64 = 0x00C0_FFEE;

/// Why a matrix has no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The shape is out of range.
    #[error("no kernel for a {m} x {k} matrix: {error}")]
    Shape {
        /// Rows.
        m: usize,
        /// Columns.
        k: usize,
        /// What is out of range.
        error: NameError,
    },
    /// Every candidate was dropped; the portable one always exists, so this is a bug or lack of memory.
    #[error(
        "no kernel for {key}: every candidate failed, the last with: {last}; please report this with the log"
    )]
    NoCandidate {
        /// What was asked for.
        key: KernelKey,
        /// Why the last candidate was dropped.
        last: String,
    },
    /// No backend multiplies with blocks of integers rightly; the portable one always exists, so this is a bug.
    #[error("no code for a {kind} matrix of {m} x {k}: {error}; please report this with the log")]
    NoQuant {
        /// How the matrix is stored.
        kind: &'static str,
        /// Rows.
        m: usize,
        /// Columns.
        k: usize,
        /// Why the last backend was dropped.
        error: EmitError,
    },
    /// Matrices that one kernel is to multiply with differ in shape or granularity, or are not as many as it takes.
    #[error(
        "a gate/up pair must be two matrices of one shape and scale granularity, anything else one matrix"
    )]
    Pair,
    /// No memory for the packed weights.
    #[error("no memory for the packed weights of a {m} x {k} matrix: {error}")]
    Memory {
        /// Rows.
        m: usize,
        /// Columns.
        k: usize,
        /// What the operating system says.
        error: std::io::Error,
    },
}

/// The kernels of one shape, by batch class: they read the same packed weights.
#[derive(Debug)]
pub(crate) struct Kernels {
    by_batch: [Kernel; Batch::ALL.len()],
    quantizer: Arc<Quantizer>,
}

impl Kernels {
    /// The kernel for a batch class.
    pub(crate) fn of(&self, batch: Batch) -> &Kernel {
        &self.by_batch[batch as usize]
    }

    /// What quantises their input.
    pub(crate) fn quantizer(&self) -> &Quantizer {
        &self.quantizer
    }

    /// The kernel for one token.
    pub(crate) fn decode(&self) -> &Kernel {
        self.of(Batch::Decode)
    }
}

/// What kernels are shared by: the decode key, and what was preferred.
type Shape = (KernelKey, Vec<KernelConfig>);

/// What became of a key.
#[derive(Debug, Clone, Serialize)]
pub struct KernelReport {
    /// What was asked for.
    pub key: KernelKey,
    /// What was selected.
    pub config: KernelConfig,
    /// Size of its machine code in bytes.
    pub code_bytes: usize,
    /// How long its emission took, candidates that were dropped not counted.
    pub emit: Duration,
    /// How long its verification took.
    pub verify: Duration,
}

/// Sees the code of every candidate before it is made executable. For tests that plant mistakes.
pub type CodeFilter = Box<dyn Fn(&KernelConfig, &mut Code) + Send + Sync>;

/// Emits kernels for one processor, verifies and selects them, and shares them among matrices of one shape.
///
/// ```
/// use craftsman_golden::{Scales, TernaryMatrix};
/// use craftsman_isa::HardwareCaps;
/// use craftsman_kernelgen::{Activations, KernelCompiler, OutputMatrix};
///
/// let compiler = KernelCompiler::new(HardwareCaps::detect());
/// let weights = TernaryMatrix::new(2, 3, vec![1, 0, -1, 1, 1, 1], Scales::Tensor(0.5))?;
/// let linear = compiler.linear(&weights)?;
///
/// let mut x = Activations::new();
/// x.quantize(linear.quantizer(), &[10.0, 20.0, 127.0], 1)?; // to 10, 20, 127 with a = 1
/// linear.prepare(&mut x);
/// let mut y = [0.0; 2];
/// linear.run(&x, &mut OutputMatrix::new(&mut y, 1, 2).whole());
/// assert_eq!(y, [-58.5, 78.5]); // (10 - 127, 10 + 20 + 127) * 0.5 / 1
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KernelCompiler {
    caps: HardwareCaps,
    filter: Option<CodeFilter>,
    tuning: Arc<Tuning>,
    residence: Residence,
    threads: usize,
    known: Mutex<HashMap<Shape, Arc<Kernels>>>,
    quantizers: Mutex<HashMap<QuantizerKey, Arc<Quantizer>>>,
    quants: Mutex<HashMap<QuantKey, Arc<QuantKernel>>>,
    reports: Mutex<Vec<KernelReport>>,
}

impl std::fmt::Debug for KernelCompiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelCompiler").field("caps", &self.caps).finish_non_exhaustive()
    }
}

impl KernelCompiler {
    /// A compiler for `caps`, or rather for what of it this processor really has: its kernels will run here.
    pub fn new(caps: HardwareCaps) -> Self {
        let caps = host::within(caps);
        Self {
            threads: caps.physical_cores.max(1) as usize,
            caps,
            filter: None,
            tuning: Arc::default(),
            residence: Residence::Dram,
            known: Mutex::default(),
            quantizers: Mutex::default(),
            quants: Mutex::default(),
            reports: Mutex::default(),
        }
    }

    /// As [`new`](Self::new), but `filter` sees, and may change, all code before it is made executable and verified.
    pub fn with_filter(caps: HardwareCaps, filter: CodeFilter) -> Self {
        Self { filter: Some(filter), ..Self::new(caps) }
    }

    /// Prefers what was found to be the fastest on this machine, where something was.
    #[must_use]
    pub fn with_tuning(self, tuning: Arc<Tuning>) -> Self {
        Self { tuning, ..self }
    }

    /// Says where the weights will be when kernels read them, which tuning answers depend on: in main memory, unless
    /// said otherwise, as those of a model larger than the caches are.
    #[must_use]
    pub fn with_residence(self, residence: Residence) -> Self {
        Self { residence, ..self }
    }

    /// Says how many threads will divide a matrix among them, which tuning answers depend on: as many as there are
    /// cores, unless said otherwise.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// The processor that kernels are emitted for.
    pub fn caps(&self) -> &HardwareCaps {
        &self.caps
    }

    /// What was selected so far, in the order in which it was asked for.
    pub fn selected(&self) -> Vec<KernelReport> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Packs a matrix for the best kernels of its shape; these are emitted and verified when the shape is new.
    ///
    /// # Errors
    /// When the shape is out of range, memory runs out, or, which is a bug, no candidate computes rightly.
    pub fn linear(&self, weights: &TernaryMatrix) -> Result<TernaryLinear, KernelError> {
        self.linear_with(&[weights], LinearOptions::default())
    }

    /// As [`linear`](Self::linear), with `options`: for an [epilogue of a pair](crate::Epilogue::is_pair) of two
    /// matrices of one shape and granularity, gate and up, else of one.
    ///
    /// # Errors
    /// As [`linear`](Self::linear), and when the matrices do not fit together.
    pub fn linear_with(
        &self,
        weights: &[&TernaryMatrix],
        options: LinearOptions<'_>,
    ) -> Result<TernaryLinear, KernelError> {
        let LinearOptions { epilogue, activation_bits, preferred } = options;
        let first = weights.first().ok_or(KernelError::Pair)?;
        let shape = |w: &TernaryMatrix| (w.m(), w.k(), w.granularity());
        let (m, k, scales) = shape(first);
        let key = KernelKey { activation_bits, epilogue, ..KernelKey::new(m, k, Batch::Decode, scales) };
        if weights.len() != key.matrices() || weights.iter().any(|w| shape(w) != shape(first)) {
            return Err(KernelError::Pair);
        }
        let kernels = self.kernels(&key, preferred)?;
        TernaryLinear::pack(weights, kernels).map_err(|error| KernelError::Memory { m, k, error })
    }

    fn kernels(&self, decode: &KernelKey, preferred: &[KernelConfig]) -> Result<Arc<Kernels>, KernelError> {
        let shape = (*decode, preferred.to_vec());
        // One lock for lookup and compilation, so that a shape is compiled once however many threads ask for it.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernels) = known.get(&shape) {
            return Ok(Arc::clone(kernels));
        }
        decode.check().map_err(|error| KernelError::Shape { m: decode.m, k: decode.k, error })?;
        let kernels = Arc::new(self.select(decode, preferred)?);
        known.insert(shape, Arc::clone(&kernels));
        Ok(kernels)
    }

    /// The first decode kernel that is right and for whose layout there are kernels of the other batch classes.
    fn select(&self, key: &KernelKey, preferred: &[KernelConfig]) -> Result<Kernels, KernelError> {
        let quantizer = self.quantizer(key.k, key.scales, key.activation_bits)?;
        let mut last = "none was tried".to_owned();
        let offers = self.offers(key, preferred);
        for config in &offers[key.batch as usize] {
            let decode = self.build(key, config).map_err(|error| error.to_string());
            match decode.and_then(|decode| self.complete(key, decode, &offers)) {
                Ok(built) => return Ok(self.record(built, quantizer)),
                Err(error) => last = error,
            }
        }
        Err(KernelError::NoCandidate { key: *key, last })
    }

    /// The candidates for each batch class: those in `preferred`, those that read the same packed weights, the rest.
    fn offers(&self, key: &KernelKey, preferred: &[KernelConfig]) -> [Vec<KernelConfig>; Batch::ALL.len()] {
        let layout = |config: &KernelConfig| config.layout(key).ok();
        let layouts: Vec<_> = preferred.iter().filter_map(layout).collect();
        let environment = Environment { residence: self.residence, threads: self.threads };
        let mut offers = offers(&self.caps, key, environment, &self.tuning);
        for configs in &mut offers {
            configs.sort_by_cached_key(|config| {
                (!preferred.contains(config), !layout(config).is_some_and(|layout| layouts.contains(&layout)))
            });
        }
        offers
    }

    /// The kernels that go with a decode kernel.
    fn complete(
        &self,
        key: &KernelKey,
        decode: Built,
        offers: &[Vec<KernelConfig>; Batch::ALL.len()],
    ) -> Result<[Built; 3], String> {
        let layout = *decode.0.layout();
        let [small, prefill] = [Batch::Small, Batch::Prefill]
            .map(|batch| self.reading(&layout, &KernelKey { batch, ..*key }, &offers[batch as usize]));
        Ok([decode, small?, prefill?])
    }

    /// The first of `offered` that is right and reads `layout`.
    fn reading(&self, layout: &Layout, key: &KernelKey, offered: &[KernelConfig]) -> Result<Built, String> {
        let mut last = format!("no {} kernel reads {layout:?}", key.batch);
        for config in offered {
            if config.layout(key).as_ref() == Ok(layout) {
                match self.build(key, config) {
                    Ok(built) => return Ok(built),
                    Err(error) => last = error.to_string(),
                }
            }
        }
        Err(last)
    }

    /// One kernel, verified; for tuning, which times it.
    pub(crate) fn verified(&self, key: &KernelKey, config: &KernelConfig) -> Result<Kernel, VerifyError> {
        self.build(key, config).map(|Built(kernel, _)| kernel)
    }

    /// Emits and verifies one candidate. Failure is logged: loudly when the kernel is wrong.
    fn build(&self, key: &KernelKey, config: &KernelConfig) -> Result<Built, VerifyError> {
        let built = self.try_build(key, config, VERIFY_SEED);
        match &built {
            Ok(Built(_, report)) => {
                tracing::debug!(name: "KernelVerified", %key, %config, emit = ?report.emit, verify = ?report.verify);
            }
            Err(VerifyError::Emit(error)) => tracing::debug!(name: "KernelDropped", %key, %config, %error),
            Err(error) => tracing::error!(name: "KernelMismatch", %key, %config, "{error}"),
        }
        built
    }

    fn try_build(&self, key: &KernelKey, config: &KernelConfig, seed: u64) -> Result<Built, VerifyError> {
        let (backend, _) = config.parts()?;
        if !backend.runs_on(&self.caps) {
            return Err(EmitError::new(format_args!("this processor cannot run {}", config.backend)).into());
        }
        let start = Instant::now();
        let mut code = emit(key, config, &self.caps)?;
        if let Some(filter) = &self.filter {
            filter(config, &mut code.product);
        }
        let candidate = Candidate::new(*key, *config, &code)?;
        let emitted = start.elapsed();
        let kernel = verify(candidate, seed)?;
        let (emit, verify) = (emitted, start.elapsed().saturating_sub(emitted));
        let report =
            KernelReport { key: *key, config: *config, code_bytes: code.product.bytes.len(), emit, verify };
        Ok(Built(kernel, report))
    }

    fn record(&self, built: [Built; 3], quantizer: Arc<Quantizer>) -> Kernels {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let by_batch = built.map(|Built(kernel, report)| {
            tracing::info!(name: "KernelSelected", key = %report.key, config = %report.config);
            reports.push(report);
            kernel
        });
        Kernels { by_batch, quantizer }
    }

    /// Packs a matrix of numbers.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn dense(&self, matrix: &DenseMatrix) -> Result<PackedDense, KernelError> {
        let (m, k) = (matrix.rows(), matrix.cols());
        PackedDense::new(matrix, self.threads).map_err(|error| KernelError::Memory { m, k, error })
    }

    /// Packs `m` rows of `k` numbers of sixteen bits, in the bytes of a file.
    ///
    /// # Errors
    /// When there are not as many, or memory runs out.
    pub fn halves(
        &self,
        kind: HalfKind,
        m: usize,
        k: usize,
        bytes: &[u8],
    ) -> Result<PackedDense, KernelError> {
        PackedDense::from_halves(kind, m, k, bytes, self.threads).map_err(|error| KernelError::Memory {
            m,
            k,
            error,
        })
    }

    /// Packs a matrix of blocks of integers for the code of its shape, which is emitted and verified when the shape is
    /// new.
    ///
    /// # Errors
    /// When the shape is out of range, memory runs out, or, which is a bug, no backend computes rightly.
    pub fn quantized(&self, matrix: &QuantMatrix) -> Result<QuantLinear, KernelError> {
        let (m, k) = (matrix.m(), matrix.k());
        let quantizer = self.quantizer(k, Granularity::Block(matrix.kind().block), 8)?;
        let mut known = self.quants.lock().unwrap_or_else(PoisonError::into_inner);
        let kernel = match known.entry(QuantKey::of(matrix)) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => {
                let kernel = QuantKernel::new(matrix, &self.caps, &quantizer)
                    .map_err(|error| KernelError::NoQuant { kind: matrix.kind().name, m, k, error })?;
                Arc::clone(place.insert(Arc::new(kernel)))
            }
        };
        drop(known);
        QuantLinear::pack(matrix, kernel, self.threads).map_err(|error| KernelError::Memory { m, k, error })
    }

    /// The quantiser of an input that meets matrices of `k` columns with such scales, to `bits` bits: 8, or 4.
    ///
    /// # Errors
    /// When no backend quantises rightly, which is a bug, or there is no executable memory.
    pub fn quantizer(&self, k: usize, scales: Granularity, bits: u8) -> Result<Arc<Quantizer>, KernelError> {
        let key = KernelKey { activation_bits: bits, ..KernelKey::new(1, k, Batch::Decode, scales) };
        key.check_input().map_err(|error| KernelError::Shape { m: 1, k, error })?;
        let mut known = self.quantizers.lock().unwrap_or_else(PoisonError::into_inner);
        match known.entry(QuantizerKey::of(&key)) {
            Entry::Occupied(known) => Ok(Arc::clone(known.get())),
            Entry::Vacant(place) => {
                let quantizer = Quantizer::new(*place.key(), &self.caps)
                    .map_err(|error| KernelError::NoCandidate { key, last: error.to_string() })?;
                Ok(Arc::clone(place.insert(Arc::new(quantizer))))
            }
        }
    }
}

/// Emits one kernel for `caps`, as far as this processor has them, and checks it against golden on the inputs of `seed`.
///
/// # Errors
/// When this processor cannot run it, it cannot be emitted, or it computes something else.
pub fn verify_native(
    key: &KernelKey,
    config: &KernelConfig,
    caps: &HardwareCaps,
    seed: u64,
) -> Result<KernelReport, VerifyError> {
    KernelCompiler::new(caps.clone()).try_build(key, config, seed).map(|Built(_, report)| report)
}

/// A verified kernel and what it took.
struct Built(Kernel, KernelReport);
