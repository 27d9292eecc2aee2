//! What a model is worth: how well it predicts a text.
#![forbid(unsafe_code)]

mod perplexity;

pub use perplexity::{Perplexity, PerplexityOptions, Scored, Step, perplexity};
