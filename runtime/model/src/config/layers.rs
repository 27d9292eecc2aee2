//! What differs between the layers of one model, and what their kinds are made of.

use super::rope::score_scale;
use super::{optional_size, size, unsupported};
use crate::ModelError;
use crate::architecture::{Architecture, Mixers, Sliding};
use crate::container::{Checkpoint, Metadata, Value};

/// What one layer consists of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerKind {
    /// What lets positions see each other.
    pub mixing: Mixing,
    /// Whether its feed-forward part is a mixture of experts.
    pub experts: bool,
}

/// What lets positions see each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mixing {
    /// Grouped-query attention.
    Grouped {
        /// Positions that a token sees, its own among them, if not all.
        window: Option<usize>,
        /// Whether queries and keys are turned by their positions.
        positions: bool,
    },
    /// Attention over compressed rows.
    Latent(LatentConfig),
    /// A short convolution.
    Convolution {
        /// Positions that it reaches over, a token's own among them.
        taps: usize,
    },
}

/// Multi-head latent attention: the widths of DeepSeek-V2's paper, section 2.1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentConfig {
    /// Width that queries are compressed to, if they are.
    pub query_rank: Option<usize>,
    /// Width that keys and values are compressed to, together.
    pub rank: usize,
    /// Dimensions of a query head that positions do not turn.
    pub straight: usize,
    /// Dimensions that they turn, of every query head and of the one key that all share.
    pub turned: usize,
    /// Width of a head's values.
    pub value: usize,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl LatentConfig {
    /// Current files say the sizes of a head under keys of their own, because `attention.key_length` is that of the
    /// compressed row; legacy files say them there.
    pub(super) fn read(metadata: &Metadata) -> Result<Self, ModelError> {
        let either = |key: &str, legacy: &str| match optional_size(metadata, key)? {
            Some(size) => Ok(size),
            None => size(metadata, legacy),
        };
        let key = either("attention.key_length_mla", "attention.key_length")?;
        let turned = size(metadata, "rope.dimension_count")?;
        let Some(straight @ 1..) = key.checked_sub(turned) else {
            let problem = format!("{turned} turned of {key} dimensions of a head leave none");
            return Err(ModelError::shape(problem).key(&metadata.arch_key("rope.dimension_count")));
        };
        let query_rank = metadata.arch_get_u32("attention.q_lora_rank")?.filter(|&rank| rank != 0);
        Ok(Self {
            query_rank: query_rank.map(|rank| rank as usize),
            rank: size(metadata, "attention.kv_lora_rank")?,
            straight,
            turned,
            value: either("attention.value_length_mla", "attention.value_length")?,
            scale: (score_scale(metadata)? / (key as f64).sqrt()) as f32,
        })
    }

    /// Width of a query head.
    pub fn head_dim(&self) -> usize {
        self.straight + self.turned
    }
}

/// The layers to run: a file may hold more, behind them, that predict further tokens (`nextn`).
pub(super) fn count(checkpoint: &Checkpoint) -> Result<usize, ModelError> {
    let count = size(checkpoint.metadata(), "block_count")?;
    Ok(first_predicting(checkpoint).map_or(count, |first| first.min(count)))
}

/// The first block that predicts further tokens.
pub(crate) fn first_predicting(checkpoint: &Checkpoint) -> Option<usize> {
    let blocks = checkpoint.tensors().filter_map(|tensor| {
        let (block, part) = tensor.name.strip_prefix("blk.")?.split_once('.')?;
        part.starts_with("nextn.").then(|| block.parse().ok())?
    });
    blocks.min()
}

/// Key heads: one number, or one a layer, of which 0 means a layer without attention.
pub(super) enum KeyHeads {
    Same(Option<usize>),
    Each(Vec<usize>),
}

impl KeyHeads {
    /// The largest number.
    pub(super) fn most(&self) -> Option<usize> {
        match self {
            Self::Same(number) => *number,
            Self::Each(numbers) => numbers.iter().copied().max(),
        }
    }
}

const KEY_HEADS: &str = "attention.head_count_kv";

pub(super) fn key_heads(metadata: &Metadata, layers: usize) -> Result<KeyHeads, ModelError> {
    let Some(numbers) = each(metadata, KEY_HEADS, layers, |value| value.as_u32().map(|n| n as usize))? else {
        return optional_size(metadata, KEY_HEADS).map(KeyHeads::Same);
    };
    let most = numbers.iter().copied().max().unwrap_or(0);
    if most == 0 || numbers.iter().any(|&number| number != 0 && number != most) {
        let problem = "numbers of key heads that differ between layers cannot run".to_owned();
        return Err(unsupported(metadata, KEY_HEADS, problem));
    }
    Ok(KeyHeads::Each(numbers))
}

