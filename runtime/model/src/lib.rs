//! Containers, architectures, attention, experts, tokenizer and sessions of ternary language models.
#![deny(unsafe_code)]

pub mod architecture;
mod aside;
mod cache;
pub mod chat;
mod config;
pub mod container;
mod engine;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod generate;
mod head;
mod layer;
mod layerwise;
mod load;
mod model;
mod predictor;
mod routing;
mod sampler;
mod session;
mod threads;
pub mod tokenizer;

pub use aside::write_aside;
pub use cache::{KvCache, KvKind, KvOptions, KvPool};
pub use config::{ExpertConfig, LatentConfig, LayerKind, Mixing, ModelConfig, RopeConfig};
pub use craftsman_golden::quants::{self, QuantKind};
pub use engine::{
    BackendInfo, Engine, EngineOptions, InferenceBackend, Request, SessionId, TokenStream, Usage,
};
pub use error::{ErrorKind, ModelError};
pub use generate::{
    Drafter, Finish, GenerateOptions, Generation, LookupDrafter, ModelDrafter, MtpDrafter, Seen, Statistics,
    Token, Tokens, generate,
};
pub use layerwise::{Input, Layerwise};
pub use model::{ExpertUse, LoadOptions, Model, Progress};
pub use routing::{LayerRouting, RoutingRecorder};
pub use sampler::{Sampler, SamplingOptions};
pub use session::{BatchEntry, CancelToken, Session};
