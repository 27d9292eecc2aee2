//! Inputs that are meant to break kernels.

use craftsman_golden::{Granularity, Scales, TernaryMatrix};

use crate::code::EmitError;
use crate::key::KernelKey;

/// A matrix of `rows` rows, each of another pattern, with random scales of either sign.
pub(crate) fn weights(key: &KernelKey, rows: usize, random: &mut Random) -> Result<TernaryMatrix, EmitError> {
    let trits = (0..rows).flat_map(|row| weight_row(row, key.k, random)).collect();
    let mut scales = |count: usize| (0..count).map(|_| random.positive() - 0.25).collect();
    let scales = match key.scales {
        Granularity::Tensor => Scales::Tensor(0.037),
        Granularity::Row => Scales::Row(scales(rows)),
        Granularity::Block(size) => Scales::Block { size, values: scales(rows * key.blocks().1) },
    };
    TernaryMatrix::new(rows, key.k, trits, scales).map_err(EmitError::new)
}

/// The patterns of weights: extremes, signs that follow the alternating activations, and random ones.
fn weight_row(row: usize, k: usize, random: &mut Random) -> Vec<i8> {
    let pattern = row % 6;
    let trit = |column: usize| match pattern {
        0 => 1,
        1 => -1,
        2 => 0,
        3 => 1 - 2 * (column % 2) as i8,
        4 => (random.next() % 3) as i8 - 1,
        _ => i8::from(random.next().is_multiple_of(16)),
    };
    (0..k).map(trit).collect()
}

/// How many patterns of activations there are.
pub(super) const TOKEN_PATTERNS: usize = 7;

/// The patterns of activations: both extremes, alternating ones, one spike, nothing, and random ones.
pub(crate) fn token_row(token: usize, k: usize, random: &mut Random) -> Vec<i8> {
    let pattern = token % TOKEN_PATTERNS;
    let spike = (random.next() % k as u64) as usize;
    let value = |column: usize| match pattern {
        0 => 127,
        1 => -128,
        2 => [127, -128][column % 2],
        3 => [-127, 127][column % 2],
        4 => {
            if column == spike {
                -128
            } else {
                0
            }
        }
        5 => 0,
        _ => random.next() as i8,
    };
    (0..k).map(value).collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, and the same everywhere.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// In (0, 1].
    pub(crate) fn positive(&mut self) -> f32 {
        ((self.next() >> 40) + 1) as f32 / (1_u64 << 24) as f32
    }
}
