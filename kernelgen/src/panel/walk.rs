//! The loops, in the words of the vocabulary.

use craftsman_golden::Granularity;

use super::{Extent, Geometry, Steps};
use crate::activations::InputForm;
use crate::config::Tile;
use crate::key::{Batch, KernelKey};
use crate::vocabulary::{Emitter, Field, Pointer, Vector};

/// Bytes that a prefetch brings.
const CACHE_LINE: i64 = 64;

/// Emits one kernel. Its fields are what a family's steps work with.
pub(crate) struct Walk<'e> {
    pub(crate) e: &'e mut dyn Emitter,
    pub(crate) key: &'e KernelKey,
    pub(crate) tile: Tile,
    pub(crate) geometry: Geometry,
    pub(crate) input: InputForm,
    pub(crate) vector_bytes: i64,
    /// Rows of one panel of the family.
    pub(super) panel_rows: usize,
    /// Bytes from one panel of the layout, which may be several interleaved ones, to the next.
    panel_bytes: i64,
    pub(crate) weights: Pointer,
    pub(super) scales: Pointer,
    pub(crate) activations: Pointer,
    pub(super) words: Pointer,
    pub(super) output: Pointer,
    pub(crate) scratch: Pointer,
}

impl<'e> Walk<'e> {
    /// Says the whole kernel.
    pub(crate) fn kernel(
        family: &'static str,
        key: &'e KernelKey,
        tile: Tile,
        steps: &mut dyn Steps,
        e: &'e mut dyn Emitter,
    ) {
        e.label("constants");
        let (geometry, lanes) = (steps.geometry(), e.lanes());
        let layout = geometry.layout(family, key, lanes, tile.interleave());
        let mut walk = Self {
            key,
            tile,
            geometry,
            input: steps.input(key),
            vector_bytes: lanes as i64 * 4,
            panel_rows: geometry.fields * lanes,
            panel_bytes: layout.panel_bytes as i64,
            weights: e.pointer(Field::Weights),
            scales: e.pointer(Field::Scales),
            activations: e.pointer(Field::Activations),
            words: e.pointer(Field::TokenWords),
            output: e.pointer(Field::Output),
            scratch: e.pointer(Field::Scratch),
            e,
        };
        steps.begin(&mut walk);
        walk.panels(steps);
    }

    fn panels(&mut self, steps: &mut dyn Steps) {
        // Panels of the family under one output row range of the layout; a tile may be half of a pair.
        let unit = self.tile.interleave() * self.key.matrices();
        let rows = self.panel_rows * self.tile.interleave();
        for units in shrinking((self.tile.panels / unit).max(1)) {
            self.e.begin_while(Field::Panels, units, &format!("{} panels", units * unit));
            self.tokens(steps, units * unit, units * rows);
            self.next_panels(units);
            self.e.end_while();
        }
        let tail = self.key.m % rows;
        if tail != 0 {
            self.e.begin_while(Field::Tail, 1, &format!("{tail} rows"));
            self.tokens(steps, unit, tail);
            self.e.end_while();
        }
    }

    /// Moves on by `units` panels of the layout, or pairs of them.
    fn next_panels(&mut self, units: usize) {
        self.e.advance(self.weights, (units * self.key.matrices()) as i64 * self.panel_bytes);
        let rows = self.tile.interleave() * self.panel_rows;
        if self.key.scales != Granularity::Tensor {
            let scales = units * self.key.matrices() * self.key.blocks().1 * rows;
            self.e.advance(self.scales, 4 * scales as i64);
        }
        self.e.add_field(Field::Output, 4 * units * rows);
    }

    /// Bytes of one token's words: its scale and the sums of its blocks.
    pub(super) fn word_stride(&self) -> i64 {
        4 * (1 + self.key.blocks().1 as i64)
    }

    fn tokens(&mut self, steps: &mut dyn Steps, panels: usize, rows: usize) {
        self.e.reload(self.output, Field::Output);
        if self.key.batch == Batch::Decode && !steps.repeats_tokens() {
            return self.body(steps, Extent { panels, tokens: 1, said: 1, rows });
        }
        self.e.reload(self.activations, Field::Activations);
        self.e.reload(self.words, Field::TokenWords);
        self.e.copy_field(Field::TokensLeft, Field::Tokens);
        if steps.repeats_tokens() {
            return self.portions(steps, panels, rows);
        }
        for tokens in shrinking(self.tile.tokens) {
            self.e.begin_while(Field::TokensLeft, tokens, &format!("{tokens} tokens"));
            self.body(steps, Extent { panels, tokens, said: tokens, rows });
            self.e.advance(self.activations, self.input.token_offset(tokens) as i64);
            self.e.advance(self.words, tokens as i64 * self.word_stride());
            self.e.advance(self.output, (4 * tokens * self.key.m) as i64);
            self.e.end_while();
        }
    }

    /// As many tokens at a time as the tile says, in the end perhaps fewer. [`finish`](Self::finish) moves on by those
    /// that are there.
    fn portions(&mut self, steps: &mut dyn Steps, panels: usize, rows: usize) {
        let tokens = self.tile.tokens;
        let name = format!("up to {tokens} tokens");
        self.e.begin_portions(Field::TokensLeft, Field::TokensHere, tokens, &name);
        self.body(steps, Extent { panels, tokens, said: 1, rows });
        self.e.advance(self.activations, self.input.token_offset(tokens) as i64);
        self.e.end_while();
    }

