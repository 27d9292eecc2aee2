//! The product, in the words of the vocabulary.

use std::ops::Range;

use super::layout::{FIELDS, Geometry, STEP_COLUMNS};
use crate::vocabulary::{Accumulate, Accumulation, Binary, Emitter, Field, Pointer, Shift, Unary, Vector};

/// How far ahead weights are asked for, in bytes.
const PREFETCH: i64 = 2048;
/// Bytes that a prefetch brings.
const CACHE_LINE: i64 = 64;

/// Tokens at a time, which share the work of taking weights and scales apart.
const TOGETHER: usize = 2;

/// Slots of the work space: the `d` of scales and of minimums, then totals token by token, each a vector a field.
const D: usize = 0;
const D_MINIMUM: usize = FIELDS;
const TOTALS: usize = 2 * FIELDS;
const SLOTS: usize = (2 + TOGETHER) * FIELDS;

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

/// What is summed up at once.
struct Part {
    tokens: usize,
    fields: Range<usize>,
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
        for tokens in [TOGETHER, 1] {
            self.e.begin_while(Field::TokensLeft, tokens, &format!("{tokens} tokens"));
            self.tokens(tokens);
            self.e.advance(self.weights, -(self.geometry.panel_bytes() as i64));
            self.finish(rows, tokens);
            self.e.advance(self.output, (4 * tokens * self.geometry.m) as i64);
            self.e.end_while();
        }
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

    /// Bytes of one token's words: its scale and the sums of its blocks.
    fn word_stride(&self) -> i64 {
        4 * (1 + self.geometry.k / self.geometry.kind.block) as i64
    }

    /// The totals of so many tokens; moves on to the next one's activations and words.
    fn tokens(&mut self, tokens: usize) {
        let zero = self.e.vector();
        self.e.zero(zero);
        (0..tokens * FIELDS).for_each(|slot| self.e.store(self.scratch, self.slot(TOTALS + slot), zero));
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
            self.group(group, tokens);
            if groups > 1 {
                self.e.end_repeat();
            }
            self.e.end_while();
        }
        if !k.is_multiple_of(span) {
            self.group(k % span / kind.block, tokens);
        }
        self.e.advance(self.activations, ((tokens - 1) * k) as i64);
        self.e.advance(self.words, (tokens - 1) as i64 * self.word_stride());
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

    /// `blocks` blocks and their scales. Several tokens' sums leave room for half of the fields at a time.
    fn group(&mut self, blocks: usize, tokens: usize) {
        let steps = self.geometry.block_steps();
        for block in 0..blocks {
            for first in (0..FIELDS).step_by(FIELDS / tokens) {
                let part = Part { tokens, fields: first..first + FIELDS / tokens };
                let sums = self.sums(&part, block * steps..(block + 1) * steps);
                self.add(&part, block, &sums);
                self.release(sums.into_iter().flatten());
            }
        }
        self.e.advance(self.weights, self.slot(self.geometry.group_vectors(blocks)));
        self.e.advance(self.activations, (blocks * self.geometry.kind.block) as i64);
        self.e.advance(self.words, 4 * blocks as i64);
    }

