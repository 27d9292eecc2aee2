//! Containers, architectures, attention, experts, tokenizer and sessions of ternary language models.
#![deny(unsafe_code)]

pub mod architecture;
mod aside;
mod cache;
mod config;
pub mod container;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod generate;
mod head;
mod layer;
mod load;
mod model;
mod perplexity;
mod routing;
mod sampler;
mod session;
mod stop;
mod threads;
pub mod tokenizer;

pub use aside::write_aside;
pub use cache::KvCache;
pub use config::{ExpertConfig, LatentConfig, LayerKind, Mixing, ModelConfig, RopeConfig};
pub use craftsman_golden::quants::{self, QuantKind};
pub use error::{ErrorKind, ModelError};
pub use generate::{Finish, GenerateOptions, Generation, Statistics, generate};
pub use model::{ExpertUse, LoadOptions, Model, Progress};
pub use perplexity::{Perplexity, perplexity};
pub use routing::{LayerRouting, RoutingRecorder};
pub use sampler::{Sampler, SamplingOptions};
pub use session::Session;
