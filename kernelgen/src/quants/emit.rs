//! The product, in the words of the vocabulary.

use super::layout::{FIELDS, Geometry, STEP_COLUMNS};
use crate::vocabulary::{Accumulate, Accumulation, Binary, Emitter, Field, Pointer, Shift, Unary, Vector};

/// How far ahead weights are asked for, in bytes.
const PREFETCH: i64 = 2048;
/// Bytes that a prefetch brings.
const CACHE_LINE: i64 = 64;

/// Slots of the work space: totals, then the `d` of scales and of minimums, each a vector a field.
const TOTALS: usize = 0;
const D: usize = FIELDS;
const D_MINIMUM: usize = 2 * FIELDS;
const SLOTS: usize = 3 * FIELDS;

/// Says the whole product for any number of panels and tokens.
pub(super) fn emit(geometry: Geometry, e: &mut dyn Emitter) {
    e.label("constants");
    e.reserve_scratch(SLOTS * geometry.vector());
    let low = e.vector();
    e.splat(low, u32::from_ne_bytes([15; 4]));
    let lowest = (geometry.planes().last() == Some(&2)).then(|| e.vector());
    if let Some(lowest) = lowest {
        e.splat(lowest, u32::from_ne_bytes([3; 4]));
    }
    let mut speech = Speech {
        geometry,
        weights: e.pointer(Field::Weights),
        activations: e.pointer(Field::Activations),
        words: e.pointer(Field::TokenWords),
        output: e.pointer(Field::Output),
        scratch: e.pointer(Field::Scratch),
        low,
        lowest,
        e,
    };
    let rows = geometry.panel_rows();
    speech.panels(Field::Panels, rows);
    if !geometry.m.is_multiple_of(rows) {
        speech.panels(Field::Tail, geometry.m % rows);
    }
}

struct Speech<'e> {
    geometry: Geometry,
    weights: Pointer,
    activations: Pointer,
    words: Pointer,
    output: Pointer,
    scratch: Pointer,
    /// The low four bits of each byte.
    low: Vector,
    /// The low two bits of each byte, where a plane has two.
    lowest: Option<Vector>,
    e: &'e mut dyn Emitter,
}

