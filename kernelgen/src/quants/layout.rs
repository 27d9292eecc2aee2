//! How blocks of integers lie in memory.

use craftsman_golden::quants::{MOST_COLUMNS, QuantKind, QuantMatrix, Superblock};
use memmap2::MmapMut;

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

    /// Packs a matrix. Rows that do not exist are zeros.
    ///
    /// # Errors
    /// When the operating system has no memory left.
    pub(super) fn pack(&self, matrix: &QuantMatrix) -> std::io::Result<MmapMut> {
        let mut pages = MmapMut::map_anon(self.panels() * self.panel_bytes())?;
        for (panel, bytes) in pages.chunks_exact_mut(self.panel_bytes()).enumerate() {
            let first = panel * self.panel_rows();
            for row in first..self.m.min(first + self.panel_rows()) {
                let (field, lane) = ((row - first) / self.lanes, (row - first) % self.lanes);
                self.pack_row(matrix.row(row), bytes, field, lane);
            }
        }
        Ok(pages)
    }

    fn pack_row(&self, row: impl Iterator<Item = Superblock>, bytes: &mut [u8], field: usize, lane: usize) {
        let (vector, blocks) = (self.vector(), self.k / self.kind.block);
        // Where the next block's group begins, in vectors, and how many blocks of it are behind.
        let (mut at, mut done) = (0, 0);
        let mut put = |vectors: usize, byte: usize, value: u8| {
            bytes[vectors * vector + 4 * lane + byte] |= value;
        };
        for (index, superblock) in row.enumerate() {
            if self.has_header() {
                let halves = [superblock.d, superblock.d_minimum].map(half::f16::to_le_bytes);
                halves
                    .as_flattened()
                    .iter()
                    .enumerate()
                    .for_each(|(byte, &value)| put(at + field, byte, value));
                at += FIELDS;
            }
            for block in 0..self.kind.blocks() {
                self.pack_scale(&superblock, block, done, |part, byte, value| {
                    put(at + FIELDS * part + field, byte, value);
                });
                let codes = &superblock.codes[block * self.kind.block..][..self.kind.block];
                let place = at + self.scale_vectors() + done * self.block_steps() * self.step_vectors();
                self.pack_codes(codes, field, |vectors, byte, value| put(place + vectors, byte, value));
                done += 1;
                let last = index * self.kind.blocks() + block + 1 == blocks;
                if done == self.group_blocks() || last {
                    at += self.group_vectors(done);
                    done = 0;
                }
            }
        }
    }

    /// `put(scale or minimum, byte of the lane, value)` for block `place` of its group.
    fn pack_scale(
        &self,
        superblock: &Superblock,
        block: usize,
        place: usize,
        mut put: impl FnMut(usize, usize, u8),
    ) {
        if self.has_header() {
            put(0, place, superblock.scales[block].cast_unsigned());
            if self.kind.minimums {
                put(1, place, superblock.minimums[block]);
            }
        } else {
            let [low, high] = superblock.d.to_le_bytes();
            put(0, 2 * place, low);
            put(0, 2 * place + 1, high);
        }
    }

    /// `put(vector, byte of the lane, bits)` for the codes of a block of one row in `field`.
    fn pack_codes(&self, codes: &[u8], field: usize, mut put: impl FnMut(usize, usize, u8)) {
        debug_assert!(codes.len() <= MOST_COLUMNS);
        for (column, &code) in codes.iter().enumerate() {
            let (mut vector, mut below) = (column / STEP_COLUMNS * self.step_vectors(), 0);
            for &bits in self.planes() {
                let fields = 8 / bits as usize;
                let value = code >> below & ((1 << bits) - 1);
                put(
                    vector + field / fields,
                    column % STEP_COLUMNS,
                    value << (bits as usize * (field % fields)),
                );
                vector += FIELDS.div_ceil(fields);
                below += bits;
            }
        }
    }
}
