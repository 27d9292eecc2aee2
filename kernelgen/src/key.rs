//! What is asked for: [`KernelKey`].

use std::fmt;
use std::str::FromStr;

use craftsman_golden::Granularity;
use serde::{Serialize, Serializer};

/// How many tokens a kernel is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Batch {
    /// One.
    Decode,
    /// Any number, two to sixteen being the case it is built for.
    Small,
    /// Any number, many being the case it is built for.
    Prefill,
}

impl Batch {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Decode, Self::Small, Self::Prefill];

    /// The class of a call with `tokens` tokens.
    pub fn of(tokens: usize) -> Self {
        match tokens {
            0..=1 => Self::Decode,
            2..=16 => Self::Small,
            _ => Self::Prefill,
        }
    }

    /// Its name in keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Small => "small",
            Self::Prefill => "prefill",
        }
    }
}

/// What follows the product inside the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Epilogue {
    /// Nothing: `y = product`.
    #[default]
    None,
    /// Onto a residual: `y += product`.
    Add,
    /// Gate and up matrices at once: `y = silu(gate product) * up product`.
    Silu,
    /// Gate and up matrices at once: `y = max(gate product, 0)^2 * up product`.
    Relu2,
}

impl Epilogue {
    /// Every epilogue.
    pub const ALL: [Self; 4] = [Self::None, Self::Add, Self::Silu, Self::Relu2];

    /// Its name in keys; nothing for none.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Add => "add",
            Self::Silu => "silu",
            Self::Relu2 => "relu2",
        }
    }

    /// Whether it takes two matrices, gate and up.
    pub fn is_pair(self) -> bool {
        matches!(self, Self::Silu | Self::Relu2)
    }
}

/// A ternary product to be computed: everything that is constant in the emitted code.
///
/// Its text form names the fields in order, and parses back: `2560x6912-decode-tensor-a8`, `6912x2560-small-row-a8-silu`.
///
/// ```
/// use craftsman_kernelgen::{Batch, KernelKey};
/// let key: KernelKey = "2560x6912-decode-row-a8".parse()?;
/// assert_eq!((key.m, key.k, key.batch), (2560, 6912, Batch::Decode));
/// assert_eq!(key.to_string(), "2560x6912-decode-row-a8");
/// # Ok::<(), craftsman_kernelgen::NameError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelKey {
    /// Output features: rows of the weight matrix.
    pub m: usize,
    /// Input features: columns of the weight matrix.
    pub k: usize,
    /// How many tokens it is called with.
    pub batch: Batch,
    /// How many weights share a scale.
    pub scales: Granularity,
    /// Bits of a quantised activation: 8, or 4 (BitNet a4.8).
    pub activation_bits: u8,
    /// What follows the product.
    pub epilogue: Epilogue,
}

/// Largest k: the integer sum of k products of at most 2 x 128, as the packings store codes 0, 1, 2, must fit 31 bits.
pub const MAX_K: usize = 1 << 22;
/// Largest m: the output row of a token must be addressable with 31 bits.
pub const MAX_M: usize = 1 << 26;

impl KernelKey {
    /// The key of an `[m, k]` product with 8-bit activations.
    pub fn new(m: usize, k: usize, batch: Batch, scales: Granularity) -> Self {
        Self { m, k, batch, scales, activation_bits: 8, epilogue: Epilogue::None }
    }

    /// Weights under one scale along k, and how many such blocks a row has.
    pub fn blocks(&self) -> (usize, usize) {
        match self.scales {
            Granularity::Tensor | Granularity::Row => (self.k, 1),
            Granularity::Block(size) => (size, self.k.div_ceil(size)),
        }
    }

    /// Matrices that it multiplies with: two for a gate/up pair.
    pub fn matrices(&self) -> usize {
        1 + usize::from(self.epilogue.is_pair())
    }

    /// Length of a token's quantised activations in memory: k, rounded up to whole 32-bit lanes.
    pub fn padded_k(&self) -> usize {
        self.k.next_multiple_of(4)
    }

