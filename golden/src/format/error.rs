//! Why bytes are not weights of a format.

use crate::{Granularity, ShapeError};

/// Why bytes are not weights of a format, or weights not bytes.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FormatError {
    /// The shape does not divide into the format's blocks.
    #[error(
        "{format} stores blocks of {block} weights, and {count} weights do not divide into them; use a format with smaller blocks"
    )]
    Block {
        /// The format.
        format: &'static str,
        /// Weights a block.
        block: usize,
        /// Weights a row, or in the tensor for a format that ignores rows.
        count: usize,
    },
    /// The format is laid out differently for each shape, and this one's layout is not known.
    #[error(
        "{format} is laid out by a table for each shape, and {m} x {k} is in none of the published ones; convert the original model to another type"
    )]
    Preset {
        /// The format.
        format: &'static str,
        /// Rows.
        m: usize,
        /// Weights a row.
        k: usize,
    },
    /// The bytes are more or fewer than the shape needs.
    #[error(
        "{format}: {found} bytes given where the shape needs {expected}; the data is cut off or its type is another"
    )]
    Length {
        /// The format.
        format: &'static str,
        /// What was given.
        found: usize,
        /// What the shape needs.
        expected: usize,
    },
    /// A code that the format does not allow.
    #[error(
        "{format}: weight {index} has the invalid code {code}; the data is damaged or its type is another"
    )]
    Code {
        /// The format.
        format: &'static str,
        /// Flat row-major index of the weight.
        index: usize,
        /// The bits found.
        code: u8,
    },
    /// Asked for trits of a format of numbers.
    #[error("{format} stores numbers, not trits; quantise them first")]
    NotTernary {
        /// The format.
        format: &'static str,
    },
    /// Asked to write numbers in a format of trits.
    #[error("{format} stores trits; quantise the numbers first")]
    NotDense {
        /// The format.
        format: &'static str,
    },
    /// Asked to write a format that is only read.
    #[error("{format} is read, not written; choose another type")]
    ReadOnly {
        /// The format.
        format: &'static str,
    },
    /// The scales are finer or otherwise divided than the format can say.
    #[error("{format} cannot say scales of granularity {granularity:?}; use a type with finer scales")]
    Granularity {
        /// The format.
        format: &'static str,
        /// What was given.
        granularity: Granularity,
    },
    /// A number or scale that the format's number type cannot hold: beyond its range, or for a scale not
    /// exactly it.
    #[error(
        "{format}: {value} (number {index}) cannot be stored as the format's number type without changing it"
    )]
    Value {
        /// The format.
        format: &'static str,
        /// Index among the numbers or scales.
        index: usize,
        /// What was given.
        value: f32,
    },
    /// What the bytes say is no matrix: an infinite scale, say.
    #[error("{format}: {source}")]
    Shape {
        /// The format.
        format: &'static str,
        /// Why.
        source: ShapeError,
    },
}
