//! What a server needs of whatever generates.

use std::fmt;

use super::TokenStream;
use crate::ModelError;
use crate::generate::{Drafter, GenerateOptions};
use crate::tokenizer::Tokenizer;

/// Names a session of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is to be generated.
#[derive(Debug)]
pub struct Request {
    /// The session that goes on; a new one where none is named.
    pub session: Option<SessionId>,
    /// The whole conversation so far, begin token included. As much of it as the session has seen is not computed again.
    pub prompt: Vec<u32>,
    /// How to generate.
    pub options: GenerateOptions,
    /// What guesses tokens, if anything does.
    pub drafter: Option<Box<dyn Drafter>>,
}

impl Request {
    /// A new session for `prompt`, with default options.
    pub fn new(prompt: Vec<u32>) -> Self {
        Self { session: None, prompt, options: GenerateOptions::default(), drafter: None }
    }
}

/// What a backend is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendInfo {
    /// The model's architecture, by GGUF's name.
    pub architecture: String,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Positions that a session may hold.
    pub context: usize,
}

/// What a backend is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sessions that are kept, those that are running among them.
    pub sessions: usize,
    /// Generations under way or waiting.
    pub running: usize,
    /// How often a session gave its memory back to make room for another.
    pub released: u64,
    /// Bytes of all key/value caches.
    pub kv_bytes: usize,
    /// What these may take together, if that is limited.
    pub kv_budget: Option<usize>,
}

/// Something that generates tokens for sessions: the [`Engine`](super::Engine) here, or another in its place.
///
/// Sessions are isolated: what one has seen never shows in another. The same request gives the same tokens, whatever else
/// is under way.
pub trait InferenceBackend: fmt::Debug + Send + Sync {
    /// What it is.
    fn info(&self) -> BackendInfo;

    /// The tokenizer of its model.
    fn tokenizer(&self) -> &Tokenizer;

    /// Begins to generate. What is wrong with a request is told by the stream.
    fn generate(&self, request: Request) -> Result<TokenStream, ModelError>;

    /// Forgets a session. What is under way in it goes on to its end.
    fn close(&self, session: SessionId) -> Result<(), ModelError>;

    /// What it is doing.
    fn usage(&self) -> Usage;
}
