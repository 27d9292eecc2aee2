//! Attention of all heads of all tokens over the rows that the caches keep.
//!
//! Threads take stretches of queries. Within one, queries that see the same rows go over them together: heads that share keys, and
//! tokens that follow each other. Each query's answer is the one it would get alone, bit for bit.

use std::ops::Range;

use craftsman_kernelgen::float::{FloatOps, Rows};

use super::Place;
use crate::cache::KvCache;
use crate::layer::{Engine, sized};

/// The most queries that go over rows together.
const BLOCK: usize = 8;

/// What attends over what.
#[derive(Clone, Copy)]
pub(super) struct Attention<'a> {
    /// `[tokens, heads, width of a key]`.
    pub(super) queries: &'a [f32],
    pub(super) heads: usize,
    /// Attention that share keys: the stream of those of the first `group` heads is 0, and so on.
    pub(super) group: usize,
    /// The stream of the values of the first heads.
    pub(super) values: usize,
    /// Positions that a token sees, its own among them, if not all.
    pub(super) window: Option<usize>,
    pub(super) scale: f32,
}

/// A stretch of the queries, counted in heads, with room for what comes up on the way.
struct Share<'a> {
    first: usize,
    out: &'a mut [f32],
    scratch: &'a mut AttentionScratch,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct AttentionScratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
}

/// Queries that go over rows together: of one session, and of heads that share keys.
struct Block<'a> {
    layer: usize,
    cache: &'a KvCache,
    /// The streams of keys and values.
    streams: [usize; 2],
    /// Each query's number, and the positions it sees. Later queries see later ones.
    queries: Vec<(usize, Range<usize>)>,
}

impl Attention<'_> {
    /// Fills `out`, `[tokens, heads, width of a value]`.
    pub(super) fn attend(
        self,
        engine: &Engine<'_>,
        place: &Place<'_, '_>,
        out: &mut [f32],
        scratch: &mut Vec<AttentionScratch>,
    ) {
        let tokens = place.rotations.len();
        let count = tokens * self.heads;
        let widths = [self.queries.len() / count, out.len() / count];
        let stretch = count.div_ceil(share_count(engine.threads.count(), tokens, count));
        let (parts, width) = (count.div_ceil(stretch), widths[1]);
        scratch.resize_with(scratch.len().max(parts), AttentionScratch::default);
        let stretches = out.chunks_mut(stretch * width).zip(scratch).enumerate();
        let shares =
            stretches.map(|(index, (out, scratch))| Share { first: index * stretch, out, scratch }).collect();
        engine.threads.run(shares, |mut share: Share<'_>| {
            let queries = share.first..share.first + share.out.len() / width;
            // Keys outside and tokens inside, so that rows stay in a near cache.
            for shared in 0..self.heads / self.group {
                self.blocks(place, shared, queries.clone(), |block| {
                    self.answer(engine.ops, &block, widths, &mut share);
                });
            }
        });
    }

    /// Divides those of `queries` whose heads share keys with the number `shared` into blocks.
    fn blocks<'p>(
        &self,
        place: &'p Place<'_, '_>,
        shared: usize,
        queries: Range<usize>,
        mut run: impl FnMut(Block<'p>),
    ) {
        let streams = [shared, self.values + shared];
        let mut open: Option<Block<'p>> = None;
        for token in queries.start / self.heads..queries.end.div_ceil(self.heads) {
            let (cache, end) = place.seen(token);
            let sees = self.window.map_or(0, |window| end.saturating_sub(window))..end;
            let first = token * self.heads + shared * self.group;
            for query in first.max(queries.start)..(first + self.group).min(queries.end) {
                let full =
                    |block: &mut Block<'_>| block.queries.len() == BLOCK || !std::ptr::eq(block.cache, cache);
                open.take_if(full).map(&mut run);
                let fresh =
                    || Block { layer: place.layer, cache, streams, queries: Vec::with_capacity(BLOCK) };
                open.get_or_insert_with(fresh).queries.push((query, sees.clone()));
            }
        }
        open.map(run);
    }

    /// The answers of the queries of `block`: scores, their softmax, and the mixture of the values.
    fn answer(&self, ops: FloatOps, block: &Block<'_>, [key, value]: [usize; 2], share: &mut Share<'_>) {
        let AttentionScratch { queries, scores } = &mut *share.scratch;
        let count = block.queries.len();
        let longest = block.queries.iter().map(|(_, sees)| sees.len()).max().unwrap_or(0);
        let queries = sized(queries, count * key);
        for (to, (query, _)) in queries.chunks_exact_mut(key).zip(&block.queries) {
            to.copy_from_slice(&self.queries[query * key..][..key]);
        }
        let scores = sized(scores, count * longest);
        block.score(ops, queries, self.scale, scores);
        for (scores, (_, sees)) in scores.chunks_exact_mut(longest).zip(&block.queries) {
            ops.softmax(&mut scores[..sees.len()]);
        }
        block.mix(ops, scores, share.first, value, share.out);
    }
}

