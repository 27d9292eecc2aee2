//! What is right: the scalar oracle of ternary and transformer arithmetic.
//!
//! Everything here is plain scalar code that a reader can check by eye, and it is never on a hot path: the
//! kernels that are fast are tested for equality with it, bit for bit.
//!
//! - [`TernaryMatrix`]: trits with their scales, whatever file they came from;
//! - [`quantize`]: weights to trits, activations to int8;
//! - [`gemm`]: the ternary product, exact in `i32`, and its scale rule;
//! - [`quants`]: matrices of small integers in blocks, and their product;
//! - [`float`]: the floating-point parts of a transformer, each with one fixed order of operations;
//! - [`mod@format`]: how files store weights, as bytes.
#![forbid(unsafe_code)]

pub mod balance;
pub mod float;
pub mod format;
pub mod gemm;
pub mod quantize;
pub mod quants;
mod trit;

pub use trit::{Granularity, MAX_K, Scales, ShapeError, TernaryMatrix};
