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
    /// Tokens cannot be processed.
    #[error("llama.cpp answers {0} to {1} tokens")]
    Decode(i32, usize),
    /// There is nothing to read after them.
    #[error("llama.cpp has no logits after {0} tokens")]
    NoLogits(usize),
}

/// A model in llama.cpp with one sequence.
#[derive(Debug)]
pub struct Engine {
    model: NonNull<sys::llama_model>,
    context: NonNull<sys::llama_context>,
    vocab: usize,
}

impl Engine {
    /// Loads a GGUF file for sequences of up to `positions` tokens, which may come all at once.
    pub fn load(path: &Path, positions: u32, threads: i32) -> Result<Self, LlamaError> {
        let name = path.as_os_str().as_encoded_bytes();
        let name = CString::new(name).map_err(|_| LlamaError::Path(path.to_owned()))?;
        start();
        // SAFETY: the name is a string that ends in zero and lives longer than the call; the parameters are llama.cpp's own.
        let model =
            unsafe { sys::llama_model_load_from_file(name.as_ptr(), sys::llama_model_default_params()) };
        let model = NonNull::new(model).ok_or_else(|| LlamaError::Model(path.to_owned()))?;
        // SAFETY: `model` was just loaded, and its vocabulary lives as long as it does.
        let vocab = unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(model.as_ptr())) } as usize;
        // SAFETY: takes nothing and returns a structure of plain values.
        let mut params = unsafe { sys::llama_context_default_params() };
        (params.n_ctx, params.n_batch, params.n_ubatch) = (positions, positions, positions);
        (params.n_threads, params.n_threads_batch) = (threads, threads);
        // SAFETY: `model` was just loaded, and `Drop` frees it after the context.
        let context = unsafe { sys::llama_init_from_model(model.as_ptr(), params) };
        let Some(context) = NonNull::new(context) else {
            // SAFETY: nothing else refers to the model.
            unsafe { sys::llama_model_free(model.as_ptr()) };
            return Err(LlamaError::Context(path.to_owned()));
        };
        Ok(Self { model, context, vocab })
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        // SAFETY: the context is alive until `Drop`, and its memory as long.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context.as_ptr()), false) };
    }

    /// Appends `tokens` and answers the logits after the last one, `[vocab]`.
    pub fn read(&mut self, tokens: &[u32]) -> Result<&[f32], LlamaError> {
        let mut ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        // SAFETY: the batch refers to `ids`, which has as many tokens as it says and outlives the call; llama.cpp checks the
        // tokens against its vocabulary and the batch against its context, and answers with an error.
        let answer = unsafe {
            let batch = sys::llama_batch_get_one(ids.as_mut_ptr(), ids.len() as i32);
            sys::llama_decode(self.context.as_ptr(), batch)
        };
        if answer != 0 {
            return Err(LlamaError::Decode(answer, tokens.len()));
        }
        // SAFETY: the context is alive; -1 asks for the last row of what was computed last, null if there is none.
        let logits = unsafe { sys::llama_get_logits_ith(self.context.as_ptr(), -1) };
        let logits = NonNull::new(logits).ok_or(LlamaError::NoLogits(tokens.len()))?;
        // SAFETY: a row of logits has a value a token of the vocabulary, and stays until the next call that takes `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(logits.as_ptr(), self.vocab) })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: `load` made both, nothing of them is used after this, and the context goes before its model.
        unsafe {
            sys::llama_free(self.context.as_ptr());
            sys::llama_model_free(self.model.as_ptr());
        }
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