impl Block<'_> {
    /// Which queries see which positions: those that all see are one stretch. Each query's positions ascend.
    fn stretches(&self) -> Vec<(Range<usize>, Range<usize>)> {
        let sees = || self.queries.iter().map(|(_, sees)| sees);
        let low = sees().map(|sees| sees.start).max().unwrap_or(0);
        let high = sees().map(|sees| sees.end).min().unwrap_or(0).max(low);
        let alone = |from: usize, to: usize| {
            let parts = sees().enumerate();
            parts.map(move |(i, sees)| (i..i + 1, sees.start.max(from)..sees.end.min(to)))
        };
        let all = [(0..self.queries.len(), low..high)];
        let stretches = alone(0, low).chain(all).chain(alone(high, usize::MAX));
        stretches.filter(|(_, positions)| !positions.is_empty()).collect()
    }

    /// Runs `product(queries, rows, at)` for all rows of a stream that those queries see: `at` is the position of the first row.
    fn each_stretch(&self, stream: usize, mut product: impl FnMut(Range<usize>, Rows<'_>, usize)) {
        for (queries, positions) in self.stretches() {
            let mut at = positions.start;
            for rows in self.cache.rows(self.layer, stream, positions) {
                product(queries.clone(), rows, at);
                at += rows.len;
            }
        }
    }

    /// Fills `scores`, `[queries, most positions]`, from `q`, `[queries, width of a key]`.
    fn score(&self, ops: FloatOps, q: &[f32], scale: f32, scores: &mut [f32]) {
        let count = self.queries.len();
        let (width, longest) = (q.len() / count, scores.len() / count);
        self.each_stretch(self.streams[0], |queries, rows, at| {
            let q = &q[queries.start * width..queries.end * width];
            let lists = scores.chunks_exact_mut(longest).zip(&self.queries);
            let mut parts: [&mut [f32]; BLOCK] = Default::default();
            for (part, (scores, (_, sees))) in
                parts.iter_mut().zip(lists.skip(queries.start)).take(queries.len())
            {
                *part = &mut scores[at - sees.start..][..rows.len];
            }
            ops.score(q, rows, scale, &mut parts[..queries.len()]);
        });
    }

    /// Fills the answers of the queries, which stand in `out` with the query `first` before all, `width` numbers each: the values
    /// weighted by `p`, `[queries, most positions]`.
    fn mix(&self, ops: FloatOps, p: &[f32], first: usize, width: usize, out: &mut [f32]) {
        let longest = p.len() / self.queries.len();
        let mut outs: [&mut [f32]; BLOCK] = Default::default();
        let (mut rest, mut next) = (out.chunks_exact_mut(width), first);
        for (out, (query, _)) in outs.iter_mut().zip(&self.queries) {
            *out = rest.nth(query - next).unwrap_or_default();
            out.fill(0.0);
            next = query + 1;
        }
        self.each_stretch(self.streams[1], |queries, rows, at| {
            let lists = p.chunks_exact(longest).zip(&self.queries);
            let mut parts: [&[f32]; BLOCK] = Default::default();
            for (part, (p, (_, sees))) in parts.iter_mut().zip(lists.skip(queries.start)).take(queries.len())
            {
                *part = &p[at - sees.start..][..rows.len];
            }
            ops.mix(&parts[..queries.len()], rows, &mut outs[queries]);
        });
    }
}

/// How many shares the heads of all tokens are divided into: later tokens see more keys, so there are more shares than
/// threads where there are tokens enough.
fn share_count(threads: usize, tokens: usize, heads: usize) -> usize {
    let wanted = if threads > 1 && tokens > 1 { threads * 8 } else { threads };
    wanted.clamp(1, heads.max(1))
}
