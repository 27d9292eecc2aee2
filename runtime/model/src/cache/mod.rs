//! What sessions keep of the positions they have seen, in pages that sessions can share.

mod page;
mod pool;
mod prefix;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use craftsman_kernelgen::float::Rows;

pub(crate) use page::{Kept, PAGE};
pub(crate) use pool::Pool;
pub use pool::{KvOptions, KvPool};
pub(crate) use prefix::NodeId;

use crate::{ErrorKind, ModelError};
use page::Page;

/// How a cache keeps numbers. The logits of a session have the same bits everywhere for one kind; different kinds differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum KvKind {
    /// As they are computed.
    #[default]
    F32,
    /// Rounded to half precision: half the memory.
    F16,
    /// Rounded to bytes in blocks of 32 under one scale of f32: 9 bits a number.
    Q8_0,
}

impl KvKind {
    /// Every kind, the most bits first.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8_0];

    /// Its name, as the command line takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// The kind of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Bytes of a number, scales left out.
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q8_0 => 1,
        }
    }
}

impl fmt::Display for KvKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What every layer keeps of every position that it can still read.
///
/// A layer keeps streams of rows, a row a position: the keys and the values of each head; or the compressed row that all
/// heads share; or the inputs of a convolution. A layer that reads only the last positions (a sliding window, a
/// convolution) gives pages back that lie behind them.
#[derive(Debug)]
pub struct KvCache {
    pool: Arc<Pool>,
    layers: Vec<LayerPages>,
    length: usize,
}

#[derive(Debug, Clone, Default)]
struct LayerPages {
    /// Pages before these that were given back.
    dropped: usize,
    pages: VecDeque<Arc<Page>>,
}

impl LayerPages {
    fn page(&self, position: usize) -> &Page {
        &self.pages[position / PAGE - self.dropped]
    }
}

impl KvCache {
    /// An empty cache with memory from `pool`.
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        let layers = vec![LayerPages::default(); pool.layouts().len()];
        Self { pool, layers, length: 0 }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The most positions that can be held.
    pub fn limit(&self) -> usize {
        self.pool.limit()
    }

    /// A cache that holds the same; pages are shared until either is written.
    pub(crate) fn fork(&self) -> Self {
        Self { pool: Arc::clone(&self.pool), layers: self.layers.clone(), length: self.length }
    }

    /// How numbers are kept.
    pub fn kind(&self) -> KvKind {
        self.pool.kind()
    }

    /// Bytes of memory in use, those of shared pages among them.
    pub fn bytes(&self) -> usize {
        self.layers.iter().flat_map(|layer| &layer.pages).map(|page| page.bytes()).sum()
    }

    /// Bytes that one position takes while all layers can read it.
    pub fn bytes_per_position(&self) -> usize {
        self.pool.layouts().iter().map(page::Layout::bytes).sum()
    }

    /// Forgets everything from position `length` on, and gives back the memory. Where a layer has already given back what
    /// the position before `length` could read, all is forgotten.
    pub(crate) fn truncate(&mut self, length: usize) {
        let length = length.min(self.length);
        let layers = self.layers.iter().zip(self.pool.layouts());
        let readable = layers.clone().all(|(layer, layout)| {
            let first = layout.reach.map_or(0, |reach| (length + 1).saturating_sub(reach));
            layer.dropped * PAGE <= first
        });
        self.length = if readable { length } else { 0 };
        let pages = self.length.div_ceil(PAGE);
        for layer in &mut self.layers {
            if !readable {
                *layer = LayerPages::default();
            }
            layer.pages.truncate(pages - layer.dropped.min(pages));
        }
    }

