//! A loaded model: immutable, shared by its sessions.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use craftsman_golden::float::RopeTable;
use craftsman_golden::quants::QuantKind;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::float::FloatOps;
use craftsman_kernelgen::tuning::Tuning;
use craftsman_kernelgen::{KernelCompiler, KernelReport};

use crate::architecture::Architecture;
use crate::config::ModelConfig;
use crate::container::Checkpoint;
use crate::head::{self, Embedding};
use crate::layer::{Block, Engine, Linear, Norm};
use crate::load::Loader;
use crate::predictor::Predictor;
use crate::routing::RoutingRecorder;
use crate::session::Buffers;
use crate::threads::Threads;
use crate::{ErrorKind, ModelError};

/// How to load a model.
#[derive(Clone, Default)]
pub struct LoadOptions<'a> {
    /// Threads that share the work; the physical cores that this process may use by default.
    pub threads: Option<NonZeroUsize>,
    /// The processor to make kernels for; by default this one, under the ceiling of `CRAFTSMAN_MAX_ISA`.
    pub caps: Option<HardwareCaps>,
    /// What to round the head to, for speed; as the file has it by default. At two billion parameters a head of half
    /// precision costs more bandwidth a token than all ternary weights.
    pub head: Option<&'static QuantKind>,
    /// Whether all experts are packed at once. By default each is when a token is first routed to it, from the files,
    /// which stay mapped, and must not be shortened, while the model is in use; results are the same, but a damaged
    /// expert is found only then.
    pub resident: bool,
    /// What takes down where tokens are routed to.
    pub recorder: Option<Arc<RoutingRecorder>>,
    /// Positions a session may hold, if fewer than the model was made for.
    pub context: Option<usize>,
    /// Whether to load the block that predicts further tokens, if the file has one: for
    /// [`MtpDrafter`](crate::MtpDrafter), which guesses with it.
    pub predictor: bool,
    /// Called after every block that was loaded, from any thread.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Blocks that are loaded.
    pub done: usize,
    /// Blocks of the model.
    pub total: usize,
}

/// The experts of a model that are packed, of all that it has: see [`LoadOptions::resident`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertUse {
    /// Experts that are packed, in all layers together.
    pub packed: usize,
    /// Experts there are.
    pub total: usize,
    /// Bytes of those that are packed.
    pub packed_bytes: usize,
    /// Bytes of all when they are packed.
    pub total_bytes: usize,
}

/// A model whose weights are packed and whose kernels are verified. Nothing in it changes any more, but that experts which
/// no token needed before are packed when one does.
///
/// ```no_run
/// use craftsman_model::container::Checkpoint;
/// use craftsman_model::tokenizer::Tokenizer;
/// use craftsman_model::{GenerateOptions, LoadOptions, Model, generate};
///
/// let checkpoint = Checkpoint::open("model.gguf".as_ref())?;
/// let model = Model::load(&checkpoint, &LoadOptions::default())?;
/// let tokenizer = Tokenizer::from_checkpoint(&checkpoint)?;
/// let prompt = tokenizer.encode("Once upon a time", tokenizer.add_bos())?;
/// let answer = generate(&mut model.session(), &tokenizer, &prompt, &GenerateOptions::default(), |text| {
///     print!("{text}");
///     std::ops::ControlFlow::Continue(())
/// })?;
/// println!("\n{:.1} tokens a second", answer.statistics.decode_rate());
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    context: usize,
    caps: HardwareCaps,
    pub(crate) ops: FloatOps,
    pub(crate) threads: Threads,
    compiler: Arc<KernelCompiler>,
    recorder: Option<Arc<RoutingRecorder>>,
    pub(crate) embedding: Embedding,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Norm,
    pub(crate) head: Linear,
    pub(crate) rope: RopeTable,
    pub(crate) predictor: Option<Arc<Predictor>>,
    /// Buffers of forward passes that are not in use.
    buffers: Mutex<Vec<Buffers>>,
    load_time: Duration,
}

impl Model {
    /// Reads `checkpoint`, packs its weights, and emits, verifies and selects the kernels for its shapes: those that
    /// `kernelgen tune` found to be the fastest on this machine, where it was run.
    pub fn load(checkpoint: &Checkpoint, options: &LoadOptions<'_>) -> Result<Arc<Self>, ModelError> {
        let start = Instant::now();
        let Setup { caps, threads, loader } = Setup::new(checkpoint, options)?;
        let (config, compiler) = (loader.config.clone(), Arc::clone(&loader.compiler));

        let (embedding, head) = head::load(&loader, options.head, &threads)?;
        let norm = loader.norm(&format!("{}.weight", loader.row.output_norm), config.hidden)?;
        let blocks = load_blocks(&loader, &threads, options)?;
        let rope = loader.rope()?;
        let predictor = if options.predictor { loader.predictor()? } else { None };
        loader.check_all_read()?;

        let model = Self {
            context: options.context.unwrap_or(config.context).clamp(1, config.context),
            ops: FloatOps::for_caps(&caps),
            head,
            predictor: predictor.map(Arc::new),
            buffers: Mutex::default(),
            load_time: start.elapsed(),
            caps,
            threads,
            embedding,
            blocks,
            norm,
            rope,
            recorder: options.recorder.clone(),
            compiler,
            config,
        };
        model.report(checkpoint);
        Ok(Arc::new(model))
    }

    fn report(&self, checkpoint: &Checkpoint) {
        tracing::info!(
            name: "ModelLoaded",
            path = %checkpoint.path().display(),
            architecture = self.config.architecture,
            layers = self.config.layers,
            weight_bytes = self.weight_bytes(),
            threads = self.threads.count(),
            tier = %self.caps.tier(),
            seconds = self.load_time.as_secs_f64(),
        );
    }

