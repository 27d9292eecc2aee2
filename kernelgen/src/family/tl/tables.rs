//! From rows to tables: the form of the activations that the look-up families read.
//!
//! ```text
//! for each step:  x = the columns of four tuples, plus 128, as unsigned bytes
//!     y = 33 e + 16400 for entries e of sixteen-bit lanes     products with 33 times the trits, and a constant
//!     high = (y >> 10) - 16;  low = (y + (y >> 10)) % 32 - 16         see [`tuples`](super::tuples)
//! ```
//! What lies beyond the columns of a segment does not matter, since no weight there is other than zero; but memory
//! beyond the row may not be read.

use super::tuples::{BIAS, FACTOR, OFFSET, STEP_TABLES, STEP_TUPLES, Tuples};
use crate::activations::InputForm;
use crate::key::KernelKey;
use crate::vocabulary::{Binary, Emitter, Field, Pointer, Shift, Vector};

/// Bytes that are read of a row at a time.
const BLOCK: usize = 16;

/// The form that the tables of `key`'s activations are.
pub(super) fn form(tuples: &Tuples, key: &KernelKey) -> InputForm {
    let geometry = tuples.geometry(1);
    let segment = geometry.segment(key);
    let steps = key.k / segment * geometry.steps(segment) + geometry.steps(key.k % segment);
    InputForm::per_token(tuples.name, 0, steps * STEP_TABLES)
}

/// Says how the tables of all tokens are made.
pub(super) fn emit(tuples: &'static Tuples, key: &KernelKey, e: &mut dyn Emitter) {
    let segment = tuples.geometry(e.lanes()).segment(key);
    let mut maker = Maker {
        tuples,
        rows: e.pointer(Field::Source),
        tables: e.pointer(Field::Activations),
        scratch: e.pointer(Field::Scratch),
        flip: e.vector(),
        five_bits: e.vector(),
        offset: e.vector(),
        e,
    };
    maker.constants();
    maker.e.begin_while(Field::Tokens, 1, "tokens");
    let (full, rest) = (key.k / segment, key.k % segment);
    if full > 0 {
        maker.e.set_field(Field::BlocksLeft, full);
        maker.e.begin_while(Field::BlocksLeft, 1, &format!("segments of {segment}"));
        maker.segment(segment);
        maker.e.end_while();
    }
    if rest > 0 {
        maker.segment(rest);
    }
    maker.e.end_while();
}

struct Maker<'e> {
    tuples: &'static Tuples,
    rows: Pointer,
    tables: Pointer,
    scratch: Pointer,
    /// Turns signed bytes into unsigned ones that are 128 more.
    flip: Vector,
    five_bits: Vector,
    offset: Vector,
    e: &'e mut dyn Emitter,
}

