//! I2_S: two bits a weight, unpacked with masks and multiplied as bytes.
//!
//! # Layout
//! Rows come in panels of 4 L for vectors of L 32-bit lanes. Step s of a panel is one vector: byte j of lane l holds
//! column 4 s + j of rows l, L + l, 2 L + l and 3 L + l of the panel, at bits 0, 2, 4 and 6, as codes 0, 1, 2 for the
//! trits -1, 0, +1. The fields of a byte belong to different *rows*, so all of them meet the same activation, and one
//! broadcast of four activations serves 4 L x 4 weights. Columns beyond k meet activations of zero; rows beyond m are
//! never stored.
//!
//! # Algorithm
//! ```text
//! for each step:  w = load;  x = broadcast four activations
//!     for each plane p:  sum[p] += dot((w >> p.shift) & p.mask, x)
//! for each field i:  d[i] = ((sum[r.plane] - sum[r.minus]) >> r.shift) - sum(x)
//! ```
//! Codes are trits plus one, hence the `- sum(x)`. A [`Plan`] says which planes there are and how the fields are got
//! back from them:
//! - `masked` isolates each field, two of them by one shift. Values stay small, so sixteen-bit sums can hold them.
//! - `planes` uses the whole byte, then its low 6, 4 and 2 bits: no shift at all; neighbouring sums differ by exactly
//!   one field. Exact modulo 2^32; needs a product that takes any byte.

use craftsman_golden::{Granularity, Scales, TernaryMatrix};

use super::Family;
use crate::backend::Backend;
use crate::code::EmitError;
use crate::config::{KernelConfig, Tile};
use crate::key::{Batch, KernelKey};
use crate::packed::{Layout, PackedMatrix};
use crate::vocabulary::{Accumulation, Emitter, Field, Pointer, SCRATCH_BYTES, Vector};

/// Fields of a byte, that is, groups of L rows in a panel.
const FIELDS: usize = 4;

/// A byte-wise view of the packed bytes.
#[derive(Debug)]
struct Plane {
    /// Bits that 16-bit lanes are shifted right before the mask.
    shift: u8,
    /// Bits of each byte that stay; all of them means no operation.
    mask: u8,
}

/// How a field's dot product follows from the planes' sums.
#[derive(Debug)]
struct Recovery {
    plane: usize,
    minus: Option<usize>,
    shift: u8,
}

/// A variant of the family.
#[derive(Debug)]
struct Plan {
    name: &'static str,
    planes: [Plane; FIELDS],
    fields: [Recovery; FIELDS],
    /// Largest byte of a plane, which bounds sixteen-bit sums and k.
    largest: usize,
}

const fn plane(shift: u8, mask: u8) -> Plane {
    Plane { shift, mask }
}

const fn field(plane: usize, minus: Option<usize>, shift: u8) -> Recovery {
    Recovery { plane, minus, shift }
}

static PLANS: [Plan; 2] = [
    Plan {
        name: "planes",
        planes: [plane(0, 0xFF), plane(0, 0x3F), plane(0, 0x0F), plane(0, 0x03)],
        fields: [field(3, None, 0), field(2, Some(3), 2), field(1, Some(2), 4), field(0, Some(1), 6)],
        largest: 0b1010_1010,
    },
    Plan {
        name: "masked",
        planes: [plane(0, 0x03), plane(0, 0x0C), plane(4, 0x03), plane(4, 0x0C)],
        fields: [field(0, None, 0), field(1, None, 2), field(2, None, 0), field(3, None, 2)],
        largest: 0b1000,
    },
];

impl Plan {
    fn by_name(name: &str) -> Option<&'static Self> {
        PLANS.iter().find(|plan| plan.name == name)
    }

    /// Whether sums over `k` columns can be recovered: the widest difference must fit 31 bits.
    fn holds(&self, k: usize) -> bool {
        self.largest.next_power_of_two() * 128 * k < 1 << 31
    }

    /// Steps after which sixteen-bit sums must be widened: each step adds two products to a lane.
    fn steps_in_16_bits(&self) -> usize {
        i16::MAX as usize / (2 * 128 * self.largest)
    }

    fn suits(&self, accumulation: Accumulation) -> bool {
        match accumulation {
            Accumulation::Direct => true,
            Accumulation::DirectSmall => self.largest < 128,
            Accumulation::Pairs => self.steps_in_16_bits() > 0,
        }
    }
}