    /// Products of one block, by plane, and there field by field and token by token, in 32-bit lanes.
    fn sums(&mut self, part: &Part, steps: Range<usize>) -> Vec<Vec<Vector>> {
        let planes = self.geometry.planes();
        let count = part.fields.len() * part.tokens;
        let sums: Vec<Vec<_>> =
            planes.iter().map(|_| (0..count).map(|_| self.e.vector()).collect()).collect();
        sums.iter().flatten().for_each(|&sum| self.e.zero(sum));
        let x: Vec<Vector> = (0..part.tokens).map(|_| self.e.vector()).collect();
        let [w, codes] = [(); 2].map(|()| self.e.vector());
        let product = if part.tokens > 1 { self.e.vector() } else { codes };
        for step in steps {
            for (token, &x) in x.iter().enumerate() {
                let place = step * STEP_COLUMNS + token * self.geometry.k;
                self.e.broadcast(x, self.activations, place as i64);
            }
            let mut vector = self.geometry.scale_vectors() + step * self.geometry.step_vectors();
            for (&bits, sums) in planes.iter().zip(&sums) {
                let fields = 8 / bits as usize;
                let mut loaded = None;
                for (field, sums) in part.fields.clone().zip(sums.chunks(part.tokens)) {
                    if loaded.replace(field / fields) != Some(field / fields) {
                        self.load(w, vector + field / fields);
                    }
                    self.field(codes, w, bits, field % fields);
                    for (&sum, &x) in sums.iter().zip(&x) {
                        self.multiply(sum, codes, x, product);
                    }
                }
                vector += FIELDS.div_ceil(fields);
            }
        }
        if product != codes {
            self.e.release(product);
        }
        self.release([w, codes]);
        self.release(x);
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

    /// `sum += codes * x`, by way of `product` in 16-bit lanes, where a block's 8 pairs of products of at most 15 * 128 fit.
    fn multiply(&mut self, sum: Vector, codes: Vector, x: Vector, product: Vector) {
        if self.e.accumulation() == Accumulation::Pairs {
            self.e.binary(Binary::MulPairs, product, codes, x);
            self.e.binary(Binary::Add16, sum, sum, product);
        } else {
            self.e.accumulate(Accumulate::Dot, sum, codes, x);
        }
    }

    fn widen(&mut self, sums: &[Vec<Vector>]) {
        if self.e.accumulation() == Accumulation::Pairs {
            let ones = self.e.vector();
            self.e.pattern(ones, &0x0001_0001_u32.to_le_bytes());
            sums.iter().flatten().for_each(|&sum| self.e.binary(Binary::AddPairs, sum, sum, ones));
            self.e.release(ones);
        }
    }

    /// One block's sums, times their scales, onto the totals.
    fn add(&mut self, part: &Part, block: usize, sums: &[Vec<Vector>]) {
        let kind = self.geometry.kind;
        // The sums of the activations, times the code of zero.
        let corrections: Vec<Vector> = (0..part.tokens).map(|_| self.e.vector()).collect();
        for (token, &correction) in corrections.iter().enumerate().filter(|_| kind.zero > 0) {
            self.e.broadcast(correction, self.words, self.sum_offset(block, token));
            self.e.shift(Shift::Left32, correction, correction, kind.zero.ilog2() as u8);
        }
        let [scale, total] = [(); 2].map(|()| self.e.vector());
        let minimum = kind.minimums.then(|| self.e.vector());
        for (place, field) in part.fields.clone().enumerate() {
            self.scale(scale, 0, field, block);
            if let Some(minimum) = minimum {
                self.scale(minimum, 1, field, block);
            }
            for (token, &correction) in corrections.iter().enumerate() {
                let sum = sums[0][place * part.tokens + token];
                if let Some(high) = sums.get(1).map(|high| high[place * part.tokens + token]) {
                    self.e.shift(Shift::Left32, high, high, 4);
                    self.e.binary(Binary::Add32, sum, sum, high);
                }
                if kind.zero > 0 {
                    self.e.binary(Binary::Sub32, sum, sum, correction);
                }
                self.e.unary(Unary::ToFloat, sum, sum);
                let slot = self.slot(TOTALS + token * FIELDS + field);
                self.e.load(total, self.scratch, slot);
                self.e.accumulate(Accumulate::MulAddFloat, total, sum, scale);
                if let Some(minimum) = minimum {
                    self.e.broadcast(sum, self.words, self.sum_offset(block, token));
                    self.e.unary(Unary::ToFloat, sum, sum);
                    self.e.accumulate(Accumulate::MulSubFloat, total, sum, minimum);
                }
                self.e.store(self.scratch, slot, total);
            }
        }
        self.release(corrections);
        self.release([scale, total]);
        self.release(minimum);
    }

    /// Where the sum of a block's activations lies, seen from the words pointer.
    fn sum_offset(&self, block: usize, token: usize) -> i64 {
        4 * block as i64 + token as i64 * self.word_stride()
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
    fn finish(&mut self, rows: usize, tokens: usize) {
        let Geometry { m, lanes, .. } = self.geometry;
        let [a, y] = [(); 2].map(|()| self.e.vector());
        for token in 0..tokens {
            self.e.broadcast(a, self.words, -((tokens - token) as i64) * self.word_stride());
            for field in 0..FIELDS {
                let here = rows.saturating_sub(field * lanes).min(lanes);
                if here > 0 {
                    self.e.load(y, self.scratch, self.slot(TOTALS + token * FIELDS + field));
                    self.e.binary(Binary::DivFloat, y, y, a);
                    let place = 4 * (token * m + field * lanes);
                    self.e.store_lanes(self.output, place as i64, y, here);
                }
            }
        }
        self.release([a, y]);
    }
}
