//! What is fast: emits, verifies and selects ternary kernels for the processor at hand.
//!
//! ```text
//! caps + key -> selector -> family walks its packing over a backend's vector vocabulary
//!            -> machine code -> verified against golden -> Kernel -> TernaryLinear
//! ```

pub mod float;
mod output;
pub mod simulate;

pub use output::{OutputColumns, OutputMatrix};