    /// Sizes and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Positions that a session may hold.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The processor that the kernels were made for.
    pub fn caps(&self) -> &HardwareCaps {
        &self.caps
    }

    /// Threads that share the work.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// Whether it was loaded with a block that predicts further tokens.
    pub fn has_predictor(&self) -> bool {
        self.predictor.is_some()
    }

    /// The kernels that were selected.
    pub fn kernels(&self) -> Vec<KernelReport> {
        self.compiler.selected()
    }

    /// How long loading took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// How many experts are packed by now; nothing of a model without experts.
    pub fn expert_use(&self) -> Option<ExpertUse> {
        let pools = self.blocks.iter().filter_map(Block::experts).map(|experts| &experts.pool);
        let mut all = ExpertUse { packed: 0, total: 0, packed_bytes: 0, total_bytes: 0 };
        for pool in pools {
            all.packed += pool.packed();
            all.total += pool.count();
            all.packed_bytes += pool.bytes();
            all.total_bytes += pool.bytes_of(pool.count());
        }
        (all.total > 0).then_some(all)
    }

    /// Bytes of packed weights in memory now, see [`expert_use`](Self::expert_use); a head that is the embedding counts once.
    pub fn weight_bytes(&self) -> usize {
        let head = match (&self.head, &self.embedding) {
            (Linear::Dense(head), Embedding::Dense(embedding)) if Arc::ptr_eq(head, embedding) => 0,
            (head, _) => head.bytes(),
        };
        let predictor = self.predictor.as_ref().map_or(0, |predictor| predictor.bytes());
        self.embedding.bytes() + head + self.blocks.iter().map(Block::bytes).sum::<usize>() + predictor
    }

    /// Bytes of packed weights that decoding one token reads: all but the experts it does not use, and of the embedding
    /// one row.
    pub fn weight_bytes_per_token(&self) -> usize {
        let row = self.embedding.row_bytes(self.config.vocab);
        row + self.head.bytes() + self.blocks.iter().map(Block::bytes_per_token).sum::<usize>()
    }

    /// Buffers for one forward pass; [`give_buffers`](Self::give_buffers) keeps them for the next.
    pub(crate) fn take_buffers(&self) -> Buffers {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn give_buffers(&self, buffers: Buffers) {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffers);
    }

    pub(crate) fn engine(&self) -> Engine<'_> {
        Engine { ops: self.ops, threads: &self.threads, recorder: self.recorder.as_deref(), observer: None }
    }
}

/// What reading a checkpoint begins with.
pub(crate) struct Setup {
    pub(crate) caps: HardwareCaps,
    pub(crate) threads: Threads,
    pub(crate) loader: Arc<Loader>,
}

impl Setup {
    pub(crate) fn new(checkpoint: &Checkpoint, options: &LoadOptions<'_>) -> Result<Self, ModelError> {
        let row = Architecture::find(checkpoint.architecture()).map_err(|e| e.in_file(checkpoint.path()))?;
        let config = ModelConfig::read(checkpoint, row)?;
        let compiler = KernelCompiler::new(caps(options)?);
        // What the compiler left of them is what this processor has.
        let caps = compiler.caps().clone();
        let threads = Threads::new(options.threads.unwrap_or_else(|| default_threads(&caps)))?;
        let tuning = Arc::new(Tuning::from_env(&caps));
        let compiler = Arc::new(compiler.with_tuning(tuning).with_threads(threads.count()));
        let loader = Loader::new(checkpoint, row, &config, &compiler, options.resident);
        Ok(Self { caps, threads, loader })
    }
}

fn caps(options: &LoadOptions<'_>) -> Result<HardwareCaps, ModelError> {
    match &options.caps {
        Some(caps) => Ok(caps.clone()),
        None => HardwareCaps::from_env().map_err(|source| {
            let remedy = "correct the environment variable CRAFTSMAN_MAX_ISA, or unset it";
            ModelError::new(ErrorKind::Input, source.to_string(), remedy).because(source)
        }),
    }
}

fn default_threads(caps: &HardwareCaps) -> NonZeroUsize {
    let allowed = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    NonZeroUsize::new(caps.physical_cores as usize).map_or(allowed, |cores| cores.min(allowed))
}

/// Loads blocks on all threads.
fn load_blocks(
    loader: &Arc<Loader>,
    threads: &Threads,
    options: &LoadOptions<'_>,
) -> Result<Vec<Block>, ModelError> {
    let total = loader.config.layers;
    // A hostile count of blocks must cost nothing: room is made only for as many as the tensors could make up.
    let tensors = loader.checkpoint.tensors().count();
    if total > tensors {
        let problem = format!("{total} blocks, but only {tensors} tensors");
        let key = loader.checkpoint.metadata().arch_key("block_count");
        return Err(ModelError::shape(problem).in_file(loader.checkpoint.path()).key(&key));
    }
    let (done, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut slots: Vec<Option<Result<Block, ModelError>>> = Vec::new();
    slots.resize_with(total, || None);
    threads.run(slots.iter_mut().enumerate().collect(), |(layer, slot)| {
        if failed.load(Ordering::Relaxed) {
            return;
        }
        let block = loader.block(layer);
        failed.fetch_or(block.is_err(), Ordering::Relaxed);
        *slot = Some(block);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(progress) = options.progress {
            progress(Progress { done, total });
        }
    });
    slots.into_iter().flatten().collect()
}