/// See the module's introduction.
#[derive(Debug)]
pub struct I2s;

impl Family for I2s {
    fn name(&self) -> &'static str {
        "i2s"
    }

    fn summary(&self) -> &'static str {
        "2 bits a weight, masks and byte products"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["planes", "masked"]
    }

    fn configs(&self, key: &KernelKey, backend: &dyn Backend) -> Vec<KernelConfig> {
        let steps = key.padded_k() / 4;
        let panels = key.m.div_ceil(FIELDS * backend.lanes());
        let mut configs = Vec::new();
        for plan in PLANS.iter().filter(|plan| plan.suits(backend.accumulation()) && plan.holds(key.k)) {
            for tile in tiles(key.batch, backend, plan) {
                let tile = Tile { panels: tile.panels.min(panels), unroll: tile.unroll.min(steps), ..tile };
                let config =
                    KernelConfig { backend: backend.name(), family: self.name(), variant: plan.name, tile };
                if !configs.contains(&config) {
                    configs.push(config);
                }
            }
        }
        configs
    }

    fn layout(&self, m: usize, k: usize, lanes: usize) -> Layout {
        let panel_rows = FIELDS * lanes;
        Layout { family: self.name(), lanes, panel_rows, panel_bytes: k.div_ceil(4) * panel_rows, m, k }
    }

    fn pack(&self, matrix: &TernaryMatrix, lanes: usize) -> std::io::Result<PackedMatrix> {
        let layout = self.layout(matrix.m(), matrix.k(), lanes);
        let mut packed = PackedMatrix::zeroed(layout, pack_scales(matrix, layout.panel_rows))?;
        for (panel, bytes) in packed.bytes_mut().chunks_exact_mut(layout.panel_bytes).enumerate() {
            let first = panel * layout.panel_rows;
            for row in first..matrix.m().min(first + layout.panel_rows) {
                let (group, lane) = ((row - first) / lanes, (row - first) % lanes);
                pack_row(matrix.row(row), &mut bytes[lane * 4..], layout.panel_rows, 2 * group);
            }
        }
        Ok(packed)
    }

    fn emit(&self, key: &KernelKey, config: &KernelConfig, e: &mut dyn Emitter) -> Result<(), EmitError> {
        let plan = Plan::by_name(config.variant).ok_or_else(|| EmitError::new("i2s: unknown variant"))?;
        if !plan.suits(e.accumulation()) || !plan.holds(key.k) {
            return Err(EmitError::new(format_args!("i2s.{}: sums would overflow", plan.name)));
        }
        if e.accumulation() == Accumulation::Pairs && config.tile.unroll > plan.steps_in_16_bits() {
            return Err(EmitError::new(format_args!("i2s.{}: unrolled beyond 16 bits", plan.name)));
        }
        let scratch = 2 * config.tile.panels * config.tile.tokens * FIELDS * e.lanes() * 4;
        if scratch > SCRATCH_BYTES {
            return Err(EmitError::new("i2s: the tile does not fit the work space"));
        }
        Walk::new(key, config.tile, plan, e).kernel();
        Ok(())
    }
}

/// Tiles worth trying, the best guess first: as many independent sums as the registers hold.
fn tiles(batch: Batch, backend: &dyn Backend, plan: &Plan) -> Vec<Tile> {
    let (wide, unroll) = match backend.accumulation() {
        Accumulation::Pairs => (2, plan.steps_in_16_bits()),
        Accumulation::Direct if backend.registers() > 16 => (if batch == Batch::Decode { 4 } else { 6 }, 2),
        Accumulation::Direct | Accumulation::DirectSmall => (2, 2),
    };
    let tile = |extent: usize| match batch {
        Batch::Decode => Tile { panels: extent, tokens: 1, unroll, prefetch: 2048 },
        Batch::Prefill => Tile { panels: 1, tokens: extent, unroll, prefetch: 0 },
    };
    vec![tile(wide), tile(1)]
}

