//! From integer sums to the output: scales, the token's scale, epilogue, stores.

use craftsman_golden::Granularity;

use super::walk::Walk;
use super::{At, Extent, Steps};
use crate::epilogue;
use crate::key::Epilogue;
use crate::vocabulary::{Accumulate, Binary, Field, Unary, Vector};

/// Where the dot products of a group come from when all columns have been walked.
enum Source<'s> {
    /// The family's sums of the only segment.
    Sums(&'s mut dyn Steps),
    /// Integer totals of several chunks of k.
    Totals,
    /// f32 totals of blocks, scaled already.
    Scaled,
}

impl Walk<'_> {
    /// Every group of every token that is said.
    fn groups(&self, extent: Extent) -> impl Iterator<Item = At> + use<> {
        let fields = self.geometry.fields;
        (0..extent.panels).flat_map(move |panel| {
            (0..extent.said).flat_map(move |token| (0..fields).map(move |field| At { panel, token, field }))
        })
    }

    /// Where the work space keeps a group's total, behind the slots of the family.
    fn total_offset(&self, steps: usize, extent: Extent, at: At) -> i64 {
        let group = (at.panel * extent.tokens + at.token) * self.geometry.fields + at.field;
        self.slot_offset(steps + group)
    }

    /// Moves work space and words on by the tokens that are said.
    fn next_tokens(&mut self, extent: Extent, times: i64) {
        let tokens = times * extent.said as i64;
        self.e.advance(self.scratch, tokens * self.slot_offset(self.geometry.fields));
        self.e.advance(self.words, tokens * self.word_stride());
    }

    /// Says something for the tokens that are said, and repeats it for all of the extent.
    fn for_all_tokens(&mut self, extent: Extent, say: impl FnOnce(&mut Self)) {
        let rounds = extent.tokens / extent.said;
        if rounds == 1 {
            return say(self);
        }
        self.e.begin_repeat(rounds, "token by token");
        say(self);
        self.next_tokens(extent, 1);
        self.e.end_repeat();
        self.next_tokens(extent, -(rounds as i64));
    }

    /// As [`for_all_tokens`](Self::for_all_tokens), but only for tokens that are there, whose output may be written:
    /// words and output are then those of the next portion.
    fn for_tokens_here(&mut self, extent: Extent, say: impl FnOnce(&mut Self)) {
        if extent.said == extent.tokens {
            return say(self);
        }
        self.e.begin_while(Field::TokensHere, extent.said, "token by token");
        say(self);
        self.next_tokens(extent, 1);
        self.e.advance(self.output, (4 * extent.said * self.key.m) as i64);
        self.e.end_while();
        self.e.reload(self.scratch, Field::Scratch);
    }

    pub(super) fn clear_totals(&mut self, steps: &dyn Steps, extent: Extent) {
        let zero = self.e.vector();
        self.e.zero(zero);
        self.for_all_tokens(extent, |walk| {
            for at in walk.groups(extent) {
                let place = walk.total_offset(steps.slots(extent), extent, at);
                walk.e.store(walk.scratch, place, zero);
            }
        });
        self.e.release(zero);
    }

    /// One chunk of k: its integer sums onto the totals.
    pub(super) fn add_chunk(&mut self, steps: &mut dyn Steps, extent: Extent) {
        self.e.label("add the chunk");
        let (d, total) = (self.e.vector(), self.e.vector());
        self.for_all_tokens(extent, |walk| {
            for at in walk.groups(extent) {
                steps.recover(walk, extent, at, d, total);
                let place = walk.total_offset(steps.slots(extent), extent, at);
                walk.e.load(total, walk.scratch, place);
                walk.e.binary(Binary::Add32, total, total, d);
                walk.e.store(walk.scratch, place, total);
            }
        });
        self.release([d, total]);
    }

    /// One block: its integer sums, times their scales, onto the f32 totals.
    pub(super) fn add_block(&mut self, steps: &mut dyn Steps, extent: Extent) {
        self.e.label("block scale");
        let [d, other, bias, total] = [(); 4].map(|()| self.e.vector());
        self.for_all_tokens(extent, |walk| {
            for at in walk.groups(extent) {
                if at.field == 0 && walk.geometry.biased > 0 {
                    let words = at.token as i64 * walk.word_stride() + 4;
                    walk.e.broadcast(bias, walk.words, words);
                }
                steps.recover(walk, extent, at, d, other);
                walk.take_off(at, d, bias);
                walk.e.unary(Unary::ToFloat, d, d);
                walk.e.load(other, walk.scales, walk.scale_offset(at));
                let place = walk.total_offset(steps.slots(extent), extent, at);
                walk.e.load(total, walk.scratch, place);
                walk.e.accumulate(Accumulate::MulAddFloat, total, d, other);
                walk.e.store(walk.scratch, place, total);
            }
        });
        self.release([d, other, bias, total]);
        self.e.advance(self.scales, self.block_scale_bytes());
        self.e.advance(self.words, 4);
    }

    /// `d -= sum of the activations`, where the field's weights are stored as trit plus one.
    fn take_off(&mut self, at: At, d: Vector, bias: Vector) {
        if at.field < self.geometry.biased {
            self.e.binary(Binary::Sub32, d, d, bias);
        }
    }

    pub(super) fn finish_sums(&mut self, steps: &mut dyn Steps, extent: Extent) {
        let slots = steps.slots(extent);
        self.finish(Source::Sums(steps), slots, extent);
    }

    pub(super) fn finish_totals(&mut self, steps: &mut dyn Steps, extent: Extent) {
        self.finish(Source::Totals, steps.slots(extent), extent);
    }

    pub(super) fn finish_blocks(&mut self, steps: &mut dyn Steps, extent: Extent) {
        self.finish(Source::Scaled, steps.slots(extent), extent);
    }

    /// y = (d * s) / a, the epilogue, and the store.
    fn finish(&mut self, mut source: Source<'_>, slots: usize, extent: Extent) {
        self.e.label("scale and store");
        self.for_tokens_here(extent, |walk| walk.finish_tokens(&mut source, slots, extent));
    }

    fn finish_tokens(&mut self, source: &mut Source<'_>, slots: usize, extent: Extent) {
        let matrices = self.key.matrices();
        let [y, spare, bias, a] = [(); 4].map(|()| self.e.vector());
        for at in self.groups(extent).filter(|at| at.panel % matrices == 0) {
            if at.field == 0 {
                let words = at.token as i64 * self.word_stride();
                self.e.broadcast(a, self.words, words);
                self.e.broadcast(bias, self.words, words + 4);
            }
            self.value(source, slots, extent, at, [y, spare, bias, a]);
            if matrices == 2 {
                let up = self.e.vector();
                let pair = At { panel: at.panel + 1, ..at };
                self.value(source, slots, extent, pair, [up, spare, bias, a]);
                epilogue::gate(self.e, self.key.epilogue, y, up);
                self.e.release(up);
            }
            self.store(extent, at, y, spare);
        }
        self.release([y, spare, bias, a]);
    }

    /// `y` = the group's product, scaled.
    fn value(
        &mut self,
        source: &mut Source<'_>,
        slots: usize,
        extent: Extent,
        at: At,
        [y, spare, bias, a]: [Vector; 4],
    ) {
        match source {
            Source::Sums(steps) => steps.recover(self, extent, at, y, spare),
            Source::Totals | Source::Scaled => {
                self.e.load(y, self.scratch, self.total_offset(slots, extent, at));
            }
        }
        if !matches!(source, Source::Scaled) {
            self.take_off(at, y, bias);
            self.e.unary(Unary::ToFloat, y, y);
            match self.key.scales {
                Granularity::Tensor => {
                    self.e.broadcast(spare, self.scales, 4 * (at.panel % self.key.matrices()) as i64);
                }
                _ => self.e.load(spare, self.scales, self.scale_offset(at)),
            }
            self.e.binary(Binary::MulFloat, y, y, spare);
        }
        self.e.binary(Binary::DivFloat, y, y, a);
    }

    fn store(&mut self, extent: Extent, at: At, y: Vector, spare: Vector) {
        let lanes = self.e.lanes();
        let row = at.panel / self.key.matrices() * self.panel_rows + at.field * lanes;
        let lanes_left = extent.rows.saturating_sub(row).min(lanes);
        if lanes_left == 0 {
            return;
        }
        let offset = 4 * (at.token * self.key.m + row) as i64;
        if self.key.epilogue == Epilogue::Add {
            self.e.load_lanes(spare, self.output, offset, lanes_left);
            self.e.binary(Binary::AddFloat, y, y, spare);
        }
        self.e.store_lanes(self.output, offset, y, lanes_left);
    }

    /// Bytes of the scales of one segment of one panel of the layout.
    pub(super) fn block_scale_bytes(&self) -> i64 {
        (4 * self.tile.interleave() * self.panel_rows) as i64
    }

    /// Where the scales of a group lie, seen from the scales pointer.
    fn scale_offset(&self, at: At) -> i64 {
        let interleave = self.tile.interleave();
        let blocks = match self.key.scales {
            Granularity::Block(_) => self.key.blocks().1,
            Granularity::Tensor | Granularity::Row => 1,
        };
        let row = at.panel % interleave * self.panel_rows + at.field * self.e.lanes();
        let panel = (at.panel / interleave * blocks * interleave * self.panel_rows) as i64;
        4 * (panel + row as i64)
    }
}