    /// All of k for one extent of the output; leaves every pointer as it found it.
    fn body(&mut self, steps: &mut dyn Steps, extent: Extent) {
        let slots = steps.slots(extent) + extent.groups(self.geometry.fields);
        self.e.reserve_scratch(slots * self.vector_bytes as usize);
        let segment = self.geometry.segment(self.key);
        if segment == self.key.k && !matches!(self.key.scales, Granularity::Block(_)) {
            steps.accumulate(self, extent, segment);
            self.rewind();
            return self.finish_sums(steps, extent);
        }
        let (full, rest) = (self.key.k / segment, self.key.k % segment);
        self.clear_totals(steps, extent);
        if full > 0 {
            self.e.set_field(Field::BlocksLeft, full);
            self.e.begin_while(Field::BlocksLeft, 1, &format!("segments of {segment}"));
            self.segment(steps, extent, segment);
            self.e.end_while();
        }
        if rest > 0 {
            self.segment(steps, extent, rest);
        }
        self.rewind();
        match self.key.scales {
            Granularity::Block(_) => self.finish_blocks(steps, extent),
            Granularity::Tensor | Granularity::Row => self.finish_totals(steps, extent),
        }
    }

    fn segment(&mut self, steps: &mut dyn Steps, extent: Extent, columns: usize) {
        steps.accumulate(self, extent, columns);
        match self.key.scales {
            Granularity::Block(_) => self.add_block(steps, extent),
            Granularity::Tensor | Granularity::Row => self.add_chunk(steps, extent),
        }
    }

    /// Back to the first column.
    fn rewind(&mut self) {
        let (segment, step) = (self.geometry.segment(self.key), self.geometry.input_step_bytes);
        let full = self.key.k / segment * self.geometry.steps(segment);
        let all = full + self.geometry.steps(self.key.k % segment);
        self.e.advance(self.weights, -self.panel_bytes);
        self.e.advance(self.activations, -((all * step) as i64));
        if let Granularity::Block(_) = self.key.scales {
            let blocks = self.key.blocks().1 as i64;
            self.e.advance(self.scales, -blocks * self.block_scale_bytes());
            self.e.advance(self.words, -4 * blocks);
        }
    }

    /// Where step `step` of `panel` lies, seen from the weights pointer.
    pub(crate) fn weight_offset(&self, panel: usize, step: usize) -> i64 {
        let interleave = self.tile.interleave();
        let within = step * interleave + panel % interleave;
        (panel / interleave) as i64 * self.panel_bytes + (within * self.geometry.step_bytes) as i64
    }

    /// Where step `step` of `token` lies, seen from the activations pointer.
    pub(crate) fn input_offset(&self, token: usize, step: usize) -> i64 {
        (self.input.token_offset(token) + step * self.geometry.input_step_bytes) as i64
    }

    /// Moves weights and activations past `steps` steps.
    pub(crate) fn advance(&mut self, steps: usize) {
        self.go(steps as i64);
    }

    /// Moves weights and activations back by `steps` steps.
    pub(crate) fn go_back(&mut self, steps: usize) {
        self.go(-(steps as i64));
    }

    fn go(&mut self, steps: i64) {
        let weights = self.geometry.step_bytes * self.tile.interleave();
        self.e.advance(self.weights, steps * weights as i64);
        self.e.advance(self.activations, steps * self.geometry.input_step_bytes as i64);
    }

    /// Where slot `slot` of the work space lies.
    pub(crate) fn slot_offset(&self, slot: usize) -> i64 {
        slot as i64 * self.vector_bytes
    }

    /// Asks for the weights of `panel` at `step`, as far ahead as the tile says; once a cache line.
    pub(crate) fn prefetch_weights(&mut self, panel: usize, step: usize) {
        if self.tile.prefetch == 0 {
            return;
        }
        let step_begins = self.weight_offset(panel, step);
        let step_ends = step_begins + self.geometry.step_bytes as i64;
        let first_line = (step_begins + CACHE_LINE - 1).div_euclid(CACHE_LINE) * CACHE_LINE;
        for line in (first_line..step_ends).step_by(CACHE_LINE as usize) {
            self.e.prefetch(self.weights, line + self.tile.prefetch as i64);
        }
    }

    /// A loop over `steps` steps, `unroll` a round: `say` says that many steps and advances.
    pub(crate) fn unrolled(&mut self, steps: usize, unroll: usize, mut say: impl FnMut(&mut Self, usize)) {
        let (rounds, rest) = (steps / unroll, steps % unroll);
        if rounds > 0 {
            self.e.begin_repeat(rounds, &format!("{unroll} steps"));
            say(self, unroll);
            self.e.end_repeat();
        }
        if rest > 0 {
            self.e.label(&format!("last {rest} steps"));
            say(self, rest);
        }
    }

    pub(crate) fn release(&mut self, vectors: impl IntoIterator<Item = Vector>) {
        vectors.into_iter().for_each(|vector| self.e.release(vector));
    }
}

/// `extent`, then its halves down to one, so that whatever is left over is taken in few passes.
fn shrinking(extent: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(extent), |&extent| (extent > 1).then_some(extent / 2))
}