/// Writes one row's codes at bit `shift` of every `stride`-th group of four bytes.
fn pack_row(row: &[i8], bytes: &mut [u8], stride: usize, shift: usize) {
    for (step, columns) in row.chunks(4).enumerate() {
        for (byte, trit) in bytes[step * stride..].iter_mut().zip(columns) {
            *byte |= ((trit + 1) as u8) << shift;
        }
    }
}

/// Scales in the order in which the kernel meets them: one; or by panel and row; or by panel, block and row.
fn pack_scales(matrix: &TernaryMatrix, panel_rows: usize) -> Vec<f32> {
    let panels = matrix.m().div_ceil(panel_rows);
    let (values, blocks) = match matrix.scales() {
        Scales::Tensor(scale) => return vec![*scale],
        Scales::Row(values) => (values, 1),
        Scales::Block { size, values } => (values, matrix.k().div_ceil(*size)),
    };
    let mut packed = vec![0.0; panels * blocks * panel_rows];
    for (row, scales) in values.chunks_exact(blocks).enumerate() {
        for (block, scale) in scales.iter().enumerate() {
            packed[(row / panel_rows * blocks + block) * panel_rows + row % panel_rows] = *scale;
        }
    }
    packed
}

/// How much of the output one pass over k computes.
#[derive(Clone, Copy)]
struct Extent {
    panels: usize,
    tokens: usize,
    /// Rows of the last panel that exist.
    rows: usize,
}

/// Emits one kernel.
struct Walk<'e> {
    e: &'e mut dyn Emitter,
    key: &'e KernelKey,
    tile: Tile,
    plan: &'static Plan,
    vector_bytes: i64,
    panel_rows: usize,
    panel_bytes: i64,
    masks: Vec<(u8, Vector)>,
    ones: Option<Vector>,
    weights: Pointer,
    scales: Pointer,
    activations: Pointer,
    words: Pointer,
    output: Pointer,
    scratch: Pointer,
}

