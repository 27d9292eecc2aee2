//! Ternary language models on CPUs, by kernels that are emitted for the processor and the model at hand, and checked
//! bit for bit before they run.
//!
//! ```
//! use std::ops::ControlFlow;
//! use craftsman::{Checkpoint, GenerateOptions, LoadOptions, Model, SamplingOptions, Tokenizer, generate};
//!
//! let checkpoint = craftsman::carried_model()?; // or Checkpoint::open("model.gguf".as_ref())?
//! let tokenizer = Tokenizer::from_checkpoint(&checkpoint)?;
//! let model = Model::load(&checkpoint, &LoadOptions::default())?;
//!
//! let prompt = tokenizer.encode("def __init__(self, ", tokenizer.add_bos())?;
//! let options = GenerateOptions { sampling: SamplingOptions::greedy(), max_tokens: 14, ..Default::default() };
//! let answer = generate(&mut model.session(), &tokenizer, &prompt, &options, |piece| {
//!     print!("{piece}");
//!     ControlFlow::Continue(())
//! })?;
//! assert!(answer.text.contains("Return a new"));
//! # Ok::<(), craftsman::ModelError>(())
//! ```
//!
//! The same logits, down to the last bit, come out on every instruction set, for every number of threads, and whether
//! tokens are processed together or one by one. `CRAFTSMAN_MAX_ISA` (`portable`, `avx2`, `avxvnni`, `avx512`,
//! `avx512vnni`, `amx`) sets a ceiling on the instructions that may be used.
//!
//! The command line tool is the feature `cli`, on by default; a library that uses this crate turns default features off.
#![forbid(unsafe_code)]

pub use craftsman_eval as eval;
pub use craftsman_isa::{self as isa, HardwareCaps};
pub use craftsman_kernelgen::{self as kernelgen, KernelReport};
pub use craftsman_model::chat::{ChatTemplate, Message};
pub use craftsman_model::container::{self, Checkpoint, ContainerKind};
pub use craftsman_model::tokenizer::{self, Tokenizer};
pub use craftsman_model::{
    BackendInfo, BatchEntry, CancelToken, Drafter, Engine, EngineOptions, ErrorKind, ExpertConfig, ExpertUse,
    Finish, GenerateOptions, Generation, InferenceBackend, KvCache, KvKind, KvOptions, KvPool, LayerRouting,
    LoadOptions, LookupDrafter, Model, ModelConfig, ModelDrafter, ModelError, MtpDrafter, Progress,
    QuantKind, Request, RopeConfig, RoutingRecorder, Sampler, SamplingOptions, Seen, Session, SessionId,
    Statistics, Token, TokenStream, Tokens, Usage, architecture, generate, write_aside,
};
pub use craftsman_train as train;

/// The name that errors give the carried model.
pub const CARRIED_MODEL_NAME: &str = "the carried model";

/// The prompt of `craftsman run` without one; the carried model was trained to continue such text.
pub const SAMPLE_PROMPT: &str = "def __init__(self, ";

/// The bytes of the carried model: a GGUF file with I2_S weights.
static CARRIED_MODEL: &[u8] = include_bytes!("../assets/python-5m-i2_s.gguf");

/// The small model this crate carries: a BitNet b1.58 of 5.8 million parameters, trained on Python source text.
pub fn carried_model() -> Result<Checkpoint, ModelError> {
    Checkpoint::from_gguf(container::Gguf::from_bytes(CARRIED_MODEL_NAME, CARRIED_MODEL.to_vec())?)
}

/// The README's example is compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
