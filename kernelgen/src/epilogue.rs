//! What follows a product inside the kernel: the same bits as golden's functions, in the words of the vocabulary.

use craftsman_golden::float::exp_constants::{GREATEST, LEAST, LN2_HIGH, LN2_LOW, LOG2_E, ROUND, TAYLOR};

use crate::key::Epilogue;
use crate::vocabulary::{Accumulate, Binary, Compare, Emitter, Shift, Vector};

/// `y = activation(y) * up` for a gate/up pair.
pub(crate) fn gate(e: &mut dyn Emitter, epilogue: Epilogue, y: Vector, up: Vector) {
    match epilogue {
        Epilogue::None | Epilogue::Add => {}
        Epilogue::Silu => silu(e, y),
        Epilogue::Relu2 => relu2(e, y),
    }
    e.binary(Binary::MulFloat, y, y, up);
}

/// [`golden::float::relu2`](craftsman_golden::float::relu2)
fn relu2(e: &mut dyn Emitter, x: Vector) {
    let zero = e.vector();
    e.zero(zero);
    e.binary(Binary::MaxFloat, x, zero, x);
    e.binary(Binary::MulFloat, x, x, x);
    e.release(zero);
}

/// [`golden::float::silu`](craftsman_golden::float::silu): `x / (1 + exp(-x))`
fn silu(e: &mut dyn Emitter, x: Vector) {
    let [power, one] = [(); 2].map(|()| e.vector());
    // The sign bit flips: -x.
    splat(e, one, -0.0);
    e.binary(Binary::Xor, power, x, one);
    exp(e, power, one);
    splat(e, one, 1.0);
    e.binary(Binary::AddFloat, power, power, one);
    e.binary(Binary::DivFloat, x, x, power);
    release(e, [power, one]);
}

/// [`golden::float::exp`](craftsman_golden::float::exp) of `x`, which it replaces; `constant` is used up.
fn exp(e: &mut dyn Emitter, x: Vector, constant: Vector) {
    let [shifted, n, p] = [(); 3].map(|()| e.vector());
    splat(e, shifted, ROUND);
    splat(e, constant, LOG2_E);
    e.accumulate(Accumulate::MulAddFloat, shifted, x, constant);
    splat(e, constant, ROUND);
    e.binary(Binary::SubFloat, n, shifted, constant);
    // r = x - n ln 2 takes the place of n's product; x itself is needed for the range.
    let r = e.vector();
    e.zero(r);
    e.binary(Binary::Or, r, r, x);
    for part in [LN2_HIGH, LN2_LOW] {
        splat(e, constant, part);
        e.accumulate(Accumulate::MulSubFloat, r, n, constant);
    }
    polynomial(e, p, r, n);
    e.shift(Shift::Left32, shifted, shifted, 23);
    e.binary(Binary::Add32, p, p, shifted);
    release(e, [n, r]);
    range(e, x, p, constant, shifted);
    release(e, [shifted, p]);
}

/// `p` = the Taylor polynomial at `r`; `term` is used up.
fn polynomial(e: &mut dyn Emitter, mut p: Vector, r: Vector, mut term: Vector) {
    let result = p;
    let [highest, terms @ ..] = TAYLOR;
    splat(e, p, highest);
    for coefficient in terms {
        // p r + coefficient, with the coefficient as the sum: so the two registers change places.
        splat(e, term, coefficient);
        e.accumulate(Accumulate::MulAddFloat, term, p, r);
        (p, term) = (term, p);
    }
    if p != result {
        e.binary(Binary::Or, result, p, p);
    }
}

/// `x` = `p` where x is in range, 0 below it, and infinite (or NaN) above; `constant` and `mask` are used up.
fn range(e: &mut dyn Emitter, x: Vector, p: Vector, constant: Vector, mask: Vector) {
    let above = e.vector();
    splat(e, constant, f32::INFINITY);
    e.binary(Binary::AddFloat, above, x, constant);
    splat(e, constant, GREATEST);
    e.compare(Compare::LessOrEqual, mask, x, constant);
    e.binary(Binary::And, p, mask, p);
    e.binary(Binary::AndNot, above, mask, above);
    e.binary(Binary::Or, p, p, above);
    splat(e, constant, LEAST);
    e.compare(Compare::Less, mask, x, constant);
    e.binary(Binary::AndNot, x, mask, p);
    e.release(above);
}

fn release(e: &mut dyn Emitter, vectors: [Vector; 2]) {
    for vector in vectors {
        e.release(vector);
    }
}

fn splat(e: &mut dyn Emitter, to: Vector, value: f32) {
    e.splat(to, value.to_bits());
}
