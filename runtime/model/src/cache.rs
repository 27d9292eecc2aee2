//! The key and value cache of one session.

use crate::{ErrorKind, ModelError};

/// Positions that a cache grows by at least; growth doubles beyond it so that copying stays linear.
const CHUNK: usize = 256;

/// Keys and values of every past position, f32.
///
/// A layer's key/value head keeps its keys in one contiguous `[position, head_dim]` array, and its values in another, so
/// that attention walks memory straight ahead.
#[derive(Debug, Clone)]
pub struct KvCache {
    heads: Vec<Head>,
    heads_per_layer: usize,
    head_dim: usize,
    limit: usize,
    length: usize,
}

#[derive(Debug, Clone, Default)]
struct Head {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KvCache {
    /// An empty cache that will hold at most `limit` positions.
    pub fn new(layers: usize, heads_per_layer: usize, head_dim: usize, limit: usize) -> Self {
        Self {
            heads: vec![Head::default(); layers * heads_per_layer],
            heads_per_layer,
            head_dim,
            limit,
            length: 0,
        }
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
        self.heads.iter().map(|head| (head.keys.capacity() + head.values.capacity()) * size_of::<f32>()).sum()
    }

    /// Forgets everything from position `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        for head in &mut self.heads {
            head.keys.truncate(self.length * self.head_dim);
            head.values.truncate(self.length * self.head_dim);
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
        let Some(first) = self.heads.first() else { return Ok(()) };
        let capacity = first.keys.capacity() / self.head_dim.max(1);
        if wanted <= capacity {
            return Ok(());
        }
        let target = wanted.next_multiple_of(CHUNK).max(capacity.saturating_mul(2)).min(self.limit);
        for head in &mut self.heads {
            let extra = (target - self.length) * self.head_dim;
            head.keys.reserve_exact(extra);
            head.values.reserve_exact(extra);
        }
        Ok(())
    }

    /// Appends the keys and values of new tokens, each `[tokens, heads_per_layer * head_dim]`, to one layer.
    pub(crate) fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let width = self.heads_per_layer * self.head_dim;
        let heads = &mut self.heads[layer * self.heads_per_layer..(layer + 1) * self.heads_per_layer];
        for (key, value) in keys.chunks_exact(width).zip(values.chunks_exact(width)) {
            let parts = key.chunks_exact(self.head_dim).zip(value.chunks_exact(self.head_dim));
            for (head, (key, value)) in heads.iter_mut().zip(parts) {
                head.keys.extend_from_slice(key);
                head.values.extend_from_slice(value);
            }
        }
    }

    /// The keys and values of one head up to and with position `last`, each `[last + 1, head_dim]`.
    pub(crate) fn head(&self, layer: usize, head: usize, last: usize) -> (&[f32], &[f32]) {
        let head = &self.heads[layer * self.heads_per_layer + head];
        let end = (last + 1) * self.head_dim;
        (&head.keys[..end], &head.values[..end])
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
    fn heads_stay_contiguous_and_the_limit_is_an_error() {
        let mut cache = KvCache::new(2, 2, 2, 3);
        for position in 0..3 {
            cache.reserve(1).unwrap();
            for layer in 0..2 {
                let base = (position * 10 + layer) as f32;
                cache.append(layer, &[base, base, base + 0.5, base + 0.5], &[0.0; 4]);
            }
            cache.advance(1);
        }
        assert_eq!(cache.head(1, 1, 2).0, [1.5, 1.5, 11.5, 11.5, 21.5, 21.5]);
        assert!(cache.reserve(1).unwrap_err().to_string().contains("context of 3"));
        cache.truncate(1);
        assert_eq!(cache.len(), 1);
        assert!(cache.reserve(2).is_ok());
    }

    #[test]
    fn growth_stops_at_the_limit() {
        let mut cache = KvCache::new(1, 1, 1, 300);
        cache.reserve(1).unwrap();
        assert_eq!(cache.bytes(), 2 * 4 * CHUNK);
        cache.reserve(257).unwrap();
        assert_eq!(cache.bytes(), 2 * 4 * 300);
    }
}
