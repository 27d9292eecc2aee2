//! Tuples of weights as data, and how they and their sums are coded.
//!
//! The trits of a tuple, as digits, are a balanced ternary number v. TL1 has the index v, modulo nine. TL2 has the
//! index |v| and the sign of v: 27 sums are 13 pairs of opposite sign, and zero. The index of no weights at all is 0,
//! so memory that was never written adds nothing.
//!
//! # Two bytes for a sum
//! e = 31 high + low + 16 with low in -16..=15. The complement of a byte b is -1 - b, so complementing both gives
//! 31 (-1 - high) + (-1 - low) + 16 = -e: a sign costs an exclusive or, and nothing needs to be counted.
//! With |e| <= 384, eight lows are within -128..=127, and high is within -13..=12.
//!
//! With y = 33 e + 16400 the bytes are `high = (y >> 10) - 16` and `low = (y + (y >> 10)) % 32 - 16`: 33 / 1024 is near
//! enough to 1 / 31, and modulo 32, 33 e is e. A test tries every e.

use crate::panel::{Geometry, PackPanel};

/// Tuples of a step.
pub(super) const STEP_TUPLES: usize = 4;
/// Bytes of the tables of a step: for each tuple sixteen low bytes and sixteen high ones.
pub(super) const STEP_TABLES: usize = STEP_TUPLES * 32;
/// Tuples whose bytes can be added up without overflow.
pub(super) const TUPLES_IN_8_BITS: usize = 8;
/// A sum is so many times its high byte, plus its low byte, plus `OFFSET`.
pub(super) const RADIX: u8 = 31;
/// See [`RADIX`].
pub(super) const OFFSET: usize = 16;
/// What an entry is multiplied with to be split.
pub(super) const FACTOR: i8 = 33;
/// What is added to it then.
pub(super) const BIAS: i16 = 16400;

/// How many weights make a tuple.
#[derive(Debug)]
pub(super) struct Tuples {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    /// Weights of a tuple.
    pub(super) width: usize,
    /// Whether tuples have a sign beside their index.
    pub(super) signed: bool,
}

/// See the module's introduction.
pub(super) static TL1: Tuples =
    Tuples { name: "tl1", summary: "2 bits a weight, tables of 2 weights", width: 2, signed: false };
/// See the module's introduction.
pub(super) static TL2: Tuples = Tuples {
    name: "tl2",
    summary: "1.67 bits a weight, tables of 3 weights and a sign",
    width: 3,
    signed: true,
};

impl Tuples {
    /// The numbers of panels for vectors of `lanes` 32-bit lanes.
    pub(super) fn geometry(&self, lanes: usize) -> Geometry {
        let step_columns = STEP_TUPLES * self.width;
        Geometry {
            // Two nibbles, two halves of a block, even and odd bytes of a half: see `Packer`.
            fields: 8,
            step_columns,
            step_bytes: 4 * lanes * (STEP_TUPLES + usize::from(self.signed)),
            prefix_bytes: 0,
            // A column adds at most 128, and `OFFSET` per tuple is less.
            most_columns: i32::MAX as usize / 256 / step_columns * step_columns,
            input_step_bytes: STEP_TABLES,
            biased: 0,
        }
    }

    /// Index and sign of up to `width` trits.
    pub(super) fn code(&self, trits: &[i8]) -> (u8, bool) {
        let number = trits.iter().rev().fold(0, |number, trit| 3 * number + trit);
        if self.signed { (number.unsigned_abs(), number < 0) } else { (number.rem_euclid(9) as u8, false) }
    }

    /// The trits that entry `index` of a table sums; those of an entry that no index reads are 0.
    pub(super) fn trits(&self, index: u8) -> [i8; 3] {
        let all = (0..27).map(|number| [number % 3 - 1, number / 3 % 3 - 1, number / 9 - 1]);
        let mut own = all.filter(|trits| trits[self.width..].iter().all(|&trit| trit == 0));
        own.find(|trits| self.code(&trits[..self.width]) == (index, false)).unwrap_or_default()
    }
}

