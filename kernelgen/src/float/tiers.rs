//! One table of operations a tier: every algorithm, compiled for that tier's instructions.

use craftsman_golden::float as golden;
use craftsman_isa::Feature;

use super::dense::PackedDense;
use super::rows::Rows;
use super::vector::Portable;
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512};
use super::{attention, elementwise, matmul, reduce};
use crate::OutputColumns;

/// Weights, rows, and the answers that they add to.
type Mix = unsafe fn(&[&[f32]], Rows<'_>, &mut [&mut [f32]]);

/// The operations of one tier. Calling one is sound only where the processor has what
/// [`requires`](Self::requires) lists and [`present`](Self::present) answered yes.
pub(super) struct Operations {
    /// Name of the tier.
    pub(super) name: &'static str,
    /// What a description of a processor must list.
    pub(super) requires: &'static [Feature],
    /// Whether the processor that this runs on really has the instructions.
    pub(super) present: fn() -> bool,
    pub(super) rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub(super) dot: unsafe fn(&[f32], &[f32]) -> f32,
    pub(super) softmax: unsafe fn(&mut [f32]),
    pub(super) silu_mul: unsafe fn(&[f32], &mut [f32]),
    pub(super) relu2_mul: unsafe fn(&[f32], &mut [f32]),
    pub(super) add: unsafe fn(&mut [f32], &[f32]),
    pub(super) axpy: unsafe fn(f32, &[f32], &mut [f32]),
    pub(super) depthwise: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(super) score: unsafe fn(&[f32], Rows<'_>, f32, &mut [&mut [f32]]),
    pub(super) mix: Mix,
    pub(super) dense_matmul: unsafe fn(&PackedDense, &[f32], &mut OutputColumns<'_>),
}

/// Compiles every operation with the target features `$target`, on the vectors that `$vector` gives
/// permission for.
macro_rules! tier {
    ($table:ident, $name:literal, $requires:expr, $present:expr, $vector:expr $(, #[$target:meta])?) => {
        static $table: Operations = {
            $(#[$target])?
            fn rms_norm(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
                reduce::rms_norm($vector, x, w, eps, out);
            }
            $(#[$target])?
            fn dot(a: &[f32], b: &[f32]) -> f32 {
                reduce::dot($vector, a, b)
            }
            $(#[$target])?
            fn softmax(x: &mut [f32]) {
                reduce::softmax($vector, x);
            }
            $(#[$target])?
            fn silu_mul(gate: &[f32], up: &mut [f32]) {
                elementwise::silu_mul(gate, up);
            }
            $(#[$target])?
            fn relu2_mul(gate: &[f32], up: &mut [f32]) {
                elementwise::relu2_mul(gate, up);
            }
            $(#[$target])?
            fn add(acc: &mut [f32], x: &[f32]) {
                elementwise::add(acc, x);
            }
            $(#[$target])?
            fn axpy(p: f32, v: &[f32], acc: &mut [f32]) {
                elementwise::axpy(p, v, acc);
            }
            $(#[$target])?
            fn score(q: &[f32], rows: Rows<'_>, scale: f32, scores: &mut [&mut [f32]]) {
                attention::score($vector, q, rows, scale, scores);
            }
            $(#[$target])?
            fn mix(p: &[&[f32]], rows: Rows<'_>, out: &mut [&mut [f32]]) {
                attention::mix($vector, p, rows, out);
            }
            $(#[$target])?
            fn depthwise(rows: &[f32], weights: &[f32], out: &mut [f32]) {
                golden::depthwise(rows, weights, out);
            }
            $(#[$target])?
            fn dense_matmul(w: &PackedDense, x: &[f32], out: &mut OutputColumns<'_>) {
                matmul::dense_matmul($vector, w, x, out);
            }
            Operations {
                name: $name,
                requires: $requires,
                present: $present,
                rms_norm,
                dot,
                softmax,
                silu_mul,
                relu2_mul,
                add,
                axpy,
                depthwise,
                score,
                mix,
                dense_matmul,
            }
        };
    };
}

tier!(PORTABLE, "portable", &[], || true, Portable);

#[cfg(target_arch = "x86_64")]
tier!(
    AVX2,
    "avx2",
    &[Feature::Avx2, Feature::Fma, Feature::F16c],
    || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c"),
    // SAFETY: the function around has exactly these target features, so whoever called it vouched for them.
    unsafe { Avx2::assume() },
    #[target_feature(enable = "avx2,fma,f16c")]
);

#[cfg(target_arch = "x86_64")]
tier!(
    AVX512,
    "avx512",
    &[
        Feature::Avx2,
        Feature::Fma,
        Feature::F16c,
        Feature::Avx512F,
        Feature::Avx512Bw,
        Feature::Avx512Dq,
        Feature::Avx512Vl
    ],
    || (AVX2.present)()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl"),
    // SAFETY: the function around has exactly these target features, so whoever called it vouched for them.
    unsafe { Avx512::assume() },
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
);

/// Every tier, from least to most. The first one runs anywhere.
pub(super) static ALL: &[&Operations] = &[
    &PORTABLE,
    #[cfg(target_arch = "x86_64")]
    &AVX2,
    #[cfg(target_arch = "x86_64")]
    &AVX512,
];
