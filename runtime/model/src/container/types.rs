//! The tensor types of GGUF files: those that golden decodes, and those that are only known by name and size.

use std::fmt;

use craftsman_golden::format::{self, Format};

/// How a tensor is stored.
#[derive(Clone, Copy)]
pub enum TensorType {
    /// A format that can be decoded.
    Format(&'static Format),
    /// A type that is recognised, but not decoded.
    Listed(&'static Listed),
}

/// Which rule the `I2_S` tensors of a file follow. Nothing in their bytes tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum I2sRule {
    /// Runs of 128 weights: all official files, wherever they are read.
    #[default]
    Official,
    /// Runs of 64 weights: files that Microsoft's tools made on Arm since November 2025.
    Arm,
}

impl I2sRule {
    /// The type that `kind` is under this rule.
    pub(super) fn apply(self, kind: TensorType) -> TensorType {
        match self {
            Self::Arm if kind.name() == "I2_S" => TensorType::named("I2_S_ARM").unwrap_or(kind),
            _ => kind,
        }
    }
}

/// A type of other tools that is not decoded here: blocks of so many weights in so many bytes.
pub struct Listed {
    id: u32,
    name: &'static str,
    block: usize,
    bytes: usize,
}

const fn blocks(id: u32, name: &'static str, block: usize, bytes: usize) -> Listed {
    Listed { id, name, block, bytes }
}

/// Ids and sizes of `ggml.h`: types that golden has no format of.
static LISTED: &[Listed] = &[
    blocks(3, "Q4_1", 32, 20),
    blocks(6, "Q5_0", 32, 22),
    blocks(7, "Q5_1", 32, 24),
    blocks(9, "Q8_1", 32, 36),
    blocks(10, "Q2_K", 256, 84),
    blocks(11, "Q3_K", 256, 110),
    blocks(15, "Q8_K", 256, 292),
    blocks(16, "IQ2_XXS", 256, 66),
    blocks(17, "IQ2_XS", 256, 74),
    blocks(18, "IQ3_XXS", 256, 98),
    blocks(20, "IQ4_NL", 32, 18),
    blocks(21, "IQ3_S", 256, 110),
    blocks(22, "IQ2_S", 256, 82),
    blocks(23, "IQ4_XS", 256, 136),
    blocks(24, "I8", 1, 1),
    blocks(25, "I16", 1, 2),
    blocks(26, "I32", 1, 4),
    blocks(27, "I64", 1, 8),
    blocks(28, "F64", 1, 8),
    blocks(29, "IQ1_M", 256, 56),
    blocks(39, "MXFP4", 32, 17),
    blocks(40, "NVFP4", 64, 36),
    blocks(41, "Q1_0", 128, 18),
];

/// What else an id means in files of other forks, told by the bytes between tensors: Microsoft's `TL2` has the id of
/// MXFP4, `PrismML`'s first `Q2_0` that of llama.cpp's.
static OTHER_MEANINGS: &[(u32, &str)] = &[(39, "TL2"), (42, "PQ2_0")];

impl TensorType {
    /// 32-bit floats.
    pub const F32: Self = Self::Format(&format::F32);

    /// The usual type of this number in GGUF files.
    pub fn from_id(id: u32) -> Option<Self> {
        let listed = LISTED.iter().find(|listed| listed.id == id).map(Self::Listed);
        listed.or_else(|| format::by_type_id(id).map(Self::Format))
    }

    /// All types of this number, the usual one first.
    pub(super) fn meanings(id: u32) -> impl Iterator<Item = Self> {
        let others = OTHER_MEANINGS.iter().filter(move |(known, _)| *known == id);
        Self::from_id(id).into_iter().chain(others.filter_map(|(_, name)| Self::named(name)))
    }

    /// The type of this name: `F16`, `TQ2_0`.
    pub fn named(name: &str) -> Option<Self> {
        let listed = || LISTED.iter().find(|listed| listed.name == name).map(Self::Listed);
        format::by_name(name).map(Self::Format).or_else(listed)
    }

    /// The formats that can be written.
    pub fn written() -> impl Iterator<Item = &'static Format> {
        format::ALL.iter().copied().filter(|format| format.is_written())
    }

    /// The number in GGUF files.
    pub fn id(self) -> u32 {
        match self {
            Self::Format(format) => format.type_id(),
            Self::Listed(listed) => listed.id,
        }
    }

    /// The name that GGUF tools write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Format(format) => format.name(),
            Self::Listed(listed) => listed.name,
        }
    }

    /// Whether it holds trits that golden can decode.
    pub fn is_ternary(self) -> bool {
        matches!(self, Self::Format(format) if format.is_ternary())
    }

    /// Bytes of an `[m, k]` matrix; the problem when the shape does not fit.
    pub fn bytes(self, m: usize, k: usize) -> Result<usize, String> {
        match self {
            Self::Format(format) => format.bytes(m, k).map_err(|error| error.to_string()),
            Self::Listed(Listed { name, block, bytes, .. }) => {
                if !k.is_multiple_of(*block) {
                    return Err(format!(
                        "{name} stores blocks of {block} weights, which {k} are not a multiple of"
                    ));
                }
                let all = (k / block).checked_mul(*bytes).and_then(|row| row.checked_mul(m));
                all.ok_or_else(|| format!("a matrix of {m} x {k} is impossible"))
            }
        }
    }

    /// Bytes of a tensor of this row-major shape, which has at least one dimension; else as [`Self::bytes`].
    pub fn bytes_of(self, shape: &[usize]) -> Result<usize, String> {
        let impossible = || format!("a shape of {shape:?} is impossible");
        let (&k, rows) = shape.split_last().ok_or_else(impossible)?;
        let m = rows.iter().try_fold(1_usize, |m, size| m.checked_mul(*size)).ok_or_else(impossible)?;
        self.bytes(m, k)
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for TensorType {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_ids_but_for_the_known_collisions() {
        let formats = format::ALL.iter().map(|format| (format.type_id(), format.name()));
        let all: Vec<_> = formats.chain(LISTED.iter().map(|listed| (listed.id, listed.name))).collect();
        for (at, (id, name)) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|(_, called)| called != name), "{name}");
            assert_eq!(TensorType::named(name).map(TensorType::id), Some(*id));
            let usual = TensorType::from_id(*id).map(TensorType::name);
            assert!(usual == Some(name) || ["I2_S_ARM", "TL2"].contains(name), "{name}");
        }
        for (id, name) in OTHER_MEANINGS {
            assert!(TensorType::meanings(*id).any(|meaning| meaning.name() == *name), "{id} {name}");
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_problems() {
        let q2 = TensorType::named("Q2_K").unwrap();
        assert_eq!(q2.bytes(3, 512), Ok(3 * 2 * 84));
        assert!(q2.bytes(3, 100).is_err());
        assert!(q2.bytes(usize::MAX, 512).is_err());
        assert_eq!(TensorType::named("IQ1_BN").unwrap().bytes(2, 128), Ok(2 * (2 + 26)));
    }
}
