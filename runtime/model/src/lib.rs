//! Containers, architectures, attention, experts, tokenizer and sessions of ternary language models.
#![deny(unsafe_code)]

pub mod container;
mod error;
pub mod tokenizer;

pub use error::{ErrorKind, ModelError};
