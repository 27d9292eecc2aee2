//! How blocks of integers lie in memory.

use crate::pages::Pages;
use craftsman_golden::quants::{QuantKind, QuantMatrix, Superblock};

/// Groups of rows in a panel, each a vector of lanes.
pub(super) const FIELDS: usize = 4;
/// Columns of a step: the bytes of a lane.
pub(super) const STEP_COLUMNS: usize = 4;

/// The numbers that describe panels of one kind for vectors of `lanes` 32-bit lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) kind: &'static QuantKind,
    pub(super) lanes: usize,
    pub(super) m: usize,
    pub(super) k: usize,
}

/// How far a panel is packed.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where the group at hand begins, in vectors.
    span: usize,
    /// How many of its blocks are packed.
    done: usize,
}

/// One lane of the vectors of a panel.
struct Lane<'b> {
    bytes: &'b mut [u8],
    /// Bytes of a vector.
    vector: usize,
    index: usize,
}

impl Lane<'_> {
    /// Adds bits to the lane of a vector.
    fn put(&mut self, vectors: usize, value: u32) {
        if let Some(word) = self.bytes[vectors * self.vector + 4 * self.index..].first_chunk_mut::<4>() {
            *word = (u32::from_le_bytes(*word) | value).to_le_bytes();
        }
    }
}

impl Geometry {
    /// Bytes of a vector.
    pub(super) fn vector(&self) -> usize {
        4 * self.lanes
    }

    pub(super) fn panel_rows(&self) -> usize {
        FIELDS * self.lanes
    }

    /// Whether a superblock has a `d` for several blocks, or each block its own.
    pub(super) fn has_header(&self) -> bool {
        self.kind.blocks() > 1
    }

    /// Blocks whose scales share a vector: four bytes a lane, or two halves.
    pub(super) fn group_blocks(&self) -> usize {
        if self.has_header() { 4 } else { 2 }
    }

    /// Columns of what begins with a header: a superblock, or, where there is none, a group.
    pub(super) fn span_columns(&self) -> usize {
        self.kind.columns.max(self.group_blocks() * self.kind.block)
    }

