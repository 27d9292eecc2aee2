//! The algorithm in the words of the vocabulary.

use craftsman_golden::Granularity;

use super::plan::{FIELDS, Plan, Recovery};
use crate::config::Tile;
use crate::key::{Batch, KernelKey};
use crate::vocabulary::{Accumulation, Emitter, Field, Pointer, Vector};

/// How much of the output one pass over k computes.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) panels: usize,
    pub(super) tokens: usize,
    /// Rows of the last panel that exist.
    rows: usize,
}

/// Emits one kernel.
pub(super) struct Walk<'e> {
    pub(super) e: &'e mut dyn Emitter,
    pub(super) key: &'e KernelKey,
    pub(super) tile: Tile,
    pub(super) plan: &'static Plan,
    pub(super) vector_bytes: i64,
    panel_rows: usize,
    pub(super) panel_bytes: i64,
    pub(super) masks: Vec<(u8, Vector)>,
    pub(super) ones: Option<Vector>,
    pub(super) weights: Pointer,
    scales: Pointer,
    pub(super) activations: Pointer,
    words: Pointer,
    output: Pointer,
    pub(super) scratch: Pointer,
}

impl<'e> Walk<'e> {
    pub(super) fn new(key: &'e KernelKey, tile: Tile, plan: &'static Plan, e: &'e mut dyn Emitter) -> Self {
        e.label("constants");
        let mut masks = Vec::new();
        for mask in plan.planes.iter().map(|plane| plane.mask).filter(|&mask| mask != 0xFF) {
            if masks.iter().all(|&(known, _)| known != mask) {
                let vector = e.vector();
                e.splat(vector, u32::from_ne_bytes([mask; 4]));
                masks.push((mask, vector));
            }
        }
        let ones = (e.accumulation() == Accumulation::Pairs).then(|| {
            let vector = e.vector();
            e.splat(vector, 0x0001_0001);
            vector
        });
        let panel_rows = FIELDS * e.lanes();
        Self {
            key,
            tile,
            plan,
            vector_bytes: e.lanes() as i64 * 4,
            panel_rows,
            panel_bytes: (key.padded_k() / 4 * panel_rows) as i64,
            masks,
            ones,
            weights: e.pointer(Field::Weights),
            scales: e.pointer(Field::Scales),
            activations: e.pointer(Field::Activations),
            words: e.pointer(Field::TokenWords),
            output: e.pointer(Field::Output),
            scratch: e.pointer(Field::Scratch),
            e,
        }
    }

    pub(super) fn kernel(mut self) {
        for panels in shrinking(self.tile.panels) {
            self.e.begin_while(Field::Panels, panels, &format!("{panels} panels"));
            self.tokens(panels, self.panel_rows);
            self.next_panels(panels);
            self.e.end_while();
        }
        let tail = self.key.m % self.panel_rows;
        if tail != 0 {
            self.e.begin_while(Field::Tail, 1, &format!("{tail} rows"));
            self.tokens(1, tail);
            self.e.end_while();
        }
    }

    fn next_panels(&mut self, panels: usize) {
        self.e.advance(self.weights, panels as i64 * self.panel_bytes);
        let scales = panels * self.scale_stride();
        self.e.advance(self.scales, 4 * scales as i64);
        self.e.add_field(Field::Output, 4 * panels * self.panel_rows);
    }

    /// Scales of one panel.
    fn scale_stride(&self) -> usize {
        match self.key.scales {
            Granularity::Tensor => 0,
            Granularity::Row | Granularity::Block(_) => self.key.blocks().1 * self.panel_rows,
        }
    }

    /// Bytes of one token's words: its scale and the sums of its blocks.
    fn word_stride(&self) -> i64 {
        4 * (1 + self.key.blocks().1 as i64)
    }