/// An array with an element for each layer, if the key holds an array.
fn each<T>(
    metadata: &Metadata,
    key: &str,
    layers: usize,
    read: impl Fn(Value) -> Option<T>,
) -> Result<Option<Vec<T>>, ModelError> {
    let Some(Value::Array(array)) = metadata.get(&metadata.arch_key(key)) else { return Ok(None) };
    let list: Option<Vec<T>> = array.scalars().map(read).collect();
    let list = list.filter(|list| list.len() >= layers && list.len() == array.len());
    list.map(Some).ok_or_else(|| {
        let problem = format!("is no list of a value for each of {layers} layers");
        ModelError::shape(problem).key(&metadata.arch_key(key))
    })
}

/// Which layer is of which kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) latent: Option<LatentConfig>,
    /// Positions that a convolution reaches over.
    taps: usize,
    /// One a layer; empty where no layer is a convolution.
    convolutions: Vec<bool>,
    sliding: Option<Window>,
    leading_dense: usize,
}

/// Sliding attention.
#[derive(Debug, Clone, PartialEq)]
struct Window {
    span: usize,
    /// Whether layers that see everything turn by positions.
    global_positions: bool,
    /// One a layer.
    slides: Vec<bool>,
}

impl Plan {
    pub(super) fn read(
        metadata: &Metadata,
        row: &Architecture,
        layers: usize,
        key_heads: &KeyHeads,
    ) -> Result<Self, ModelError> {
        let convolutions = match key_heads {
            KeyHeads::Each(numbers) => numbers.iter().map(|&number| number == 0).collect(),
            KeyHeads::Same(_) => Vec::new(),
        };
        let mixers = row.mixers;
        if convolutions.contains(&true) && mixers != Mixers::GroupedAndConvolutions {
            let problem = "layers without attention cannot run".to_owned();
            return Err(unsupported(metadata, KEY_HEADS, problem));
        }
        Ok(Self {
            latent: (mixers == Mixers::Latent).then(|| LatentConfig::read(metadata)).transpose()?,
            taps: match mixers {
                Mixers::GroupedAndConvolutions => size(metadata, "shortconv.l_cache")?,
                Mixers::Grouped | Mixers::Latent => 0,
            },
            convolutions,
            sliding: Window::read(metadata, row.sliding, layers)?,
            leading_dense: metadata.arch_get_u32("leading_dense_block_count")?.unwrap_or(0) as usize,
        })
    }

    pub(super) fn mixing(&self, index: usize) -> Mixing {
        if let Some(sizes) = self.latent {
            return Mixing::Latent(sizes);
        }
        if self.convolutions.get(index) == Some(&true) {
            return Mixing::Convolution { taps: self.taps };
        }
        let Some(window) = &self.sliding else { return Mixing::Grouped { window: None, positions: true } };
        match window.slides.get(index) {
            Some(true) => Mixing::Grouped { window: Some(window.span), positions: true },
            _ => Mixing::Grouped { window: None, positions: window.global_positions },
        }
    }

    /// Whether the feed-forward part may be a mixture.
    pub(super) fn mixes_experts(&self, index: usize) -> bool {
        index >= self.leading_dense
    }
}

impl Window {
    fn read(
        metadata: &Metadata,
        sliding: Option<Sliding>,
        layers: usize,
    ) -> Result<Option<Self>, ModelError> {
        let key = "attention.sliding_window";
        let Some(Sliding { beyond, global_positions }) = sliding else {
            return match metadata.arch_get_u32(key)?.filter(|&window| window != 0) {
                Some(window) => {
                    Err(unsupported(metadata, key, format!("a sliding window of {window} cannot run")))
                }
                None => Ok(None),
            };
        };
        let pattern = "attention.sliding_window_pattern";
        let slides = each(metadata, pattern, layers, |value| value.as_bool())?;
        let slides = slides.ok_or_else(|| {
            let problem = "is missing, or no list".to_owned();
            ModelError::shape(problem).key(&metadata.arch_key(pattern))
        })?;
        let span = size(metadata, key)?.saturating_add(beyond);
        Ok(Some(Self { span, global_positions, slides }))
    }
}