    /// Bits of each plane of codes, the lowest bits first.
    pub(super) fn planes(&self) -> &'static [u32] {
        match self.kind.bits {
            8 => &[4, 4],
            6 => &[4, 2],
            _ => &[4],
        }
    }

    /// Vectors of a step.
    pub(super) fn step_vectors(&self) -> usize {
        self.planes().iter().map(|bits| (FIELDS as u32 * bits).div_ceil(8) as usize).sum()
    }

    /// Vectors of a group's scales and minimums.
    pub(super) fn scale_vectors(&self) -> usize {
        FIELDS * (1 + usize::from(self.kind.minimums))
    }

    /// Vectors before the groups of a span.
    pub(super) fn header_vectors(&self) -> usize {
        if self.has_header() { FIELDS } else { 0 }
    }

    /// Steps of a block.
    pub(super) fn block_steps(&self) -> usize {
        self.kind.block / STEP_COLUMNS
    }

    /// Vectors of `blocks` blocks, no more than a group's.
    pub(super) fn group_vectors(&self, blocks: usize) -> usize {
        self.scale_vectors() + blocks * self.block_steps() * self.step_vectors()
    }

    /// Bytes of a panel.
    pub(super) fn panel_bytes(&self) -> usize {
        let blocks = self.k / self.kind.block;
        let (groups, rest) = (blocks / self.group_blocks(), blocks % self.group_blocks());
        let rest = if rest > 0 { self.group_vectors(rest) } else { 0 };
        let headers = self.k / self.span_columns() * self.header_vectors();
        (headers + groups * self.group_vectors(self.group_blocks()) + rest) * self.vector()
    }

    /// Panels, the last one perhaps partial.
    pub(super) fn panels(&self) -> usize {
        self.m.div_ceil(self.panel_rows())
    }

    /// Packs a matrix, with as many threads. Rows that do not exist are zeros.
    ///
    /// # Errors
    /// When the operating system has no memory left.
    pub(super) fn pack(&self, matrix: &QuantMatrix, threads: usize) -> std::io::Result<Pages<u8>> {
        let mut pages = Pages::zeroed(self.panels() * self.panel_bytes())?;
        let share = self.panels().div_ceil(threads.max(1));
        std::thread::scope(|scope| {
            for (part, bytes) in pages.chunks_mut(share * self.panel_bytes()).enumerate() {
                scope.spawn(move || self.pack_panels(matrix, part * share, bytes));
            }
        });
        Ok(pages)
    }

    /// Packs the panels from `first` on, as many as `bytes` holds.
    fn pack_panels(&self, matrix: &QuantMatrix, first: usize, bytes: &mut [u8]) {
        for (panel, bytes) in bytes.chunks_exact_mut(self.panel_bytes()).enumerate() {
            let first = (first + panel) * self.panel_rows();
            let rows = (first..self.m.min(first + self.panel_rows())).map(|row| matrix.row(row)).collect();
            self.pack_panel(rows, bytes);
        }
    }

    /// Superblock by superblock, all rows each: so that what is written at once stays in the nearest cache.
    fn pack_panel(&self, mut rows: Vec<impl Iterator<Item = Superblock>>, bytes: &mut [u8]) {
        let mut place = Place { span: 0, done: 0 };
        for number in 0..self.k / self.kind.columns {
            let last = (number + 1) * self.kind.columns == self.k;
            let mut next = place;
            for (row, superblocks) in rows.iter_mut().enumerate() {
                let Some(superblock) = superblocks.next() else { continue };
                let (field, index) = (row / self.lanes, row % self.lanes);
                let mut lane = Lane { bytes, vector: self.vector(), index };
                next = self.pack_superblock(&superblock, place, last, field, &mut lane);
            }
            place = next;
        }
    }

    /// Packs a superblock at `place`, and says where the next one's is.
    fn pack_superblock(
        &self,
        superblock: &Superblock,
        mut place: Place,
        last: bool,
        field: usize,
        lane: &mut Lane<'_>,
    ) -> Place {
        if self.has_header() {
            let halves = u32::from(superblock.d.to_bits()) | u32::from(superblock.d_minimum.to_bits()) << 16;
            lane.put(place.span + field, halves);
            place.span += FIELDS;
        }
        for block in 0..self.kind.blocks() {
            for (part, value) in self.scales(superblock, block, place.done).into_iter().enumerate() {
                if part == 0 || self.kind.minimums {
                    lane.put(place.span + FIELDS * part + field, value);
                }
            }
            let codes = &superblock.codes[block * self.kind.block..][..self.kind.block];
            let steps = place.done * self.block_steps() * self.step_vectors();
            self.pack_codes(codes, field, place.span + self.scale_vectors() + steps, lane);
            place.done += 1;
            if place.done == self.group_blocks() || (last && block + 1 == self.kind.blocks()) {
                place = Place { span: place.span + self.group_vectors(place.done), done: 0 };
            }
        }
        place
    }

    /// What the lane holds of the scale and the minimum of a block, `place` of its group.
    fn scales(&self, superblock: &Superblock, block: usize, place: usize) -> [u32; 2] {
        if self.has_header() {
            let bytes = [superblock.scales[block].cast_unsigned(), superblock.minimums[block]];
            bytes.map(|byte| u32::from(byte) << (8 * place))
        } else {
            [u32::from(superblock.d.to_bits()) << (16 * place), 0]
        }
    }

    /// Puts the codes of a block of one row in `field`, from vector `begin` on, four columns at a time.
    fn pack_codes(&self, codes: &[u8], field: usize, begin: usize, lane: &mut Lane<'_>) {
        let step_vectors = self.step_vectors();
        let (mut plane, mut below) = (begin, 0);
        for &bits in self.planes() {
            let fields = 8 / bits as usize;
            let mask = u32::from_le_bytes([(1 << bits) - 1; STEP_COLUMNS]);
            let (vector, shift) = (plane + field / fields, bits as usize * (field % fields));
            for (step, columns) in codes.as_chunks::<STEP_COLUMNS>().0.iter().enumerate() {
                let value = u32::from_le_bytes(*columns) >> below & mask;
                lane.put(vector + step * step_vectors, value << shift);
            }
            plane += FIELDS.div_ceil(fields);
            below += bits;
        }
    }
}
