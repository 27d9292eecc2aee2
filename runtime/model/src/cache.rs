//! What one session keeps of the positions it has seen.

use std::ops::Range;

use crate::{ErrorKind, ModelError};

/// Positions that a cache grows by at least; growth doubles beyond it so that copying stays linear.
const CHUNK: usize = 256;

/// What every layer keeps of every past position, f32.
///
/// A layer keeps streams, each one contiguous array of rows, a row a position, so that attention walks memory straight
/// ahead: the keys and the values of each head; or the compressed row that all heads share; or the inputs of a
/// convolution. All of a stream is kept, even where only its end is read, so that a session can be cut at any position.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<Vec<Stream>>,
    limit: usize,
    length: usize,
    /// Positions that there is memory for.
    room: usize,
}

#[derive(Debug, Clone)]
struct Stream {
    width: usize,
    rows: Vec<f32>,
}

impl KvCache {
    /// An empty cache that will hold at most `limit` positions: for each layer the widths of its streams.
    pub(crate) fn new(layers: impl IntoIterator<Item = Vec<usize>>, limit: usize) -> Self {
        let stream = |width| Stream { width, rows: Vec::new() };
        let streams = |widths: Vec<usize>| widths.into_iter().map(stream).collect();
        Self { layers: layers.into_iter().map(streams).collect(), limit, length: 0, room: 0 }
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
        self.limit
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> usize {
        self.layers.iter().flatten().map(|stream| stream.rows.capacity() * size_of::<f32>()).sum()
    }

    /// Bytes that one position takes.
    pub fn bytes_per_position(&self) -> usize {
        self.layers.iter().flatten().map(|stream| stream.width * size_of::<f32>()).sum()
    }

    /// Forgets everything from position `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        for stream in self.layers.iter_mut().flatten() {
            stream.rows.truncate(self.length * stream.width);
        }
    }

    /// Makes room for `more` positions, or says that the context is full.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<(), ModelError> {
        let wanted = self.length.saturating_add(more);
        if wanted > self.limit {
            let problem = format!("{wanted} positions do not fit the context of {}", self.limit);
            let remedy = "shorten the prompt, or start a new session";
            return Err(ModelError::new(ErrorKind::Input, problem, remedy));
        }
        if wanted <= self.room {
            return Ok(());
        }
        let target = wanted.next_multiple_of(CHUNK).max(self.room.saturating_mul(2)).min(self.limit);
        for stream in self.layers.iter_mut().flatten() {
            stream.rows.reserve_exact((target - self.length) * stream.width);
        }
        self.room = target;
        Ok(())
    }

    /// Appends what a layer keeps of new tokens: `rows` is `[tokens, sum of widths]`, one after the other what belongs
    /// to each of `streams`.
    pub(crate) fn append(&mut self, layer: usize, streams: Range<usize>, rows: &[f32]) {
        let streams = &mut self.layers[layer][streams];
        let width = streams.iter().map(|stream| stream.width).sum();
        for mut row in rows.chunks_exact(width) {
            for stream in &mut *streams {
                let part = row.split_off(..stream.width).unwrap_or_default();
                stream.rows.extend_from_slice(part);
            }
        }
    }

    /// The rows of one stream at `positions`, `[positions, width]`.
    pub(crate) fn rows(&self, layer: usize, stream: usize, positions: Range<usize>) -> &[f32] {
        let Stream { width, rows } = &self.layers[layer][stream];
        &rows[positions.start * width..positions.end * width]
    }

    /// Counts `tokens` more positions as held: called once all layers have appended theirs.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_stay_contiguous_and_the_limit_is_an_error() {
        let mut cache = KvCache::new([vec![2, 2, 1], vec![2, 2, 1]], 3);
        for position in 0..3 {
            cache.reserve(1).unwrap();
            for layer in 0..2 {
                let base = (position * 10 + layer) as f32;
                cache.append(layer, 0..2, &[base, base, base + 0.5, base + 0.5]);
                cache.append(layer, 2..3, &[-base]);
            }
            cache.advance(1);
        }
        assert_eq!(cache.rows(1, 1, 0..3), [1.5, 1.5, 11.5, 11.5, 21.5, 21.5]);
        assert_eq!(cache.rows(0, 2, 1..3), [-10.0, -20.0]);
        assert_eq!(cache.bytes_per_position(), 2 * 5 * 4);
        assert!(cache.reserve(1).unwrap_err().to_string().contains("context of 3"));
        cache.truncate(1);
        assert_eq!(cache.len(), 1);
        assert!(cache.reserve(2).is_ok());
    }

    #[test]
    fn growth_stops_at_the_limit() {
        let mut cache = KvCache::new([vec![1, 1]], 300);
        cache.reserve(1).unwrap();
        assert_eq!(cache.bytes(), 2 * 4 * CHUNK);
        cache.reserve(257).unwrap();
        assert_eq!(cache.bytes(), 2 * 4 * 300);
    }
}