    fn tokens(&mut self, panels: usize, rows: usize) {
        self.e.reload(self.output, Field::Output);
        if self.key.batch == Batch::Decode {
            return self.body(Extent { panels, tokens: 1, rows });
        }
        self.e.reload(self.activations, Field::Activations);
        self.e.reload(self.words, Field::TokenWords);
        self.e.copy_field(Field::TokensLeft, Field::Tokens);
        for tokens in shrinking(self.tile.tokens) {
            self.e.begin_while(Field::TokensLeft, tokens, &format!("{tokens} tokens"));
            self.body(Extent { panels, tokens, rows });
            self.e.advance(self.activations, (tokens * self.key.padded_k()) as i64);
            self.e.advance(self.words, tokens as i64 * self.word_stride());
            self.e.advance(self.output, (4 * tokens * self.key.m) as i64);
            self.e.end_while();
        }
    }

    /// All of k for one extent of the output; leaves every pointer as it found it.
    fn body(&mut self, extent: Extent) {
        match self.key.scales {
            Granularity::Tensor | Granularity::Row => {
                let steps = self.key.padded_k() / 4;
                let sums = self.accumulate(extent, steps);
                self.e.advance(self.weights, -self.panel_bytes);
                self.e.advance(self.activations, -(self.key.padded_k() as i64));
                self.finish(extent, sums);
            }
            Granularity::Block(size) => self.blocks(extent, size),
        }
    }

    fn blocks(&mut self, extent: Extent, size: usize) {
        let (full, rest) = (self.key.k / size, self.key.k % size);
        self.clear_scratch(extent, 1);
        if full > 0 {
            self.e.set_field(Field::BlocksLeft, full);
            self.e.begin_while(Field::BlocksLeft, 1, &format!("blocks of {size}"));
            self.block(extent, size / 4);
            self.e.end_while();
        }
        if rest > 0 {
            self.block(extent, rest.div_ceil(4));
        }
        let blocks = self.key.blocks().1 as i64;
        self.e.advance(self.weights, -self.panel_bytes);
        self.e.advance(self.activations, -(self.key.padded_k() as i64));
        self.e.advance(self.scales, -(4 * blocks * self.panel_rows as i64));
        self.e.advance(self.words, -4 * blocks);
        self.finish_blocks(extent);
    }

    /// One block: its integer sums, times their scales, onto the f32 sums in the work space.
    fn block(&mut self, extent: Extent, steps: usize) {
        let sums = self.accumulate(extent, steps);
        self.e.label("block scale");
        let (d, other, total, sum) = (self.e.vector(), self.e.vector(), self.e.vector(), self.e.vector());
        for (panel, token) in extent.pairs() {
            self.e.broadcast(total, self.words, token as i64 * self.word_stride() + 4);
            for field in 0..FIELDS {
                self.recover(extent, &sums, (panel, token, field), [d, other, total]);
                self.e.load(other, self.scales, self.scale_offset(panel, field));
                let place = self.scratch_offset(extent, 1, (panel, token, field));
                self.e.load(sum, self.scratch, place);
                self.e.fused_add(sum, d, other);
                self.e.store(self.scratch, place, sum);
            }
        }
        self.release([d, other, total, sum]);
        self.release(sums);
        self.e.advance(self.scales, 4 * self.panel_rows as i64);
        self.e.advance(self.words, 4);
    }

    fn finish_blocks(&mut self, extent: Extent) {
        self.e.label("divide and store");
        let (y, a) = (self.e.vector(), self.e.vector());
        for (panel, token) in extent.pairs() {
            self.e.broadcast(a, self.words, token as i64 * self.word_stride());
            for field in 0..FIELDS {
                let place = self.scratch_offset(extent, 1, (panel, token, field));
                self.e.load(y, self.scratch, place);
                self.e.div_float(y, y, a);
                self.store(extent, (panel, token, field), y);
            }
        }
        self.release([y, a]);
    }

