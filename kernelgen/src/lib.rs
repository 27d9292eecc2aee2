//! What is fast: emits, verifies and selects ternary kernels for the processor at hand.
//!
//! ```text
//! caps + key -> selector -> family walks its packing over a backend's vector vocabulary
//!            -> machine code -> verified against golden -> Kernel -> TernaryLinear
//! ```

mod a64;
mod activations;
pub mod aot;
pub mod backend;
pub mod clock;
mod code;
mod compiler;
mod config;
pub mod cost;
pub mod emulate;
mod epilogue;
pub mod family;
pub mod float;
pub mod fuzz;
mod host;
mod kernel;
mod key;
mod linear;
mod listing;
mod memory;
mod output;
mod packed;
mod pages;
mod panel;
mod perf_map;
mod quantizer;
mod quants;
pub mod roofline;
mod scratch;
mod selector;
pub mod simulate;
pub mod store;
pub mod tuning;
mod verify;
pub mod vocabulary;
mod wasm;
mod x86;

pub use activations::{Activations, InputForm};
pub use code::{Code, EmitError};
pub use compiler::{CodeFilter, KernelCompiler, KernelError, KernelReport, VERIFY_SEED, verify_native};
pub use config::{KernelConfig, Tile};
pub use kernel::{Kernel, KernelCode, emit, pack};
pub use key::{Batch, Epilogue, KernelKey, MAX_K, MAX_M, NameError};
pub use linear::{LinearOptions, TernaryLinear};
pub use listing::listing;
pub use memory::ExecutableMemory;
pub use output::{OutputColumns, OutputMatrix};
pub use packed::{Layout, PackedMatrix};
pub use quantizer::Quantizer;
pub use quants::QuantLinear;
pub use selector::{Considered, candidates, considered};
pub use verify::{
    Buffer, KernelFault, Mismatch, Runner, Simulated, VerifyError, verify_elsewhere, verify_simulated,
};