impl Speech<'_> {
    /// As many panels as `field` says, of `rows` rows that exist.
    fn panels(&mut self, field: Field, rows: usize) {
        self.e.begin_while(field, 1, &format!("{rows} rows"));
        self.e.reload(self.output, Field::Output);
        self.e.reload(self.activations, Field::Activations);
        self.e.reload(self.words, Field::TokenWords);
        self.e.copy_field(Field::TokensLeft, Field::Tokens);
        self.e.begin_while(Field::TokensLeft, 1, "tokens");
        self.token();
        self.e.advance(self.weights, -(self.geometry.panel_bytes() as i64));
        self.finish(rows);
        self.e.advance(self.output, 4 * self.geometry.m as i64);
        self.e.end_while();
        self.e.advance(self.weights, self.geometry.panel_bytes() as i64);
        self.e.add_field(Field::Output, 4 * self.geometry.panel_rows());
        self.e.end_while();
    }

    fn slot(&self, slot: usize) -> i64 {
        (slot * self.geometry.vector()) as i64
    }

    fn release(&mut self, vectors: impl IntoIterator<Item = Vector>) {
        vectors.into_iter().for_each(|vector| self.e.release(vector));
    }

    /// The totals of one token; moves on to the next one's activations and words.
    fn token(&mut self) {
        let zero = self.e.vector();
        self.e.zero(zero);
        (0..FIELDS).for_each(|field| self.e.store(self.scratch, self.slot(TOTALS + field), zero));
        self.e.release(zero);
        self.e.advance(self.words, 4);
        let Geometry { kind, k, .. } = self.geometry;
        let (span, group) = (self.geometry.span_columns(), self.geometry.group_blocks());
        if k / span > 0 {
            self.e.set_field(Field::BlocksLeft, k / span);
            self.e.begin_while(Field::BlocksLeft, 1, &format!("{span} columns"));
            self.header();
            let groups = span / kind.block / group;
            if groups > 1 {
                self.e.begin_repeat(groups, &format!("{group} blocks"));
            }
            self.group(group);
            if groups > 1 {
                self.e.end_repeat();
            }
            self.e.end_while();
        }
        if !k.is_multiple_of(span) {
            self.group(k % span / kind.block);
        }
    }

    /// `d` and `d_minimum` of a superblock into the work space.
    fn header(&mut self) {
        if !self.geometry.has_header() {
            return;
        }
        let value = self.e.vector();
        for field in 0..FIELDS {
            for part in 0..=usize::from(self.geometry.kind.minimums) {
                self.e.load(value, self.weights, self.slot(field));
                self.half(value, part);
                self.e.store(self.scratch, self.slot([D, D_MINIMUM][part] + field), value);
            }
        }
        self.e.release(value);
        self.e.advance(self.weights, self.slot(self.geometry.header_vectors()));
    }

    /// Half `which` of each lane as a float: sign, exponent and mantissa moved to where a float has them, which is 2^-112
    /// times the number.
    fn half(&mut self, value: Vector, which: usize) {
        let constant = self.e.vector();
        if which == 0 {
            self.e.shift(Shift::Left32, value, value, 16);
        } else {
            self.e.pattern(constant, &0xFFFF_0000_u32.to_le_bytes());
            self.e.binary(Binary::And, value, value, constant);
        }
        self.e.shift(Shift::Right32, value, value, 3);
        self.e.pattern(constant, &0x8FFF_FFFF_u32.to_le_bytes());
        self.e.binary(Binary::And, value, value, constant);
        self.e.pattern(constant, &2.0_f32.powi(112).to_le_bytes());
        self.e.binary(Binary::MulFloat, value, value, constant);
        self.e.release(constant);
    }

    /// `blocks` blocks and their scales.
    fn group(&mut self, blocks: usize) {
        let steps = self.geometry.block_steps();
        for block in 0..blocks {
            let sums = self.sums(block * steps..(block + 1) * steps);
            self.add(block, &sums);
            self.release(sums.into_iter().flatten());
        }
        self.e.advance(self.weights, self.slot(self.geometry.group_vectors(blocks)));
        self.e.advance(self.activations, (blocks * self.geometry.kind.block) as i64);
        self.e.advance(self.words, 4 * blocks as i64);
    }

    /// Products of one block, by plane and field, in 32-bit lanes.
    fn sums(&mut self, steps: std::ops::Range<usize>) -> Vec<[Vector; FIELDS]> {
        let planes = self.geometry.planes();
        let sums: Vec<_> = planes.iter().map(|_| [(); FIELDS].map(|()| self.e.vector())).collect();
        sums.iter().flatten().for_each(|&sum| self.e.zero(sum));
        let [x, w, part] = [(); 3].map(|()| self.e.vector());
        for step in steps {
            self.e.broadcast(x, self.activations, (step * STEP_COLUMNS) as i64);
            let mut vector = self.geometry.scale_vectors() + step * self.geometry.step_vectors();
            for (&bits, sums) in planes.iter().zip(&sums) {
                let fields = 8 / bits as usize;
                for sums in sums.chunks(fields) {
                    self.load(w, vector);
                    for (place, &sum) in sums.iter().enumerate() {
                        self.field(part, w, bits, place);
                        self.multiply(sum, part, x);
                    }
                    vector += 1;
                }
            }
        }
        self.release([x, w, part]);
        self.widen(&sums);
        sums
    }

    /// Vector `vector` of the group, with those to come asked for.
    fn load(&mut self, to: Vector, vector: usize) {
        let offset = self.slot(vector);
        self.e.load(to, self.weights, offset);
        if offset % CACHE_LINE == 0 {
            self.e.prefetch(self.weights, offset + PREFETCH);
        }
    }

    /// `part` = the codes of the field at `place` of `w`'s bytes.
    fn field(&mut self, part: Vector, w: Vector, bits: u32, place: usize) {
        let mask = if bits == 4 { self.low } else { self.lowest.unwrap_or(self.low) };
        let shift = bits as u8 * place as u8;
        if shift == 0 {
            return self.e.binary(Binary::And, part, w, mask);
        }
        self.e.shift(Shift::Right16, part, w, shift);
        self.e.binary(Binary::And, part, part, mask);
    }

    /// `sum += part * x`. In 16-bit lanes a block's 8 pairs of products of at most 15 * 128 fit.
    fn multiply(&mut self, sum: Vector, part: Vector, x: Vector) {
        if self.e.accumulation() == Accumulation::Pairs {
            self.e.binary(Binary::MulPairs, part, part, x);
            self.e.binary(Binary::Add16, sum, sum, part);
        } else {
            self.e.accumulate(Accumulate::Dot, sum, part, x);
        }
    }

    fn widen(&mut self, sums: &[[Vector; FIELDS]]) {
        if self.e.accumulation() == Accumulation::Pairs {
            let ones = self.e.vector();
            self.e.pattern(ones, &0x0001_0001_u32.to_le_bytes());
            sums.iter().flatten().for_each(|&sum| self.e.binary(Binary::AddPairs, sum, sum, ones));
            self.e.release(ones);
        }
    }

    /// One block's sums, times their scales, onto the totals.
    fn add(&mut self, block: usize, sums: &[[Vector; FIELDS]]) {
        let kind = self.geometry.kind;
        // The sum of the activations, times the code of zero.
        let correction = self.e.vector();
        if kind.zero > 0 {
            self.e.broadcast(correction, self.words, 4 * block as i64);
            self.e.shift(Shift::Left32, correction, correction, kind.zero.ilog2() as u8);
        }
        let [scale, total] = [(); 2].map(|()| self.e.vector());
        for field in 0..FIELDS {
            let sum = sums[0][field];
            if let Some(high) = sums.get(1) {
                self.e.shift(Shift::Left32, high[field], high[field], 4);
                self.e.binary(Binary::Add32, sum, sum, high[field]);
            }
            if kind.zero > 0 {
                self.e.binary(Binary::Sub32, sum, sum, correction);
            }
            self.e.unary(Unary::ToFloat, sum, sum);
            self.e.load(total, self.scratch, self.slot(TOTALS + field));
            self.scale(scale, 0, field, block);
            self.e.accumulate(Accumulate::MulAddFloat, total, sum, scale);
            if kind.minimums {
                self.scale(scale, 1, field, block);
                self.e.broadcast(sum, self.words, 4 * block as i64);
                self.e.unary(Unary::ToFloat, sum, sum);
                self.e.accumulate(Accumulate::MulSubFloat, total, sum, scale);
            }
            self.e.store(self.scratch, self.slot(TOTALS + field), total);
        }
        self.release([correction, scale, total]);
    }

    /// `to` = the scales (`part` 0) or minimums of a block of a group.
    fn scale(&mut self, to: Vector, part: usize, field: usize, block: usize) {
        self.e.load(to, self.weights, self.slot(FIELDS * part + field));
        if !self.geometry.has_header() {
            return self.half(to, block);
        }
        let left = 24 - 8 * block as u8;
        if left > 0 {
            self.e.shift(Shift::Left32, to, to, left);
        }
        self.e.shift(Shift::Right32, to, to, 24);
        self.e.unary(Unary::ToFloat, to, to);
        let d = self.e.vector();
        self.e.load(d, self.scratch, self.slot([D, D_MINIMUM][part] + field));
        self.e.binary(Binary::MulFloat, to, to, d);
        self.e.release(d);
    }

    /// y = total / a, for the rows that exist. The words are those of the next token already.
    fn finish(&mut self, rows: usize) {
        let Geometry { kind, k, lanes, .. } = self.geometry;
        let [a, y] = [(); 2].map(|()| self.e.vector());
        self.e.broadcast(a, self.words, -4 * (1 + k / kind.block) as i64);
        for field in 0..FIELDS {
            let here = rows.saturating_sub(field * lanes).min(lanes);
            if here > 0 {
                self.e.load(y, self.scratch, self.slot(TOTALS + field));
                self.e.binary(Binary::DivFloat, y, y, a);
                self.e.store_lanes(self.output, (4 * field * lanes) as i64, y, here);
            }
        }
        self.release([a, y]);
    }
}
