//! What happens to a text before its characters are merged to tokens, and the space that some tokenizers put before it.

use tokenizers::normalizers::{Sequence as Normalizers, prepend::Prepend};
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

/// Normaliser and pre-tokenizer.
#[derive(Clone, Debug)]
pub struct Preparation {
    pub normalizer: Option<NormalizerWrapper>,
    pub pre_tokenizer: Option<PreTokenizerWrapper>,
    /// Whether a space is put before a text, and belongs to no text that is decoded.
    pub leading_space: bool,
}

impl Preparation {
    /// That of a text.
    pub fn of(tokenizer: &tokenizers::Tokenizer) -> Self {
        let mut found = Self {
            normalizer: tokenizer.get_normalizer().cloned(),
            pre_tokenizer: tokenizer.get_pre_tokenizer().cloned(),
            leading_space: false,
        };
        found.leading_space = found.within().leading_space;
        found
    }

    /// That of a text that goes on behind another: no space is put before it. `leading_space` tells whether one would have
    /// been.
    pub fn within(&self) -> Self {
        let mut leading_space = false;
        let normalizer = self.normalizer.clone().and_then(|step| unprepended(step, &mut leading_space));
        let pre_tokenizer = self.pre_tokenizer.clone().map(|step| unspaced(step, &mut leading_space));
        Self { normalizer, pre_tokenizer, leading_space }
    }
}

/// A normaliser without what it puts before a text.
fn unprepended(normalizer: NormalizerWrapper, found: &mut bool) -> Option<NormalizerWrapper> {
    match normalizer {
        NormalizerWrapper::Prepend(Prepend { .. }) => {
            *found = true;
            None
        }
        NormalizerWrapper::Sequence(steps) => {
            let steps = steps.as_ref().iter().cloned().filter_map(|step| unprepended(step, found));
            Some(NormalizerWrapper::Sequence(Normalizers::new(steps.collect())))
        }
        other => Some(other),
    }
}

/// A pre-tokenizer without the space that it puts before a text.
fn unspaced(pre_tokenizer: PreTokenizerWrapper, found: &mut bool) -> PreTokenizerWrapper {
    match pre_tokenizer {
        PreTokenizerWrapper::Metaspace(mut metaspace) => {
            *found |= metaspace.get_prepend_scheme() != PrependScheme::Never;
            metaspace.set_prepend_scheme(PrependScheme::Never);
            PreTokenizerWrapper::Metaspace(metaspace)
        }
        PreTokenizerWrapper::ByteLevel(mut bytes) => {
            bytes.add_prefix_space = false;
            PreTokenizerWrapper::ByteLevel(bytes)
        }
        PreTokenizerWrapper::Sequence(steps) => {
            let steps = steps.as_ref().iter().cloned().map(|step| unspaced(step, found));
            PreTokenizerWrapper::Sequence(PreTokenizers::new(steps.collect()))
        }
        other => other,
    }
}
