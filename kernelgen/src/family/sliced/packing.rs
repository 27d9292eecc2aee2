//! The planes of the weights.

use crate::panel::{Geometry, PackPanel};

/// Columns of a step.
pub(super) const STEP_COLUMNS: usize = 64;
/// Columns that one 32-bit lane holds a bit of.
const HALF_COLUMNS: usize = 32;
/// Halves of a step.
pub(super) const HALVES: usize = STEP_COLUMNS / HALF_COLUMNS;

/// The numbers of the layout for vectors of `lanes` 32-bit lanes and activations of `bits` bits.
pub(super) fn geometry(lanes: usize, bits: u8) -> Geometry {
    let vector_bytes = 4 * lanes;
    Geometry {
        fields: 1,
        step_columns: STEP_COLUMNS,
        step_bytes: HALVES * 2 * vector_bytes,
        prefix_bytes: vector_bytes,
        // Sums are those of the weights themselves: at most 128 a column.
        most_columns: ((1 << 31) - 1) / 128 / STEP_COLUMNS * STEP_COLUMNS,
        input_step_bytes: STEP_COLUMNS / 8 * usize::from(bits),
        biased: 0,
    }
}

/// Packs N, S and the counts of -1; see the family's introduction.
pub(super) struct SignPlanes;

impl PackPanel for SignPlanes {
    fn pack_lane(&self, rows: &[&[i8]], bytes: &mut [u8], stride: usize, lane: usize) {
        // A panel has one field.
        let [row] = rows else { return };
        let vector_bytes = stride / (2 * HALVES);
        let minus = row.iter().filter(|&&trit| trit < 0).count() as u32;
        bytes[4 * lane..][..4].copy_from_slice(&minus.to_ne_bytes());
        let steps = &mut bytes[vector_bytes..];
        for (half, trits) in row.chunks(HALF_COLUMNS).enumerate() {
            for (plane, set) in [|trit: i8| trit != 0, |trit: i8| trit < 0].into_iter().enumerate() {
                let bit = |(column, &trit): (usize, &i8)| u32::from(set(trit)) << column;
                let bits: u32 = trits.iter().enumerate().map(bit).sum();
                let place = (2 * half + plane) * vector_bytes + 4 * lane;
                steps[place..place + 4].copy_from_slice(&bits.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Family;
    use super::super::SLICED;
    use craftsman_golden::{Scales, TernaryMatrix};
    use proptest::prelude::*;

    use crate::config::KernelConfig;
    use crate::key::{Batch, KernelKey};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn every_trit_is_found_in_its_planes(m in 1_usize..40, k in 1_usize..200, seed in any::<u64>()) {
            let trit = |at: usize| (seed.wrapping_mul(2 * at as u64 + 1) >> 40) % 3;
            let trits: Vec<i8> = (0..m * k).map(|at| trit(at) as i8 - 1).collect();
            let w = TernaryMatrix::new(m, k, trits.clone(), Scales::Block { size: 64, values: vec![1.0; m * k.div_ceil(64)] }).unwrap();
            let key = KernelKey::new(m, k, Batch::Decode, w.granularity());
            let config: KernelConfig = "avx512bitalg-sliced.counts-1x1s1u1p0".parse().unwrap();
            let layout = config.layout(&key).unwrap();
            let packed = SLICED.pack(&[&w], &layout).unwrap();
            let word = |at: usize| u32::from_le_bytes(packed.bytes()[at..at + 4].try_into().unwrap());
            for (row, trits) in trits.chunks(k).enumerate() {
                // Blocks of 64 columns: the counts, then one step of four vectors.
                let lane = row / 16 * layout.panel_bytes + row % 16 * 4;
                for (block, trits) in trits.chunks(64).enumerate() {
                    let at = lane + block * 5 * 64;
                    prop_assert_eq!(word(at) as usize, trits.iter().filter(|&&trit| trit == -1).count());
                    for (column, &trit) in trits.iter().enumerate() {
                        let plane = |plane: usize| word(at + 64 * (1 + column / 32 * 2 + plane)) >> (column % 32) & 1;
                        prop_assert_eq!((plane(0), plane(1)), (u32::from(trit != 0), u32::from(trit == -1)));
                    }
                }
            }
        }
    }
}
