//! llama.cpp's whole engine: a model and one context over it.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Once;

use llama_cpp_sys_2 as sys;

/// Why llama.cpp cannot do it. What it says itself stands on standard error.
#[derive(Debug, thiserror::Error)]
pub enum LlamaError {
    /// The path cannot be handed to C.
    #[error("{0}: a path with a zero byte")]
    Path(PathBuf),
    /// The file cannot be loaded.
    #[error("{0}: llama.cpp cannot load it")]
    Model(PathBuf),
    /// There is no memory for a context.
    #[error("{0}: llama.cpp makes no context of this model")]
    Context(PathBuf),
    /// There are no threads to be had.
    #[error("llama.cpp makes no pool of {0} threads")]
    Threads(i32),
    /// Tokens cannot be processed.
    #[error("llama.cpp answers {0} to {1} tokens")]
    Decode(i32, usize),
    /// There is nothing to read after them.
    #[error("llama.cpp has no logits after {0} tokens")]
    NoLogits(usize),
}

/// A model in llama.cpp with one sequence, and threads that stay, as llama-bench has them.
#[derive(Debug)]
pub struct Engine {
    /// Before what it uses: fields are dropped in this order.
    context: Context,
    threads: Threads,
    model: Model,
}

/// A loaded model.
#[derive(Debug)]
struct Model(NonNull<sys::llama_model>);

/// A context over a model.
#[derive(Debug)]
struct Context(NonNull<sys::llama_context>);

/// A pool of threads.
#[derive(Debug)]
struct Threads(NonNull<sys::ggml_threadpool>);

impl Engine {
    /// Loads a GGUF file for sequences of up to `positions` tokens, which may come all at once.
    pub fn load(path: &Path, positions: u32, threads: i32) -> Result<Self, LlamaError> {
        start();
        let model = Model::load(path)?;
        let context =
            Context::new(&model, positions, threads).ok_or_else(|| LlamaError::Context(path.to_owned()))?;
        let threads = Threads::new(threads).ok_or(LlamaError::Threads(threads))?;
        // SAFETY: both are alive, and the context is dropped before the threads (the order of `Engine`'s fields).
        unsafe { sys::llama_attach_threadpool(context.0.as_ptr(), threads.0.as_ptr(), threads.0.as_ptr()) };
        Ok(Self { context, threads, model })
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        // SAFETY: the context is alive until it is dropped, and its memory as long.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context.0.as_ptr()), false) };
    }

    /// Lets the threads sleep until tokens come again; otherwise they look for work for a while.
    pub fn rest(&mut self) {
        // SAFETY: the pool is alive until it is dropped.
        unsafe { sys::ggml_threadpool_pause(self.threads.0.as_ptr()) };
    }

    /// Appends `tokens` and answers the logits after the last one, `[vocab]`.
    pub fn read(&mut self, tokens: &[u32]) -> Result<&[f32], LlamaError> {
        let mut ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        let context = self.context.0.as_ptr();
        // SAFETY: the batch refers to `ids`, which has as many tokens as it says and outlives the call; llama.cpp checks the
        // tokens against its vocabulary and the batch against its context, and answers with an error.
        let answer = unsafe {
            let batch = sys::llama_batch_get_one(ids.as_mut_ptr(), ids.len() as i32);
            sys::llama_decode(context, batch)
        };
        if answer != 0 {
            return Err(LlamaError::Decode(answer, tokens.len()));
        }
        // SAFETY: the context is alive; -1 asks for the last row of what was computed last, null if there is none.
        let logits = unsafe { sys::llama_get_logits_ith(context, -1) };
        let logits = NonNull::new(logits).ok_or(LlamaError::NoLogits(tokens.len()))?;
        let vocab = self.model.vocab();
        // SAFETY: a row of logits has a value a token of the vocabulary, and stays until the next call that takes `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(logits.as_ptr(), vocab) })
    }
}

impl Model {
    fn load(path: &Path) -> Result<Self, LlamaError> {
        let name = path.as_os_str().as_encoded_bytes();
        let name = CString::new(name).map_err(|_| LlamaError::Path(path.to_owned()))?;
        // SAFETY: the name is a string that ends in zero and outlives the call; the parameters are llama.cpp's own.
        let model =
            unsafe { sys::llama_model_load_from_file(name.as_ptr(), sys::llama_model_default_params()) };
        NonNull::new(model).map(Self).ok_or_else(|| LlamaError::Model(path.to_owned()))
    }

    /// Tokens of the vocabulary.
    fn vocab(&self) -> usize {
        // SAFETY: the model is alive until it is dropped, and its vocabulary as long.
        (unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(self.0.as_ptr())) }) as usize
    }
}

impl Context {
    fn new(model: &Model, positions: u32, threads: i32) -> Option<Self> {
        // SAFETY: takes nothing and returns a structure of plain values.
        let mut params = unsafe { sys::llama_context_default_params() };
        (params.n_ctx, params.n_batch, params.n_ubatch) = (positions, positions, positions);
        (params.n_threads, params.n_threads_batch) = (threads, threads);
        // SAFETY: the model is alive, and `Engine` drops it after its context.
        NonNull::new(unsafe { sys::llama_init_from_model(model.0.as_ptr(), params) }).map(Self)
    }
}

impl Threads {
    fn new(count: i32) -> Option<Self> {
        // SAFETY: the parameters are plain values, which the call copies.
        let pool = unsafe {
            let mut params = sys::ggml_threadpool_params_default(count);
            sys::ggml_threadpool_new(&raw mut params)
        };
        NonNull::new(pool).map(Self)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: `new` made it, and nothing of it is used after this.
        unsafe { sys::llama_free(self.0.as_ptr()) }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // SAFETY: `new` made the pool, and the context that used it is gone (the order of `Engine`'s fields).
        unsafe { sys::ggml_threadpool_free(self.0.as_ptr()) }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: `load` made it, and the context over it is gone (the order of `Engine`'s fields).
        unsafe { sys::llama_model_free(self.0.as_ptr()) }
    }
}

/// Starts llama.cpp, once a process, and keeps its log to what went wrong.
fn start() {
    static ONCE: Once = Once::new();
    // SAFETY: `report` has the signature that is asked for and needs no data of its own.
    ONCE.call_once(|| unsafe {
        sys::llama_log_set(Some(report), std::ptr::null_mut());
        sys::llama_backend_init();
    });
}

/// Prints a line of llama.cpp's log when it is an error.
extern "C" fn report(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if level == sys::GGML_LOG_LEVEL_ERROR && !text.is_null() {
        // SAFETY: llama.cpp hands over a string that ends in zero and lives as long as this call.
        eprint!("llama.cpp: {}", unsafe { CStr::from_ptr(text) }.to_string_lossy());
    }
}
