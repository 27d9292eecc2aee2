//! Serving many conversations at once: whatever is under way goes through the layers together.

mod backend;
mod running;
mod sessions;
mod stream;
mod worker;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use backend::{BackendInfo, InferenceBackend, Request, SessionId, Usage};
pub use stream::TokenStream;

use crate::cache::{KvOptions, KvPool};
use crate::tokenizer::Tokenizer;
use crate::{ErrorKind, Model, ModelError};
use worker::{Command, Worker};

/// How an [`Engine`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// How key/value caches are kept, and how much memory all sessions' may take. When that is used up, the session that
    /// was used least recently gives its memory back, and is computed again when it is used.
    pub kv: KvOptions,
    /// The most generations that go through the layers together; others wait.
    pub most_running: usize,
    /// The most tokens of one prompt that go through in one pass, so that a long prompt does not hold up others.
    pub prompt_chunk: usize,
    /// The most sessions that are kept; beyond it the one that was used least recently is closed.
    pub most_sessions: usize,
}

impl Default for EngineOptions {
    /// Up to 16 generations at once, prompts in pieces of 256 tokens, 1,024 sessions that share prefixes.
    fn default() -> Self {
        Self {
            kv: KvOptions { share_prefixes: true, ..KvOptions::default() },
            most_running: 16,
            prompt_chunk: 256,
            most_sessions: 1024,
        }
    }
}

/// Counters that the worker keeps and anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sessions: AtomicUsize,
    running: AtomicUsize,
    released: AtomicU64,
}

/// A model that generates for many sessions at once, on a thread of its own.
///
/// All generations under way share each pass over the weights. None can see another: each has the tokens, to the bit, that
/// it would have alone. Dropping the engine ends what is under way.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use craftsman_model::{Engine, EngineOptions, InferenceBackend, LoadOptions, Model, Request, container::Checkpoint, tokenizer::Tokenizer};
/// # let checkpoint = Checkpoint::open("model.gguf".as_ref())?;
/// let tokenizer = Arc::new(Tokenizer::from_checkpoint(&checkpoint)?);
/// let model = Model::load(&checkpoint, &LoadOptions::default())?;
/// let engine = Engine::start(model, Arc::clone(&tokenizer), EngineOptions::default())?;
///
/// let ask = |text| engine.generate(Request::new(tokenizer.encode(text, true)?));
/// let (mut first, second) = (ask("Once upon a time")?, ask("def main():")?);
/// for token in &mut first {
///     print!("{}", token?.text);
/// }
/// println!("{}", second.wait()?.text);
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    tokenizer: Arc<Tokenizer>,
    pool: KvPool,
    counters: Arc<Counters>,
    /// `None` once the engine is being dropped.
    commands: Mutex<Option<Sender<Command>>>,
    next_session: AtomicU64,
    worker: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread.
    pub fn start(
        model: Arc<Model>,
        tokenizer: Arc<Tokenizer>,
        options: EngineOptions,
    ) -> Result<Self, ModelError> {
        let pool = KvPool::new(&model, options.kv);
        let counters = Arc::new(Counters::default());
        let (commands, receiver) = channel();
        let worker = Worker::new(pool.clone(), options, Arc::clone(&counters));
        let words = Arc::clone(&tokenizer);
        let thread = std::thread::Builder::new().name("craftsman-engine".into());
        let thread = thread.spawn(move || worker.work(&words, &receiver)).map_err(|source| {
            let problem = format!("cannot start the engine's thread: {source}");
            ModelError::new(ErrorKind::Io, problem, "end other programs").because(source)
        })?;
        Ok(Self {
            model,
            tokenizer,
            pool,
            counters,
            commands: Mutex::new(Some(commands)),
            next_session: AtomicU64::new(1),
            worker: Some(thread),
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    fn send(&self, command: Command) -> Result<(), ModelError> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = commands.as_ref().is_some_and(|commands| commands.send(command).is_ok());
        if sent { Ok(()) } else { Err(stopped()) }
    }
}

/// The worker is gone, which it only is after a panic: a bug, but no reason to take the caller down too.
fn stopped() -> ModelError {
    ModelError::new(ErrorKind::Io, "the engine has stopped", "this is a bug: please report it with the log")
}

impl InferenceBackend for Engine {
    fn info(&self) -> BackendInfo {
        let config = self.model.config();
        BackendInfo {
            architecture: config.architecture.to_owned(),
            vocab: config.vocab,
            context: self.model.context(),
        }
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn generate(&self, request: Request) -> Result<TokenStream, ModelError> {
        let id = request.session;
        let session = id.unwrap_or_else(|| SessionId(self.next_session.fetch_add(1, Ordering::Relaxed)));
        let (sink, stream) = stream::pair(session);
        self.send(Command::Generate { request, session, new: id.is_none(), sink })?;
        Ok(stream)
    }

    fn close(&self, session: SessionId) -> Result<(), ModelError> {
        self.send(Command::Close(session))
    }

    fn usage(&self) -> Usage {
        Usage {
            sessions: self.counters.sessions.load(Ordering::Relaxed),
            running: self.counters.running.load(Ordering::Relaxed),
            released: self.counters.released.load(Ordering::Relaxed),
            kv_bytes: self.pool.bytes(),
            kv_budget: self.pool.options().budget,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Without a sender the worker ends.
        self.commands.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = self.worker.take() {
            // An error is a panic of the worker, which has been printed.
            worker.join().ok();
        }
    }
}
