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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Batch;
    use crate::panel::made_input;
    use craftsman_golden::Granularity;
    use proptest::prelude::*;

    /// What the emitted code makes of `rows`, in the simulator.
    fn sliced(key: &KernelKey, rows: &[u8], tokens: usize) -> Vec<u8> {
        made_input(key, "avx512bitalg-sliced.counts-1x1s1u1p0", "zen4", rows, tokens)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn every_bit_is_in_its_slice(k in 1_usize..300, tokens in 1_usize..4, four in any::<bool>(), seed in any::<u64>()) {
            let bits = if four { 4 } else { 8 };
            let key = KernelKey { activation_bits: bits, ..KernelKey::new(1, k, Batch::Prefill, Granularity::Tensor) };
            let padded = key.padded_k();
            let value = |at: usize| (seed.wrapping_mul(2 * at as u64 + 1) >> 33) as i8 >> (8 - bits);
            let q: Vec<i8> = (0..tokens * padded).map(|at| if at % padded < k { value(at) } else { 0 }).collect();
            let rows: Vec<u8> = q.iter().map(|q| q.cast_unsigned()).collect();
            let slices = sliced(&key, &rows, tokens);
            for token in 0..tokens {
                for column in 0..k {
                    let step = form(&key).token_offset(token) + column / 64 * 8 * usize::from(bits);
                    for bit in 0..usize::from(bits) {
                        let found = slices[step + 8 * bit + column % 64 / 8] >> (column % 8) & 1;
                        prop_assert_eq!(found, rows[token * padded + column] >> bit & 1, "{} {}", column, bit);
                    }
                }
            }
        }
    }
}