    /// y = (d * s) / a for one scale a tensor or row.
    fn finish(&mut self, extent: Extent, sums: Vec<Vector>) {
        self.e.label("scale and store");
        let (d, scale, total, a) = (self.e.vector(), self.e.vector(), self.e.vector(), self.e.vector());
        for (panel, token) in extent.pairs() {
            let words = token as i64 * self.word_stride();
            self.e.broadcast(a, self.words, words);
            self.e.broadcast(total, self.words, words + 4);
            for field in 0..FIELDS {
                self.recover(extent, &sums, (panel, token, field), [d, scale, total]);
                match self.key.scales {
                    Granularity::Tensor => self.e.broadcast(scale, self.scales, 0),
                    _ => self.e.load(scale, self.scales, self.scale_offset(panel, field)),
                }
                self.e.mul_float(d, d, scale);
                self.e.div_float(d, d, a);
                self.store(extent, (panel, token, field), d);
            }
        }
        self.release([d, scale, total, a]);
        self.release(sums);
    }

    /// `d` = the field's ternary dot product as f32; `other` is used up, `total` holds the sum of the activations.
    fn recover(
        &mut self,
        extent: Extent,
        sums: &[Vector],
        at: (usize, usize, usize),
        [d, other, total]: [Vector; 3],
    ) {
        let Recovery { plane, minus, shift } = self.plan.fields[at.2];
        let mut value = self.plane_sum(extent, sums, (at.0, at.1, plane), d);
        if let Some(minus) = minus {
            let minus = self.plane_sum(extent, sums, (at.0, at.1, minus), other);
            self.e.sub(d, value, minus);
            value = d;
        }
        if shift > 0 {
            self.e.shift_right_32(d, value, shift);
            value = d;
        }
        self.e.sub(d, value, total);
        self.e.to_float(d, d);
    }

    /// A plane's sum: the register that holds it, or `spare` after loading it from the work space.
    fn plane_sum(
        &mut self,
        extent: Extent,
        sums: &[Vector],
        at: (usize, usize, usize),
        spare: Vector,
    ) -> Vector {
        if self.ones.is_none() {
            return sums[extent.index(at)];
        }
        self.e.load(spare, self.scratch, self.scratch_offset(extent, 0, at));
        spare
    }

    fn store(&mut self, extent: Extent, (panel, token, field): (usize, usize, usize), value: Vector) {
        let lanes = self.e.lanes();
        let rows = if panel + 1 == extent.panels { extent.rows } else { self.panel_rows };
        let lanes_left = rows.saturating_sub(field * lanes).min(lanes);
        if lanes_left > 0 {
            let offset = 4 * (token * self.key.m + panel * self.panel_rows + field * lanes);
            self.e.store_lanes(self.output, offset as i64, value, lanes_left);
        }
    }

    fn scale_offset(&self, panel: usize, field: usize) -> i64 {
        (4 * (panel * self.scale_stride() + field * self.e.lanes())) as i64
    }

    /// Where the work space keeps a vector: area 0 for integer sums, area 1 for the f32 sums of block scales.
    fn scratch_offset(&self, extent: Extent, area: usize, at: (usize, usize, usize)) -> i64 {
        (area * extent.sums() + extent.index(at)) as i64 * self.vector_bytes
    }

    pub(super) fn clear_scratch(&mut self, extent: Extent, area: usize) {
        let zero = self.e.vector();
        self.e.zero(zero);
        for sum in 0..extent.sums() {
            self.e.store(self.scratch, (area * extent.sums() + sum) as i64 * self.vector_bytes, zero);
        }
        self.e.release(zero);
    }

    pub(super) fn release(&mut self, vectors: impl IntoIterator<Item = Vector>) {
        vectors.into_iter().for_each(|vector| self.e.release(vector));
    }
}

impl Extent {
    pub(super) fn sums(self) -> usize {
        self.panels * self.tokens * FIELDS
    }

    pub(super) fn index(self, (panel, token, plane): (usize, usize, usize)) -> usize {
        (panel * self.tokens + token) * FIELDS + plane
    }

    fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.panels).flat_map(move |panel| (0..self.tokens).map(move |token| (panel, token)))
    }
}

/// `extent`, then its halves down to one, so that whatever is left over is taken in few passes.
fn shrinking(extent: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(extent), |&extent| (extent > 1).then_some(extent / 2))
}
