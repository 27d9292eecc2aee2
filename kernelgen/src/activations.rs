//! Quantised activations, in the form that kernels read.

use craftsman_golden::Granularity;
use craftsman_golden::quantize::NonFinite;

use crate::float::FloatOps;

/// The int8 activations of `n` tokens, each with its scale and the sums of its blocks.
///
/// Quantised once and shared by all matrices that read the same input and have scales of the same block length. Reusing
/// one value for the next layer reuses its memory.
#[derive(Debug, Default)]
pub struct Activations {
    tokens: usize,
    k: usize,
    block: usize,
    /// `[tokens][k rounded up to 4]`, zeros beyond k.
    q: Vec<i8>,
    /// `[tokens][1 + blocks]`: the bits of the scale, then the blocks' sums.
    words: Vec<u32>,
}

impl Activations {
    /// No tokens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Quantises `x`, `[n, k]` row major, by absmax per token, for matrices whose scales are laid as `scales` says.
    ///
    /// # Errors
    /// When a value is infinite or not a number; its index is within `x`.
    ///
    /// # Panics
    /// When `x` is not `n * k` long: a bug in the caller.
    pub fn quantize(
        &mut self,
        ops: &FloatOps,
        x: &[f32],
        n: usize,
        k: usize,
        scales: Granularity,
    ) -> Result<(), NonFinite> {
        assert_eq!(x.len(), n * k, "activations of {n} tokens");
        self.reshape(n, k, scales);
        for token in 0..n {
            let row = self.q_row(token);
            let scale = ops
                .quantize_absmax(&x[token * k..][..k], row)
                .map_err(|error| NonFinite { index: token * k + error.index, ..error })?;
            self.finish_row(token, scale);
        }
        Ok(())
    }

    /// Takes values that are quantised already: `q` is `[n, k]`, `a` the scale of each of the n tokens.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    pub fn from_quantized(q: &[i8], a: &[f32], k: usize, scales: Granularity) -> Self {
        assert_eq!(q.len(), a.len() * k, "activations of {} tokens", a.len());
        let mut activations = Self::new();
        activations.reshape(a.len(), k, scales);
        for (token, &a) in a.iter().enumerate() {
            activations.q_row(token).copy_from_slice(&q[token * k..][..k]);
            activations.finish_row(token, a);
        }
        activations
    }

    fn reshape(&mut self, n: usize, k: usize, scales: Granularity) {
        (self.tokens, self.k, self.block) = (n, k, block_length(k, scales));
        self.q.clear();
        self.q.resize(n * self.padded_k(), 0);
        self.words.clear();
        self.words.resize(n * self.words_per_token(), 0);
    }

    fn q_row(&mut self, token: usize) -> &mut [i8] {
        let (padded, k) = (self.padded_k(), self.k);
        &mut self.q[token * padded..][..k]
    }

    fn finish_row(&mut self, token: usize, scale: f32) {
        let (padded, stride) = (self.padded_k(), self.words_per_token());
        let q = &self.q[token * padded..][..self.k];
        let words = &mut self.words[token * stride..][..stride];
        words[0] = scale.to_bits();
        for (word, block) in words[1..].iter_mut().zip(q.chunks(self.block)) {
            *word = block.iter().map(|&q| i32::from(q)).sum::<i32>().cast_unsigned();
        }
    }

    fn padded_k(&self) -> usize {
        self.k.next_multiple_of(4)
    }

    fn words_per_token(&self) -> usize {
        1 + self.k.div_ceil(self.block)
    }

    /// How many tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Values a token.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Whether the sums suit matrices whose scales are laid so.
    pub fn suits(&self, scales: Granularity) -> bool {
        self.block == block_length(self.k, scales)
    }

    /// The quantised values, padded rows of a multiple of four.
    pub(crate) fn q(&self) -> &[i8] {
        &self.q
    }

    /// Scale and sums of each token.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }
}

/// Columns under one scale.
fn block_length(k: usize, scales: Granularity) -> usize {
    match scales {
        Granularity::Tensor | Granularity::Row => k.max(1),
        Granularity::Block(size) => size,
    }
}
