//! Reductions over one vector, and the operations that follow from them.

use craftsman_golden::float::exp;

use super::vector::Vector;

/// Up to sixteen values, padded.
#[inline(always)]
pub(super) fn padded(tail: &[f32], padding: f32) -> [f32; 16] {
    let mut array = [padding; 16];
    array[..tail.len()].copy_from_slice(tail);
    array
}

/// [`golden::float::dot16`](craftsman_golden::float::dot16).
#[inline(always)]
pub(super) fn dot<V: Vector>(v: V, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "a dot product of unequal lengths");
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sum = v.splat(0.0);
    for (a, b) in a.iter().zip(b) {
        sum = v.mul_add(v.load(a), v.load(b), sum);
    }
    if !a_tail.is_empty() {
        sum = v.mul_add(v.load(&padded(a_tail, 0.0)), v.load(&padded(b_tail, 0.0)), sum);
    }
    v.fold(sum)
}

/// [`golden::float::sum16`](craftsman_golden::float::sum16).
#[inline(always)]
pub(super) fn sum<V: Vector>(v: V, x: &[f32]) -> f32 {
    let (x, tail) = x.as_chunks::<16>();
    let mut sum = v.splat(0.0);
    for x in x {
        sum = v.add(sum, v.load(x));
    }
    if !tail.is_empty() {
        sum = v.add(sum, v.load(&padded(tail, 0.0)));
    }
    v.fold(sum)
}

/// The largest value; negative infinity for nothing. The order does not matter: a maximum is exact, and the
/// sign of a zero and the choice among NaN are lost in the softmax that asks.
#[inline(always)]
fn max<V: Vector>(v: V, x: &[f32]) -> f32 {
    maxima(v, x).into_iter().fold(f32::NEG_INFINITY, |max, x| if x > max { x } else { max })
}

/// The largest value of each lane.
#[inline(always)]
pub(super) fn maxima<V: Vector>(v: V, x: &[f32]) -> [f32; 16] {
    let (x, tail) = x.as_chunks::<16>();
    let mut max = v.splat(f32::NEG_INFINITY);
    for x in x {
        max = v.max(max, v.load(x));
    }
    if !tail.is_empty() {
        max = v.max(max, v.load(&padded(tail, f32::NEG_INFINITY)));
    }
    v.array(max)
}

/// [`golden::float::rms_norm`](craftsman_golden::float::rms_norm).
#[inline(always)]
pub(super) fn rms_norm<V: Vector>(v: V, x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == w.len() && x.len() == out.len(), "an RMS norm of unequal lengths");
    let r = 1.0 / (dot(v, x, x) / x.len() as f32 + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
        *out = (x * r) * w;
    }
}

/// [`golden::float::softmax`](craftsman_golden::float::softmax).
#[inline(always)]
pub(super) fn softmax<V: Vector>(v: V, x: &mut [f32]) {
    let max = max(v, x);
    for x in &mut *x {
        *x = exp(*x - max);
    }
    let sum = sum(v, x);
    for x in x {
        *x /= sum;
    }
}
