//! The floating-point parts of a transformer, each with one fixed order of operations.
//!
//! - A reduction over one contiguous vector (sum, dot product, norm) uses [`LANES`] lanes: lane `i` adds the elements
//!   `i, i + 16, ...` in ascending order, the last group padded with zeros; then the lanes fold 8 + 8, 4 + 4, 2 + 2,
//!   1 + 1. That is one AVX-512 register, two of AVX2, four of SSE or NEON: the same bits on all of them.
//! - A matrix product puts outputs in lanes and adds in ascending `k`.
//! - Dot products accumulate by fused multiply-add; nothing else is contracted.
//! - No libm: [`exp`] and what follows from it are one polynomial, rope's angles are computed from `f64` additions,
//!   multiplications and divisions alone.

#![allow(
    clippy::inline_always,
    reason = "inlined into a loop for AVX2 these scalar definitions become its vectors"
)]

mod attention;
mod elementary;
mod elementwise;
mod exp;
mod matmul;
mod norm;
mod reduce;
mod rope;
mod router;
mod rows;
mod yarn;

pub use attention::{attention, grouped_attention, latent_attention};
pub use elementwise::{add, axpy, clamp_gated, depthwise, relu2_mul, silu_mul};
pub use exp::{constants as exp_constants, exp, relu2, sigmoid, silu};
pub use matmul::{matmul, widen_bf16, widen_f16};
pub use norm::{rms_norm, softmax};
pub use reduce::{LANES, dot16, fold16, sum16};
pub use rope::{RopePairing, RopeScaling, RopeTable, Rotation};
pub use router::{Gate, Groups, Routing, router, scores};
pub use rows::{ROW_BLOCK, round_block, widen_block};
pub use yarn::Yarn;
