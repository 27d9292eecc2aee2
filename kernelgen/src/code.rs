//! Machine code before it may run, and why there may be none.

use std::fmt;

/// Position-independent machine code of one kernel, with the labels of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The bytes, entered at offset 0 with the address of [`Arguments`](crate::vocabulary::Arguments).
    pub bytes: Vec<u8>,
    /// How many of the bytes are instructions; constants follow.
    pub instruction_bytes: usize,
    /// Offsets and the names that the family gave them, ascending.
    pub labels: Vec<(usize, String)>,
    /// Bytes of work space that a call needs.
    pub scratch: usize,
}

/// Why a kernel was not emitted: the candidate cannot be had, and the selector moves on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EmitError(pub(crate) String);

impl EmitError {
    /// An error that says `what` could not be said, and by whom.
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}
