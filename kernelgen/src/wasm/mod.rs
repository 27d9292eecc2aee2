//! What the WebAssembly backends share: one emitter for 128-bit SIMD, and modules of what it emitted.

mod backend;
mod compiler;
mod control;
mod fused;
mod module;
mod words;

pub use backend::WasmBackend;
pub use module::module;