impl Maker<'_> {
    fn constants(&mut self) {
        self.e.reserve_scratch(4 * self.e.lanes());
        self.e.splat(self.flip, u32::from_ne_bytes([0x80; 4]));
        self.e.splat(self.five_bits, 0x001F_001F);
        self.e.splat(self.offset, u32::from_ne_bytes([OFFSET as u8; 4]));
    }

    /// The tables of `columns` columns; moves both pointers past them.
    fn segment(&mut self, columns: usize) {
        let step_columns = STEP_TUPLES * self.tuples.width;
        let (steps, bytes) = (columns.div_ceil(step_columns), columns.next_multiple_of(4));
        let whole = if bytes < BLOCK { 0 } else { steps.min((bytes - BLOCK) / step_columns + 1) };
        let x = self.e.vector();
        if whole > 0 {
            self.e.begin_repeat(whole, "steps");
            self.e.broadcast_block(x, self.rows, 0);
            self.step(x);
            self.e.advance(self.rows, step_columns as i64);
            self.e.end_repeat();
        }
        for step in whole..steps {
            // Fewer than sixteen bytes are left: by way of the work space, which takes whole vectors.
            let lanes = (bytes - step * step_columns) / 4;
            self.e.load_lanes(x, self.rows, ((step - whole) * step_columns) as i64, lanes);
            self.e.store(self.scratch, 0, x);
            self.e.broadcast_block(x, self.scratch, 0);
            self.step(x);
        }
        self.e.advance(self.rows, bytes as i64 - (whole * step_columns) as i64);
        self.e.release(x);
    }

    /// The tables of one step's columns, which every block of `x` holds.
    fn step(&mut self, x: Vector) {
        self.e.binary(Binary::Xor, x, x, self.flip);
        let blocks = self.e.lanes() / 4;
        for first in (0..STEP_TUPLES).step_by(blocks) {
            let [low, high] = [(); 2].map(|()| self.e.vector());
            self.bytes(x, first, [low, high]);
            for (part, bytes) in [low, high].into_iter().enumerate() {
                let place = (16 * (first + STEP_TUPLES * part)) as i64;
                self.e.binary(Binary::Sub8, bytes, bytes, self.offset);
                self.e.store(self.tables, place, bytes);
                self.e.release(bytes);
            }
        }
        self.e.advance(self.tables, STEP_TABLES as i64);
    }

    /// `low` and `high` = the bytes, [`OFFSET`] too much, of the entries of tuples `first`, `first + 1` and so on, one a
    /// block.
    fn bytes(&mut self, x: Vector, first: usize, [low, high]: [Vector; 2]) {
        let [low_rest, high_rest] = [(); 2].map(|()| self.e.vector());
        for (entries, low, high) in [(0, low, high), (8, low_rest, high_rest)] {
            self.entries(x, first, entries, low);
            self.e.shift(Shift::Right16, high, low, 10);
            self.e.binary(Binary::Add16, low, low, high);
            self.e.binary(Binary::And, low, low, self.five_bits);
        }
        for (bytes, rest) in [(low, low_rest), (high, high_rest)] {
            self.e.binary(Binary::Pack16, bytes, bytes, rest);
            self.e.release(rest);
        }
    }

    /// Sixteen-bit lanes of `y` = 33 e + 16400 for eight entries of each block's tuple.
    fn entries(&mut self, x: Vector, first: usize, entries: u8, y: Vector) {
        let trits: Vec<_> = (entries..entries + 8).map(|index| self.tuples.trits(index)).collect();
        let [columns, factors] = [(); 2].map(|()| self.e.vector());
        for pair in (0..self.tuples.width).step_by(2) {
            let order = |tuple: usize| {
                let column = self.tuples.width * tuple + pair;
                [column as u8, (column + 1) as u8 % BLOCK as u8]
            };
            let blocks =
                (0..self.e.lanes() / 4).flat_map(|block| order(first + block).repeat(8)).collect::<Vec<_>>();
            self.e.constant(columns, &blocks);
            self.e.binary(Binary::Shuffle8, columns, x, columns);
            let factor = |trit: Option<&i8>| (FACTOR * trit.copied().unwrap_or(0)).cast_unsigned();
            let pairs: Vec<_> = trits
                .iter()
                .flat_map(|trits| [factor(trits.get(pair)), factor(trits.get(pair + 1))])
                .collect();
            self.e.pattern(factors, &pairs);
            if pair == 0 {
                self.e.binary(Binary::MulPairs, y, columns, factors);
            } else {
                self.e.binary(Binary::MulPairs, columns, columns, factors);
                self.e.binary(Binary::Add16, y, y, columns);
            }
        }
        // Modulo 2^16, which y itself fits.
        let bias = |trits: &[i8; 3]| {
            BIAS - 128 * i16::from(FACTOR) * trits.iter().map(|&trit| i16::from(trit)).sum::<i16>()
        };
        let biases: Vec<_> = trits.iter().flat_map(|trits| bias(trits).to_le_bytes()).collect();
        self.e.pattern(factors, &biases);
        self.e.binary(Binary::Add16, y, y, factors);
        self.e.release(columns);
        self.e.release(factors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tuples::{RADIX, TL1, TL2};
    use super::*;
    use crate::key::Batch;
    use crate::panel::made_input;
    use craftsman_golden::Granularity;
    use proptest::prelude::*;

    /// The sum that entry `index` of table `tuple` of the step at `tables` stands for.
    fn entry(tables: &[u8], tuple: usize, index: usize) -> i32 {
        let byte = |part: usize| i32::from(tables[16 * (tuple + STEP_TUPLES * part) + index].cast_signed());
        i32::from(RADIX) * byte(1) + byte(0) + OFFSET as i32
    }

    /// Every entry that stands for weights of columns that exist, against a scalar rendering.
    fn check(tuples: &Tuples, key: &KernelKey, q: &[i8], tables: &[u8]) {
        let geometry = tuples.geometry(1);
        let segments = q.chunks(key.padded_k()).flat_map(|row| row[..key.k].chunks(geometry.segment(key)));
        let steps = segments.flat_map(|segment| segment.chunks(geometry.step_columns));
        assert_eq!(tables.len(), steps.clone().count() * STEP_TABLES);
        for (x, tables) in steps.zip(tables.chunks(STEP_TABLES)) {
            for (tuple, x) in x.chunks(tuples.width).enumerate() {
                for index in 0..16_u8 {
                    let trits = tuples.trits(index);
                    if trits[x.len()..].iter().all(|&trit| trit == 0) {
                        let sum: i32 = trits.iter().zip(x).map(|(&t, &x)| i32::from(t) * i32::from(x)).sum();
                        assert_eq!(
                            entry(tables, tuple, index.into()),
                            sum,
                            "{} {index} of {x:?}",
                            tuples.name
                        );
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn tables_hold_the_sums(
            k in 1_usize..300, tokens in 1_usize..4, blocks in any::<bool>(), wide in any::<bool>(), extreme in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let scales = if blocks { Granularity::Block(64) } else { Granularity::Tensor };
            let key = KernelKey::new(1, k, Batch::Prefill, scales);
            let padded = key.padded_k();
            let random = |at: usize| (seed.wrapping_mul(2 * at as u64 + 1) >> 33) as i8;
            let value = |at: usize| if extreme { [127, -128][usize::from(random(at) < 0)] } else { random(at) };
            let q: Vec<i8> = (0..tokens * padded).map(|at| if at % padded < k { value(at) } else { 0 }).collect();
            let rows: Vec<u8> = q.iter().map(|q| q.cast_unsigned()).collect();
            for tuples in [&TL1, &TL2] {
                let backend = if wide { "avx512bw" } else { "avx2" };
                let config = format!("{backend}-{}.bytes-1x1s1u1p0", tuples.name);
                check(tuples, &key, &q, &made_input(&key, &config, "skylake-x", &rows, tokens));
            }
        }
    }
}