impl<'e> Walk<'e> {
    fn new(key: &'e KernelKey, tile: Tile, plan: &'static Plan, e: &'e mut dyn Emitter) -> Self {
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

    fn kernel(mut self) {
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

    fn clear_scratch(&mut self, extent: Extent, area: usize) {
        let zero = self.e.vector();
        self.e.zero(zero);
        for sum in 0..extent.sums() {
            self.e.store(self.scratch, (area * extent.sums() + sum) as i64 * self.vector_bytes, zero);
        }
        self.e.release(zero);
    }

    fn release(&mut self, vectors: impl IntoIterator<Item = Vector>) {
        vectors.into_iter().for_each(|vector| self.e.release(vector));
    }

    /// Adds up `steps` steps; moves the weight and activation pointers past them. The sums are in the registers
    /// returned or, where products are summed in pairs, in the work space.
    fn accumulate(&mut self, extent: Extent, steps: usize) -> Vec<Vector> {
        let sums: Vec<_> = (0..extent.sums()).map(|_| self.e.vector()).collect();
        if self.ones.is_some() {
            self.clear_scratch(extent, 0);
        } else {
            sums.iter().for_each(|&sum| self.e.zero(sum));
        }
        let (rounds, rest) = (steps / self.tile.unroll, steps % self.tile.unroll);
        if rounds > 0 {
            self.e.begin_repeat(rounds, &format!("{} steps", self.tile.unroll));
            self.chunk(extent, self.tile.unroll, &sums);
            self.e.end_repeat();
        }
        if rest > 0 {
            self.e.label(&format!("last {rest} steps"));
            self.chunk(extent, rest, &sums);
        }
        if self.ones.is_none() {
            return sums;
        }
        self.release(sums);
        Vec::new()
    }

    /// `steps` steps in a row, few enough for sixteen-bit sums where those are used.
    fn chunk(&mut self, extent: Extent, steps: usize, sums: &[Vector]) {
        if self.ones.is_some() {
            sums.iter().for_each(|&sum| self.e.zero(sum));
        }
        for step in 0..steps {
            self.step(extent, step as i64, sums);
        }
        self.e.advance(self.weights, steps as i64 * self.vector_bytes);
        self.e.advance(self.activations, 4 * steps as i64);
        if let Some(ones) = self.ones {
            let (sum, wide) = (self.e.vector(), self.e.vector());
            for (index, &narrow) in sums.iter().enumerate() {
                let place = index as i64 * self.vector_bytes;
                self.e.widen_pairs(wide, narrow, ones);
                self.e.load(sum, self.scratch, place);
                self.e.add(sum, sum, wide);
                self.e.store(self.scratch, place, sum);
            }
            self.release([sum, wide]);
        }
    }

    /// One vector of weights a panel, against four activations of every token.
    fn step(&mut self, extent: Extent, step: i64, sums: &[Vector]) {
        // Few tokens: their activations stay and the planes pass by. Many: the planes stay.
        let keep_activations = extent.tokens <= 2;
        let count = if keep_activations { extent.tokens } else { 1 };
        let x: Vec<_> = (0..count).map(|_| self.e.vector()).collect();
        for token in 0..if keep_activations { extent.tokens } else { 0 } {
            self.broadcast(x[token], token, step);
        }
        let w = self.e.vector();
        for panel in 0..extent.panels {
            let offset = panel as i64 * self.panel_bytes + step * self.vector_bytes;
            if self.tile.prefetch > 0 && (step * self.vector_bytes) % 64 == 0 {
                self.e.prefetch(self.weights, offset + self.tile.prefetch as i64);
            }
            self.e.load(w, self.weights, offset);
            if keep_activations {
                self.planes_pass(extent, panel, w, &x, sums);
            } else {
                self.planes_stay(extent, panel, step, w, x[0], sums);
            }
        }
        self.e.release(w);
        self.release(x);
    }

    fn broadcast(&mut self, x: Vector, token: usize, step: i64) {
        self.e.broadcast(x, self.activations, (token * self.key.padded_k()) as i64 + 4 * step);
    }

    fn planes_pass(&mut self, extent: Extent, panel: usize, w: Vector, x: &[Vector], sums: &[Vector]) {
        let part = self.e.vector();
        let mut shifted = 0;
        for (plane, Plane { shift, mask }) in self.plan.planes.iter().enumerate() {
            if *shift != shifted {
                self.e.shift_right_16(w, w, shift - shifted);
                shifted = *shift;
            }
            let bytes = self.masked(part, w, *mask);
            for (token, &x) in x.iter().enumerate() {
                self.dot(sums[extent.index((panel, token, plane))], bytes, x);
            }
        }
        self.e.release(part);
    }

    fn planes_stay(
        &mut self,
        extent: Extent,
        panel: usize,
        step: i64,
        w: Vector,
        x: Vector,
        sums: &[Vector],
    ) {
        let mut shifted = 0;
        let mut planes = Vec::new();
        let mut own = Vec::new();
        for Plane { shift, mask } in &self.plan.planes {
            if *shift != shifted {
                self.e.shift_right_16(w, w, shift - shifted);
                shifted = *shift;
            }
            if *mask == 0xFF {
                planes.push(w);
                continue;
            }
            let part = self.e.vector();
            own.push(part);
            planes.push(self.masked(part, w, *mask));
        }
        for token in 0..extent.tokens {
            self.broadcast(x, token, step);
            for (plane, &bytes) in planes.iter().enumerate() {
                self.dot(sums[extent.index((panel, token, plane))], bytes, x);
            }
        }
        self.release(own);
    }

    /// `w & mask`, in `part` unless the mask keeps everything.
    fn masked(&mut self, part: Vector, w: Vector, mask: u8) -> Vector {
        match self.masks.iter().find(|&&(known, _)| known == mask) {
            Some(&(_, mask)) => {
                self.e.and(part, w, mask);
                part
            }
            None => w,
        }
    }

    fn dot(&mut self, sum: Vector, w: Vector, x: Vector) {
        if self.ones.is_some() { self.e.dot_pairs(sum, w, x) } else { self.e.dot(sum, w, x) }
    }
}

impl Extent {
    fn sums(self) -> usize {
        self.panels * self.tokens * FIELDS
    }

    fn index(self, (panel, token, plane): (usize, usize, usize)) -> usize {
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
