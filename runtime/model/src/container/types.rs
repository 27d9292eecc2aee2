//! The tensor types of GGUF files: those that golden decodes, and those that are only known by name and size.

use std::fmt;

use craftsman_golden::format::{self, Format};

/// How a tensor is stored.
#[derive(Clone, Copy)]
pub enum TensorType {
    /// A format that can be decoded.
    Format(&'static dyn Format),
    /// A type that is recognised, but not decoded.
    Listed(&'static Listed),
}

/// A type of other tools that is not decoded here.
pub struct Listed {
    id: u32,
    name: &'static str,
    size: Size,
}

/// Bytes of a matrix.
enum Size {
    /// Rows of blocks: weights a block, bytes a block, bytes before each row.
    Blocks { block: usize, bytes: usize, row_header: usize },
    /// Forks disagree about this id, so its size cannot be checked.
    Disputed,
}

const fn blocks(id: u32, name: &'static str, block: usize, bytes: usize) -> Listed {
    Listed { id, name, size: Size::Blocks { block, bytes, row_header: 0 } }
}

/// Ids and sizes of `ggml.h`, and of `ik_llama.cpp` from 134 on. Formats of golden stand before this table.
static LISTED: &[Listed] = &[
    blocks(2, "Q4_0", 32, 18),
    blocks(3, "Q4_1", 32, 20),
    blocks(6, "Q5_0", 32, 22),
    blocks(7, "Q5_1", 32, 24),
    blocks(9, "Q8_1", 32, 36),
    blocks(10, "Q2_K", 256, 84),
    blocks(11, "Q3_K", 256, 110),
    blocks(12, "Q4_K", 256, 144),
    blocks(13, "Q5_K", 256, 176),
    blocks(14, "Q6_K", 256, 210),
    blocks(15, "Q8_K", 256, 292),
    blocks(16, "IQ2_XXS", 256, 66),
    blocks(17, "IQ2_XS", 256, 74),
    blocks(18, "IQ3_XXS", 256, 98),
    blocks(19, "IQ1_S", 256, 50),
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
    Listed { id: 38, name: "TL1", size: Size::Disputed },
    Listed { id: 39, name: "MXFP4 or TL2", size: Size::Disputed },
    Listed { id: 40, name: "NVFP4", size: Size::Disputed },
    blocks(41, "Q1_0", 128, 18),
    Listed { id: 42, name: "Q2_0", size: Size::Disputed },
    Listed { id: 134, name: "IQ1_BN", size: Size::Blocks { block: 64, bytes: 13, row_header: 2 } },
    Listed { id: 135, name: "IQ2_BN", size: Size::Blocks { block: 64, bytes: 16, row_header: 4 } },
];

impl TensorType {
    /// The type of this number in GGUF files.
    pub fn from_id(id: u32) -> Option<Self> {
        let listed = || LISTED.iter().find(|listed| listed.id == id).map(Self::Listed);
        format::by_type_id(id).map(Self::Format).or_else(listed)
    }

    /// The type of this name: `F16`, `TQ2_0`.
    pub fn named(name: &str) -> Option<Self> {
        let listed = || LISTED.iter().find(|listed| listed.name == name).map(Self::Listed);
        format::by_name(name).map(Self::Format).or_else(listed)
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

    /// Bytes of an `[m, k]` matrix: `Ok(None)` when forks disagree about them, the problem when the shape does not fit.
    pub fn bytes(self, m: usize, k: usize) -> Result<Option<usize>, String> {
        match self {
            Self::Format(format) => format.bytes(m, k).map(Some).map_err(|error| error.to_string()),
            Self::Listed(Listed { size: Size::Disputed, .. }) => Ok(None),
            Self::Listed(Listed { name, size: Size::Blocks { block, bytes, row_header }, .. }) => {
                if !k.is_multiple_of(*block) {
                    return Err(format!(
                        "{name} stores blocks of {block} weights, which {k} are not a multiple of"
                    ));
                }
                let row = (k / block).checked_mul(*bytes).and_then(|row| row.checked_add(*row_header));
                let all = row.and_then(|row| row.checked_mul(m));
                all.map(Some).ok_or_else(|| format!("a matrix of {m} x {k} is impossible"))
            }
        }
    }

    /// Bytes of a tensor of this row-major shape, which has at least one dimension; else as [`Self::bytes`].
    pub fn bytes_of(self, shape: &[usize]) -> Result<Option<usize>, String> {
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
        self.id() == other.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_unique() {
        let formats = format::ALL.iter().map(|format| (format.type_id(), format.name()));
        let all: Vec<_> = formats.chain(LISTED.iter().map(|listed| (listed.id, listed.name))).collect();
        for (at, (id, name)) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|(other, called)| other != id && called != name), "{id} {name}");
            assert_eq!(TensorType::from_id(*id).map(TensorType::name), Some(*name));
            assert_eq!(TensorType::named(name).map(TensorType::id), Some(*id));
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_problems() {
        let q4 = TensorType::named("Q4_K").unwrap();
        assert_eq!(q4.bytes(3, 512), Ok(Some(3 * 2 * 144)));
        assert!(q4.bytes(3, 100).is_err());
        assert!(q4.bytes(usize::MAX, 512).is_err());
        assert_eq!(TensorType::named("IQ1_BN").unwrap().bytes(2, 128), Ok(Some(2 * (2 + 26))));
        assert_eq!(TensorType::named("Q2_0").unwrap().bytes(2, 128), Ok(None));
    }
}
