//! Operations without a reduction: golden's own scalar definitions in loops that the compiler turns into
//! vectors of whatever tier they are inlined into.

use craftsman_golden::float::{relu2, silu};

/// `up = silu(gate) * up`.
#[inline(always)]
pub(super) fn silu_mul(gate: &[f32], up: &mut [f32]) {
    assert_eq!(gate.len(), up.len(), "a gated product of unequal lengths");
    for (up, &gate) in up.iter_mut().zip(gate) {
        *up *= silu(gate);
    }
}

/// `up = relu2(gate) * up`.
#[inline(always)]
pub(super) fn relu2_mul(gate: &[f32], up: &mut [f32]) {
    assert_eq!(gate.len(), up.len(), "a gated product of unequal lengths");
    for (up, &gate) in up.iter_mut().zip(gate) {
        *up *= relu2(gate);
    }
}

/// `acc = acc + x`.
#[inline(always)]
pub(super) fn add(acc: &mut [f32], x: &[f32]) {
    assert_eq!(acc.len(), x.len(), "a sum of unequal lengths");
    for (acc, x) in acc.iter_mut().zip(x) {
        *acc += x;
    }
}

/// `acc = p * v + acc`, rounded once.
#[inline(always)]
pub(super) fn axpy(p: f32, v: &[f32], acc: &mut [f32]) {
    assert_eq!(acc.len(), v.len(), "a weighted sum of unequal lengths");
    for (acc, v) in acc.iter_mut().zip(v) {
        *acc = p.mul_add(*v, *acc);
    }
}
