//! What families that work on panels of rows share: everything but the inner loop.
//!
//! # Layout
//! A *group* is L rows, one a lane of a vector of L 32-bit lanes. A *panel* is a family's `fields` groups; lane l of
//! field f is row `f L + l` of the panel. Along k a panel is a sequence of *steps*, each `step_columns` columns in
//! `step_bytes` bytes. Columns come in *segments*: the blocks under one scale, or, where integer sums would overflow,
//! chunks of k. A segment may begin with a prefix. `interleave` panels may alternate step by step, as one stream of
//! memory; otherwise each panel is a stream of its own. Rows beyond m and columns beyond k are zeros that meet
//! activations of zero or are never stored.
//!
//! A gate/up pair is two matrices whose panels alternate: gate, up, gate, up.
//!
//! # Algorithm
//! ```text
//! for panels:  for tokens:  for each segment:
//!     sums = steps over the segment's columns            the family's: Steps::accumulate
//!     for each field:  d = rows' dot products            the family's: Steps::recover
//!         y += d * scale   or   d is added up            the walk's
//!     y / a, epilogue, store                             the walk's
//! ```

mod finish;
#[cfg(test)]
mod made_input;
mod pack;
mod walk;

use craftsman_golden::Granularity;

use crate::activations::InputForm;
use crate::config::Tile;
use crate::key::KernelKey;
use crate::packed::Layout;
use crate::vocabulary::Vector;

#[cfg(test)]
pub(crate) use made_input::made_input;
pub(crate) use pack::{PackPanel, pack};
pub(crate) use walk::Walk;

/// The numbers that describe a family's panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Groups of L rows in a panel.
    pub(crate) fields: usize,
    /// Columns of a step.
    pub(crate) step_columns: usize,
    /// Bytes of a step of one panel.
    pub(crate) step_bytes: usize,
    /// Bytes before the first step of a segment of one panel.
    pub(crate) prefix_bytes: usize,
    /// Columns whose integer sums are sure not to overflow; a multiple of `step_columns`.
    pub(crate) most_columns: usize,
    /// How far the activations of one token advance in a step, in bytes.
    pub(crate) input_step_bytes: usize,
    /// How many fields, from the first on, are stored as trit plus one, so that the sum of the activations must be taken
    /// off their dot products.
    pub(crate) biased: usize,
}

impl Geometry {
    /// Columns of a segment: under one scale, or without overflow.
    pub(crate) fn segment(&self, key: &KernelKey) -> usize {
        match key.scales {
            Granularity::Block(size) => size,
            Granularity::Tensor | Granularity::Row => key.k.min(self.most_columns),
        }
    }

    /// Steps of `columns` columns.
    pub(crate) fn steps(&self, columns: usize) -> usize {
        columns.div_ceil(self.step_columns)
    }

    /// Bytes of `columns` columns of a segment of one panel.
    pub(crate) fn segment_bytes(&self, columns: usize) -> usize {
        self.prefix_bytes + self.steps(columns) * self.step_bytes
    }

    /// The layout of `key`'s weights for vectors of `lanes` 32-bit lanes.
    pub(crate) fn layout(
        &self,
        family: &'static str,
        key: &KernelKey,
        lanes: usize,
        interleave: usize,
    ) -> Layout {
        let segment = self.segment(key);
        // Without a prefix, the weights lie the same for all segments of whole steps.
        let alike = self.prefix_bytes == 0 && segment.is_multiple_of(self.step_columns);
        let segment = if alike { key.k } else { segment };
        debug_assert!(self.prefix_bytes == 0 || interleave == 1, "prefixes are not interleaved");
        let (full, rest) = (key.k / segment, key.k % segment);
        let rest_bytes = if rest > 0 { self.segment_bytes(rest) } else { 0 };
        Layout {
            family,
            lanes,
            interleave,
            pair: key.epilogue.is_pair(),
            panel_rows: self.fields * lanes * interleave,
            panel_bytes: (full * self.segment_bytes(segment) + rest_bytes) * interleave,
            segment,
            m: key.m,
            k: key.k,
        }
    }
}

/// How much of the output is computed between two stores. It may take several passes over k.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Panels of the family, interleaved ones counted one by one; gate and up counted separately.
    pub(crate) panels: usize,
    /// Tokens whose sums are computed together.
    pub(crate) tokens: usize,
    /// Tokens for which what follows the sums is said; a loop repeats it for the others.
    pub(crate) said: usize,
    /// Output rows that exist.
    pub(crate) rows: usize,
}

/// One group of output rows of one token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) panel: usize,
    pub(crate) token: usize,
    pub(crate) field: usize,
}

/// What a family does between the loops that all share.
pub(crate) trait Steps {
    /// The family's numbers.
    fn geometry(&self) -> Geometry;
    /// The form in which it reads activations.
    fn input(&self, key: &KernelKey) -> InputForm;
    /// Vectors of the work space that [`accumulate`](Self::accumulate) needs, from offset 0.
    fn slots(&self, extent: Extent) -> usize;
    /// Whether what follows the sums is said for one token and repeated. Then any number of tokens up to the tile's may
    /// be there, and the sums of neighbouring tokens must lie as far apart as their totals: a vector a field.
    fn repeats_tokens(&self) -> bool {
        false
    }
    /// Says what has to be said once, before all loops.
    fn begin(&mut self, walk: &mut Walk<'_>);
    /// Adds up the steps of `columns` columns, and leaves the sums in the work space. Moves the weights past the
    /// segment and the activations past the columns.
    fn accumulate(&mut self, walk: &mut Walk<'_>, extent: Extent, columns: usize);
    /// `d` = the dot products of one group with one token (as stored: see [`Geometry::biased`]), from the sums that
    /// `accumulate` left; `spare` may be used.
    fn recover(&mut self, walk: &mut Walk<'_>, extent: Extent, at: At, d: Vector, spare: Vector);
}

impl Extent {
    /// Groups of output rows times tokens, pairs counted twice.
    pub(crate) fn groups(self, fields: usize) -> usize {
        self.panels * self.tokens * fields
    }
}

impl Tile {
    /// Panels that alternate in memory.
    pub(crate) fn interleave(&self) -> usize {
        self.panels / self.streams.max(1)
    }

    /// Whether the numbers fit together for `key`.
    pub(crate) fn fits(&self, key: &KernelKey) -> bool {
        // A panel of gate and one of up, in one pass or one after the other.
        let paired = self.panels == 1 || self.panels.is_multiple_of(2);
        self.streams > 0
            && self.panels.is_multiple_of(self.streams)
            && (!key.epilogue.is_pair() || (self.interleave() == 1 && paired))
    }
}