    /// Makes room for `more` positions. What is written next belongs to this cache alone afterwards.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<(), ModelError> {
        let limit = self.pool.limit();
        let wanted = self.length.saturating_add(more);
        if wanted > limit {
            let problem = format!("{wanted} positions do not fit the context of {limit}");
            let remedy = "shorten the prompt, or start a new session";
            return Err(ModelError::new(ErrorKind::Input, problem, remedy));
        }
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let written = self.length / PAGE - layer.dropped;
            if let Some(page) = layer.pages.get_mut(written)
                && Arc::get_mut(page).is_none()
            {
                self.pool.account(page.bytes())?;
                *page = Arc::new(page.copy());
            }
            while layer.dropped + layer.pages.len() < wanted.div_ceil(PAGE) {
                layer.pages.push_back(Arc::new(self.pool.page(index)?));
            }
        }
        Ok(())
    }

    /// Keeps rows of new tokens, for which [`reserve`](Self::reserve) has made room: `rows` is `[tokens, sum of widths]`,
    /// one after the other what belongs to each of `streams`.
    pub(crate) fn append(&mut self, layer: usize, streams: Range<usize>, rows: &[f32], tokens: usize) {
        let layout = &self.pool.layouts()[layer];
        let LayerPages { dropped, pages } = &mut self.layers[layer];
        let width = rows.len() / tokens;
        for (position, row) in (self.length..).zip(rows.chunks_exact(width)) {
            let page = Arc::get_mut(&mut pages[position / PAGE - *dropped]);
            let page = page.expect("`reserve` made the page this cache's own");
            page.keep(layout, streams.clone(), position % PAGE, row);
        }
    }

    /// The rows of one stream at `positions`, in ascending stretches.
    pub(crate) fn rows(
        &self,
        layer: usize,
        stream: usize,
        positions: Range<usize>,
    ) -> impl Iterator<Item = Rows<'_>> {
        let layout = &self.pool.layouts()[layer];
        let pages = positions.start / PAGE..positions.end.div_ceil(PAGE);
        pages.map(move |page| {
            let first = page * PAGE;
            let stretch = positions.start.max(first) - first..positions.end.min(first + PAGE) - first;
            self.layers[layer].page(first).rows(layout, stream, stretch)
        })
    }

    /// Counts `tokens` more positions as held: called once all layers have appended theirs.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }

    /// Gives back the pages that no layer can read any more, but for one more, so that a few tokens can be taken back.
    pub(crate) fn trim(&mut self) {
        for (layer, layout) in self.layers.iter_mut().zip(self.pool.layouts()) {
            let Some(reach) = layout.reach else { continue };
            let first = (self.length + 1).saturating_sub(reach + PAGE) / PAGE;
            while layer.dropped < first && layer.pages.pop_front().is_some() {
                layer.dropped += 1;
            }
        }
    }

    /// Lets other sessions that begin with the same tokens use the pages which are full. `tokens` are those held; `shared`
    /// remembers how far this has come.
    pub(crate) fn share(&self, tokens: &[u32], shared: &mut SharedPrefix) {
        if !self.pool.shares() {
            return;
        }
        self.pool.prefixes(|prefixes| {
            while (shared.pages + 1) * PAGE <= self.length {
                let page = |layer: &LayerPages| {
                    shared.pages.checked_sub(layer.dropped).and_then(|index| layer.pages.get(index)).cloned()
                };
                let Some(pages) = self.layers.iter().map(page).collect::<Option<Vec<_>>>() else { return };
                let tokens = &tokens[shared.pages * PAGE..(shared.pages + 1) * PAGE];
                let Some(node) = prefixes.insert(shared.node, tokens, pages) else { return };
                *shared = SharedPrefix { node: Some(node), pages: shared.pages + 1 };
            }
        });
    }

    /// Fills this cache, which must be empty, with pages of other sessions that begin with `tokens`, and answers how far
    /// they reach: not to the last token, whose logits somebody wants.
    pub(crate) fn adopt(&mut self, tokens: &[u32]) -> SharedPrefix {
        let most = tokens.len().saturating_sub(1) / PAGE;
        let mut shared = SharedPrefix::default();
        self.pool.prefixes(|prefixes| {
            for page in tokens.chunks_exact(PAGE).take(most) {
                let Some((node, pages)) = prefixes.find(shared.node, page) else { return };
                for (layer, page) in self.layers.iter_mut().zip(pages) {
                    layer.pages.push_back(Arc::clone(page));
                }
                shared = SharedPrefix { node: Some(node), pages: shared.pages + 1 };
            }
        });
        self.length = shared.pages * PAGE;
        shared
    }
}

/// How many pages of a session stand among the prefixes that sessions share, and under which node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SharedPrefix {
    pub(crate) node: Option<NodeId>,
    pub(crate) pages: usize,
}

#[cfg(test)]
mod tests;
