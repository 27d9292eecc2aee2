//! Quantised activations, in the form that kernels read.

use craftsman_golden::Granularity;
use craftsman_golden::quantize::NonFinite;

use crate::quantizer::{Quantizer, SLACK};
use crate::scratch::AlignedBytes;

/// How a kernel reads activations. Equal forms hold equal bytes, so kernels whose forms are equal share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InputForm {
    /// What it is: rows as they were quantised, or what a family makes of them.
    pub name: &'static str,
    /// 32-bit lanes of the vectors that it is laid out for; 0 where that does not matter.
    pub lanes: usize,
    /// Tokens that lie together.
    pub group: usize,
    /// Bytes from one token to the next within a group.
    pub token_bytes: usize,
    /// Bytes from one group of tokens to the next.
    pub group_bytes: usize,
}

impl InputForm {
    /// Quantised rows as they are: one a token, of k values rounded up to four.
    pub fn rows(k: usize) -> Self {
        Self::per_token("rows", 0, k.next_multiple_of(4))
    }

    /// A form of `bytes` a token, token after token.
    pub fn per_token(name: &'static str, lanes: usize, bytes: usize) -> Self {
        Self { name, lanes, group: 1, token_bytes: bytes, group_bytes: bytes }
    }

    /// Where `token` begins.
    pub fn token_offset(&self, token: usize) -> usize {
        token / self.group * self.group_bytes + token % self.group * self.token_bytes
    }

    /// Bytes of `tokens` tokens, the last group whole.
    pub fn bytes(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.group) * self.group_bytes
    }
}

/// Words exist for a multiple of so many tokens, and groups of forms divide it, so that code that takes many tokens at a
/// time need not stop between them.
pub(crate) const TOKEN_GRANULE: usize = 32;

/// The int8 activations of `n` tokens, each with its scale and the sums of its blocks.
///
/// Quantised once and shared by all matrices that read the same input and have scales of the same block length. Reusing
/// one value for the next layer reuses its memory.
#[derive(Debug)]
pub struct Activations {
    tokens: usize,
    k: usize,
    block: usize,
    /// `[tokens][k rounded up to 4]`, zeros beyond k; then what a quantiser may write beyond it.
    q: Vec<i8>,
    /// `[tokens][1 + blocks]`: the bits of the scale, then the blocks' sums; tokens beyond n are zeros.
    words: Vec<u32>,
    /// Bits of a value.
    bits: u8,
    /// What families have made of `q`.
    forms: Vec<(InputForm, AlignedBytes)>,
    /// Forms of earlier inputs, whose memory may serve again.
    spent: Vec<AlignedBytes>,
}

impl Activations {
    /// No tokens yet.
    pub fn new() -> Self {
        Self {
            tokens: 0,
            k: 0,
            block: 1,
            q: Vec::new(),
            words: Vec::new(),
            bits: 8,
            forms: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// Quantises `x`, `[n, k]` row major, by absmax per token.
    ///
    /// # Errors
    /// When a value is infinite or not a number; its index is within `x`.
    ///
    /// # Panics
    /// When `x` is not n times the quantiser's k long: a bug in the caller.
    pub fn quantize(&mut self, quantizer: &Quantizer, x: &[f32], n: usize) -> Result<(), NonFinite> {
        let k = quantizer.k();
        assert_eq!(x.len(), n * k, "activations of {n} tokens");
        self.reshape(n, k, quantizer.scales());
        self.bits = quantizer.bits();
        // Words of tokens beyond n stay zeros.
        let stride = self.words_per_token();
        let words = &mut self.words[..n * stride];
        quantizer.run(x, &mut self.q, words);
        let not_positive =
            |words: &[u32]| f32::from_bits(words[0]) <= 0.0 || f32::from_bits(words[0]).is_nan();
        match words.chunks_exact(stride).position(not_positive) {
            None => Ok(()),
            Some(token) => NonFinite::check(&x[token * k..][..k])
                .map_err(|error| NonFinite { index: token * k + error.index, ..error }),
        }
    }

    /// Takes values that are quantised already, to eight bits: `q` is `[n, k]`, `a` the scale of each of the n tokens.
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
        self.q.resize(n * self.padded_k() + SLACK, 0);
        self.words.clear();
        self.words.resize(n.next_multiple_of(TOKEN_GRANULE) * self.words_per_token(), 0);
        self.spent.extend(self.forms.drain(..).map(|(_, bytes)| bytes));
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

    /// The values in `form`: rows, or what [`make_form`](Self::make_form) made of them.
    pub(crate) fn form(&self, form: &InputForm) -> Option<*const u8> {
        if *form == InputForm::rows(self.k) {
            return Some(self.q.as_ptr().cast());
        }
        self.forms.iter().find(|(known, _)| known == form).map(|(_, bytes)| bytes.bytes().as_ptr())
    }

    /// Lets `make` fill the memory of `form`, unless that has been done for this input.
    pub(crate) fn make_form(&mut self, form: InputForm, make: impl FnOnce(&Self, &mut [u8])) {
        if self.form(&form).is_none() {
            let mut bytes = self.spent.pop().unwrap_or_default();
            bytes.resize(form.bytes(self.tokens));
            make(self, bytes.bytes_mut());
            self.forms.push((form, bytes));
        }
    }

    /// Whether both hold the same values, scales and sums.
    pub fn same_values(&self, other: &Self) -> bool {
        (self.tokens, self.k, self.bits) == (other.tokens, other.k, other.bits)
            && self.q() == other.q()
            && self.words == other.words
    }

    /// Bits of a value: 8, or 4.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Declares that all values fit `bits` bits.
    ///
    /// # Panics
    /// When they do not.
    #[must_use]
    pub fn with_bits(mut self, bits: u8) -> Self {
        let limit = 1_i16 << (bits - 1);
        let fits = |&q: &i8| (-limit..limit).contains(&i16::from(q));
        assert!(self.q.iter().all(fits), "activations of {bits} bits");
        self.bits = bits;
        self
    }

    /// Whether the sums suit matrices whose scales are laid so.
    pub fn suits(&self, scales: Granularity) -> bool {
        self.block == block_length(self.k, scales)
    }

    /// The quantised values, padded rows of a multiple of four.
    pub(crate) fn q(&self) -> &[i8] {
        &self.q[..self.tokens * self.padded_k()]
    }

    /// Scale and sums of each token.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }
}

impl Default for Activations {
    fn default() -> Self {
        Self::new()
    }
}

/// Columns under one scale.
fn block_length(k: usize, scales: Granularity) -> usize {
    match scales {
        Granularity::Tensor | Granularity::Row => k.max(1),
        Granularity::Block(size) => size,
    }
}
