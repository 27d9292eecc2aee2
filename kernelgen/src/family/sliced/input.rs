//! From rows of activations to their bit slices.

use super::packing::STEP_COLUMNS;
use crate::activations::InputForm;
use crate::key::KernelKey;
use crate::vocabulary::{Emitter, Field, Pointer, Shift};

/// Bytes of one slice of a step.
pub(super) const SLICE_BYTES: usize = STEP_COLUMNS / 8;

/// The slices of a token, step by step.
pub(super) fn form(key: &KernelKey) -> InputForm {
    let steps = key.k.div_ceil(STEP_COLUMNS);
    InputForm::per_token("sliced", 0, steps * SLICE_BYTES * usize::from(key.activation_bits))
}

/// Slices every token. Bits of columns beyond k are zeros, or, in bytes that no whole vector reaches, whatever they were:
/// no weight meets them.
pub(super) fn emit(key: &KernelKey, e: &mut dyn Emitter) {
    let (padded, token_bytes) = (key.padded_k(), form(key).token_bytes);
    let step_bytes = SLICE_BYTES * usize::from(key.activation_bits);
    let source = e.pointer(Field::Source);
    let slices = e.pointer(Field::Activations);
    let (steps, rest) = (padded / STEP_COLUMNS, padded % STEP_COLUMNS);
    e.copy_field(Field::TokensLeft, Field::Tokens);
    e.begin_while(Field::TokensLeft, 1, "token");
    if steps > 0 {
        e.set_field(Field::BlocksLeft, steps);
        e.begin_while(Field::BlocksLeft, 1, "64 columns");
        slice(key, e, [source, slices], STEP_COLUMNS);
        e.advance(source, STEP_COLUMNS as i64);
        e.advance(slices, step_bytes as i64);
        e.end_while();
    }
    if rest > 0 {
        e.label("last columns");
        slice(key, e, [source, slices], rest);
    }
    e.advance(source, rest as i64);
    e.advance(slices, (token_bytes - steps * step_bytes) as i64);
    e.end_while();
}

/// The slices of `columns` columns, whole lanes of them, of one step.
fn slice(key: &KernelKey, e: &mut dyn Emitter, [source, slices]: [Pointer; 2], columns: usize) {
    let bytes = 4 * e.lanes();
    let [x, shifted] = [(); 2].map(|()| e.vector());
    for at in (0..columns).step_by(bytes) {
        e.load_lanes(x, source, at as i64, (columns - at).min(bytes) / 4);
        for bit in 0..key.activation_bits {
            // What a lane's lower bytes shift into a byte does not reach its top bit.
            let top = 7 - bit;
            if top > 0 {
                e.shift(Shift::Left32, shifted, x, top);
            }
            let place = usize::from(bit) * SLICE_BYTES + at / 8;
            e.store_sign_bits(slices, place as i64, if top > 0 { shifted } else { x });
        }
    }
    for vector in [x, shifted] {
        e.release(vector);
    }
}
