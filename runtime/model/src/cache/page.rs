//! A page: what one layer keeps of [`PAGE`] positions that follow each other.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use craftsman_golden::float::{ROW_BLOCK, round_block};
use craftsman_kernelgen::float::{Numbers, Rows};
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::KvKind;

/// Positions of a page.
pub(crate) const PAGE: usize = 64;

/// What a mixer keeps of every position in its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The widths of its streams.
    pub(crate) streams: Vec<usize>,
    /// How many of the last positions it reads, the newest among them, if not all.
    pub(crate) reach: Option<usize>,
    /// Whether rows may be rounded to what the cache is asked to keep; those that may not stay f32.
    pub(crate) rounds: bool,
}

/// Where a layer's rows stand in its pages: streams one after the other, each `[PAGE, width]`, so that attention walks
/// memory straight ahead.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) kind: KvKind,
    pub(super) reach: Option<usize>,
    streams: Vec<Stream>,
}

/// The width of a stream, and where its numbers and scales begin, in elements of one position.
#[derive(Debug, Clone, Copy)]
struct Stream {
    width: usize,
    start: usize,
    scales: usize,
}

impl Layout {
    pub(super) fn new(kept: &Kept, kind: KvKind) -> Self {
        let (mut start, mut scales) = (0, 0);
        let streams = kept.streams.iter().map(|&width| {
            let stream = Stream { width, start, scales };
            start += width;
            scales += width.div_ceil(ROW_BLOCK);
            stream
        });
        let streams = streams.collect();
        Self { kind: if kept.rounds { kind } else { KvKind::F32 }, reach: kept.reach, streams }
    }

    /// Numbers and scales of one position.
    fn counts(&self) -> (usize, usize) {
        let blocks = |width: usize| if self.kind == KvKind::Q8_0 { width.div_ceil(ROW_BLOCK) } else { 0 };
        self.streams.iter().fold((0, 0), |(numbers, scales), s| (numbers + s.width, scales + blocks(s.width)))
    }

    /// Bytes that one position takes.
    pub(super) fn bytes(&self) -> usize {
        let (numbers, scales) = self.counts();
        numbers * self.kind.bytes() + scales * size_of::<f32>()
    }
}

/// The memory of one layer for [`PAGE`] positions. As long as it lives it counts in the pool's account.
#[derive(Debug)]
pub(crate) struct Page {
    store: Store,
    bytes: usize,
    account: Arc<AtomicUsize>,
}

#[derive(Debug, Clone)]
enum Store {
    F32(Box<[f32]>),
    F16(Box<[f16]>),
    Q8_0 { codes: Box<[i8]>, scales: Box<[f32]> },
}

impl Page {
    /// A page of zeros whose bytes the caller has already put on `account`.
    pub(super) fn new(layout: &Layout, account: Arc<AtomicUsize>) -> Self {
        let (numbers, scales) = layout.counts();
        let store = match layout.kind {
            KvKind::F32 => Store::F32(vec![0.0; PAGE * numbers].into()),
            KvKind::F16 => Store::F16(vec![f16::ZERO; PAGE * numbers].into()),
            KvKind::Q8_0 => {
                Store::Q8_0 { codes: vec![0; PAGE * numbers].into(), scales: vec![0.0; PAGE * scales].into() }
            }
        };
        Self { store, bytes: PAGE * layout.bytes(), account }
    }

    /// A copy, whose bytes the caller has already put on the account.
    pub(super) fn copy(&self) -> Self {
        Self { store: self.store.clone(), bytes: self.bytes, account: Arc::clone(&self.account) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the rows of some streams at position `at` of the page: `row` is one after the other what belongs to each.
    pub(super) fn keep(&mut self, layout: &Layout, streams: Range<usize>, at: usize, row: &[f32]) {
        let mut row = row;
        for &Stream { width, start, scales } in &layout.streams[streams] {
            let part = row.split_off(..width).unwrap_or_default();
            let numbers = PAGE * start + at * width..PAGE * start + (at + 1) * width;
            match &mut self.store {
                Store::F32(store) => store[numbers].copy_from_slice(part),
                Store::F16(store) => store[numbers].convert_from_f32_slice(part),
                Store::Q8_0 { codes, scales: store } => {
                    let blocks = width.div_ceil(ROW_BLOCK);
                    let scales = &mut store[PAGE * scales + at * blocks..][..blocks];
                    let blocks = part.chunks(ROW_BLOCK).zip(codes[numbers].chunks_mut(ROW_BLOCK));
                    for ((x, codes), scale) in blocks.zip(scales) {
                        *scale = round_block(x, codes);
                    }
                }
            }
        }
    }

    /// The rows of one stream at some positions of the page.
    pub(super) fn rows(&self, layout: &Layout, stream: usize, positions: Range<usize>) -> Rows<'_> {
        let Stream { width, start, scales } = layout.streams[stream];
        let range = PAGE * start + positions.start * width..PAGE * start + positions.end * width;
        let numbers = match &self.store {
            Store::F32(store) => Numbers::F32(&store[range]),
            Store::F16(store) => Numbers::F16(&store[range]),
            Store::Q8_0 { codes, scales: store } => {
                let (first, blocks) = (PAGE * scales, width.div_ceil(ROW_BLOCK));
                let scales = first + positions.start * blocks..first + positions.end * blocks;
                Numbers::Bytes { codes: &codes[range], scales: &store[scales] }
            }
        };
        Rows { len: positions.len(), width, numbers }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.account.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
