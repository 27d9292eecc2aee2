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
            for row in first..self.m.min(first + self.panel_rows()) {
                let (field, lane) = ((row - first) / self.lanes, (row - first) % self.lanes);
                self.pack_row(matrix.row(row), bytes, field, lane);
            }
        }
    }

    fn pack_row(&self, row: impl Iterator<Item = Superblock>, bytes: &mut [u8], field: usize, lane: usize) {
        let (vector, blocks) = (self.vector(), self.k / self.kind.block);
        // Where the next block's group begins, in vectors, and how many blocks of it are behind.
        let (mut at, mut done) = (0, 0);
        let mut put = |vectors: usize, value: u32| {
            if let Some(word) = bytes[vectors * vector + 4 * lane..].first_chunk_mut::<4>() {
                *word = (u32::from_le_bytes(*word) | value).to_le_bytes();
            }
        };
        for (index, superblock) in row.enumerate() {
            if self.has_header() {
                let halves =
                    u32::from(superblock.d.to_bits()) | u32::from(superblock.d_minimum.to_bits()) << 16;
                put(at + field, halves);
                at += FIELDS;
            }
            for block in 0..self.kind.blocks() {
                for (part, value) in self.scales(&superblock, block, done).into_iter().enumerate() {
                    if part == 0 || self.kind.minimums {
                        put(at + FIELDS * part + field, value);
                    }
                }
                let codes = &superblock.codes[block * self.kind.block..][..self.kind.block];
                let place = at + self.scale_vectors() + done * self.block_steps() * self.step_vectors();
                self.pack_codes(codes, field, |vectors, value| put(place + vectors, value));
                done += 1;
                let last = index * self.kind.blocks() + block + 1 == blocks;
                if done == self.group_blocks() || last {
                    at += self.group_vectors(done);
                    done = 0;
                }
            }
        }
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

    /// `put(vector, lane)` for the codes of a block of one row in `field`, four columns at a time.
    fn pack_codes(&self, codes: &[u8], field: usize, mut put: impl FnMut(usize, u32)) {
        let step_vectors = self.step_vectors();
        let (mut plane, mut below) = (0, 0);
        // Plane by plane, so that divisions stay out of the inner loop.
        for &bits in self.planes() {
            let fields = 8 / bits as usize;
            let mask = u32::from_le_bytes([(1 << bits) - 1; STEP_COLUMNS]);
            let (vector, shift) = (plane + field / fields, bits as usize * (field % fields));
            for (step, columns) in codes.as_chunks::<STEP_COLUMNS>().0.iter().enumerate() {
                let value = u32::from_le_bytes(*columns) >> below & mask;
                put(vector + step * step_vectors, value << shift);
            }
            plane += FIELDS.div_ceil(fields);
            below += bits;
        }
    }
}
