//! Ternary weights out of full-precision ones.
#![forbid(unsafe_code)]

pub mod quantize;