    /// Whether the numbers are such that a kernel can exist.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn check(&self) -> Result<(), NameError> {
        match self.scales {
            Granularity::Block(64 | 128 | 256) | Granularity::Tensor | Granularity::Row => self.check_input(),
            Granularity::Block(_) => {
                Err(NameError::new("a scale block is 64, 128 or 256 weights", self.scales_name()))
            }
        }
    }

    /// Whether its input can be quantised: that of weights other than trits has blocks of 16 or 32 too.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub(crate) fn check_input(&self) -> Result<(), NameError> {
        let block = match self.scales {
            Granularity::Block(size) => matches!(size, 16 | 32 | 64 | 128 | 256),
            Granularity::Tensor | Granularity::Row => true,
        };
        match () {
            () if !(1..=MAX_M).contains(&self.m) => Err(NameError::new("m must be 1 to 2^26", self.m)),
            () if !(1..=MAX_K).contains(&self.k) => Err(NameError::new("k must be 1 to 2^22", self.k)),
            () if !block => {
                Err(NameError::new("blocks of activations are 16 to 256 values", self.scales_name()))
            }
            () if !matches!(self.activation_bits, 4 | 8) => {
                Err(NameError::new("activations are a8 or a4", self.activation_bits))
            }
            () => Ok(()),
        }
    }

    fn scales_name(&self) -> String {
        match self.scales {
            Granularity::Tensor => "tensor".to_owned(),
            Granularity::Row => "row".to_owned(),
            Granularity::Block(size) => format!("block{size}"),
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for KernelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { m, k, batch, activation_bits, .. } = self;
        write!(f, "{m}x{k}-{batch}-{}-a{activation_bits}", self.scales_name())?;
        match self.epilogue {
            Epilogue::None => Ok(()),
            epilogue => write!(f, "-{}", epilogue.name()),
        }
    }
}

impl Serialize for KernelKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A name of a key, a configuration or a backend that does not parse, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expected}, but found `{found}`")]
pub struct NameError {
    expected: String,
    found: String,
}

impl NameError {
    pub(crate) fn new(expected: &str, found: impl fmt::Display) -> Self {
        Self { expected: expected.to_owned(), found: found.to_string() }
    }
}

impl FromStr for KernelKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shape = || {
            let form =
                "a kernel key reads MxK-decode|small|prefill-tensor|row|blockN-a8|a4[-add|-silu|-relu2]";
            NameError::new(form, text)
        };
        let mut fields = text.split('-');
        let mut field = || fields.next().ok_or_else(shape);
        let (m, k) = field()?.split_once('x').ok_or_else(shape)?;
        let batch = named(&Batch::ALL, Batch::name, field()?).ok_or_else(shape)?;
        let scales = match field()? {
            "tensor" => Granularity::Tensor,
            "row" => Granularity::Row,
            other => Granularity::Block(number(other.strip_prefix("block").ok_or_else(shape)?)?),
        };
        let bits = field()?.strip_prefix('a').ok_or_else(shape)?;
        let activation_bits = bits.parse().map_err(|_| shape())?;
        let epilogue = fields.next().unwrap_or_default();
        let epilogue = named(&Epilogue::ALL, Epilogue::name, epilogue).ok_or_else(shape)?;
        if fields.next().is_some() || text.ends_with('-') {
            return Err(shape());
        }
        let key = Self { m: number(m)?, k: number(k)?, batch, scales, activation_bits, epilogue };
        key.check()?;
        Ok(key)
    }
}

/// The value whose name is `text`.
fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|&value| name(value) == text)
}

/// A decimal number in a name.
pub(crate) fn number(text: &str) -> Result<usize, NameError> {
    text.parse().map_err(|_| NameError::new("a number", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_parse_back(m in 1..=MAX_M, k in 1..=MAX_K, batch in 0_usize..3, scales in 0_usize..5, epilogue in 0_usize..4) {
            let scales = [Granularity::Tensor, Granularity::Row, Granularity::Block(64), Granularity::Block(128), Granularity::Block(256)][scales];
            let key = KernelKey { epilogue: Epilogue::ALL[epilogue], ..KernelKey::new(m, k, Batch::ALL[batch], scales) };
            prop_assert_eq!(key.to_string().parse::<KernelKey>(), Ok(key));
        }

        #[test]
        fn any_text_gives_a_key_or_an_error(text in "[0-9a-z-]{0,40}") {
            let _ = text.parse::<KernelKey>();
        }
    }

    #[test]
    fn shapes_out_of_range_are_refused() {
        for name in [
            "0x4-decode-row-a8",
            "4x0-decode-row-a8",
            "4x4-decode-block65-a8",
            "4x4-decode-row-a5",
            "4x4-decode-row-a8-",
        ] {
            assert!(name.parse::<KernelKey>().is_err(), "{name}");
        }
    }
}
