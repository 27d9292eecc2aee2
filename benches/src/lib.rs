//! The benchmark suite: what is timed, beside which references, and how.
//!
//! [`contest`] times things interleaved; [`suite`] is the table of what is timed; [`product`] and the modules beside it
//! make contestants of its rows. Keeping and comparing the figures is the business of `cargo xtask bench`; the criterion
//! benches of this crate share the matrices.
#![cfg_attr(not(feature = "peers"), forbid(unsafe_code))]

pub mod contest;
pub mod emission;
pub mod layer;
#[cfg(feature = "peers")]
pub mod peers;
pub mod product;
pub mod suite;
pub mod ways;

use craftsman_golden::{Scales, TernaryMatrix};

/// A matrix of evenly mixed trits with one scale.
///
/// # Panics
/// When `m * k` is out of range.
pub fn ternary_matrix(m: usize, k: usize) -> TernaryMatrix {
    let trits = noise(m * k).map(|bits| (bits % 3) as i8 - 1).collect();
    TernaryMatrix::new(m, k, trits, Scales::Tensor(0.02)).expect("a shape in range")
}

/// The int8 activations `[n, k]` of `n` tokens and their scales.
pub fn quantized_tokens(n: usize, k: usize) -> (Vec<i8>, Vec<f32>) {
    (noise(n * k).map(|bits| bits as i8).collect(), vec![12.5; n])
}

/// The activations `[n, k]` of `n` tokens before they are quantised.
pub fn float_tokens(n: usize, k: usize) -> Vec<f32> {
    noise(n * k).map(|bits| f32::from(bits as i8) / 12.5).collect()
}

/// Multiplicative hashing: even enough for timing.
fn noise(count: usize) -> impl Iterator<Item = u64> {
    (1..=count as u64).map(|index| index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40)
}