/// Writes tuples into panels. Lane l of field f is byte `16 (l / 4) + 8 half + 2 (l % 4) + parity` of nibble `n` of a
/// vector, where f is the number `n half parity` in binary: the lane in which interleaving the bytes of low and high and
/// then taking even and odd lanes puts their sum.
pub(super) struct Packer {
    tuples: &'static Tuples,
    vector_bytes: usize,
    /// Index and sign of every tuple, by its trits as the digits 0 to 2, the first trit the lowest.
    codes: [(u8, bool); 27],
}

impl Packer {
    pub(super) fn new(tuples: &'static Tuples, vector_bytes: usize) -> Self {
        let codes = std::array::from_fn(|number| {
            let trits = [number, number / 3, number / 9].map(|digits| (digits % 3) as i8 - 1);
            tuples.code(&trits[..tuples.width])
        });
        Self { tuples, vector_bytes, codes }
    }

    /// Index and sign of up to a tuple's trits.
    fn code(&self, trits: &[i8]) -> (u8, bool) {
        let missing = [1; 3].iter().skip(trits.len());
        let digits = trits.iter().map(|trit| (trit + 1) as usize).chain(missing.copied());
        let number = digits.zip([1, 3, 9]).map(|(digit, place)| digit * place).sum::<usize>();
        self.codes[number]
    }
}

impl PackPanel for Packer {
    fn pack_lane(&self, rows: &[&[i8]], bytes: &mut [u8], stride: usize, lane: usize) {
        rows.iter().enumerate().for_each(|(field, row)| self.pack_row(row, bytes, stride, lane, field));
    }
}

impl Packer {
    fn pack_row(&self, row: &[i8], bytes: &mut [u8], stride: usize, lane: usize, field: usize) {
        let (shift, half, parity) = (field / 4 * 4, field / 2 % 2, field % 2);
        let byte = lane / 4 * 16 + half * 8 + lane % 4 * 2 + parity;
        for (number, trits) in row.chunks(self.tuples.width).enumerate() {
            let (step, tuple) = (number / STEP_TUPLES, number % STEP_TUPLES);
            let (index, negative) = self.code(trits);
            let step = &mut bytes[step * stride + byte..];
            step[tuple * self.vector_bytes] |= index << shift;
            if negative {
                step[STEP_TUPLES * self.vector_bytes] |= 1 << (tuple + shift);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combinations(width: usize) -> impl Iterator<Item = Vec<i8>> {
        (0..3_usize.pow(width as u32)).map(move |number| {
            (0..width).map(|place| (number / 3_usize.pow(place as u32) % 3) as i8 - 1).collect()
        })
    }

    #[test]
    fn every_tuple_gives_its_trits_back() {
        for tuples in [&TL1, &TL2] {
            for trits in combinations(tuples.width) {
                let (index, negative) = tuples.code(&trits);
                assert!(index < 16, "{trits:?}");
                let sign = if negative { -1 } else { 1 };
                let found = tuples.trits(index).map(|trit| sign * trit);
                assert_eq!(found[..tuples.width], trits, "{}", tuples.name);
            }
            assert_eq!(tuples.code(&vec![0; tuples.width]), (0, false));
        }
    }

    /// As `tables` says it, see there.
    fn split(e: i16) -> (i8, i8) {
        let y = i16::from(FACTOR) * e + BIAS;
        let high = y >> 10;
        ((high - 16) as i8, ((y + high) % 32 - 16) as i8)
    }

    #[test]
    fn every_sum_is_two_bytes_that_complements_negate() {
        let eight = TUPLES_IN_8_BITS as i16;
        for e in -384..=384 {
            let (high, low) = split(e);
            let join =
                |high: i8, low: i8| i16::from(RADIX) * i16::from(high) + i16::from(low) + OFFSET as i16;
            assert_eq!(join(high, low), e);
            assert_eq!(join(!high, !low), -e);
            for byte in [high, !high, low, !low] {
                assert!(i8::try_from(eight * i16::from(byte)).is_ok(), "{e}");
            }
        }
    }
}
