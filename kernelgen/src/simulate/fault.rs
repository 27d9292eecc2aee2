//! Why a simulated run ended early.

/// What stopped the code, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at {address:#x} `{instruction}`: {kind}")]
pub struct Fault {
    /// Address of the instruction that faulted.
    pub address: u64,
    /// The instruction as NASM writes it; empty where there is none.
    pub instruction: String,
    /// What it did.
    pub kind: FaultKind,
}

/// What the code did wrong, or what the simulator does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// A read that no mapped region holds wholly.
    #[error("reads {size} bytes at {address:#x}, outside every region")]
    UnmappedRead {
        /// First byte of the access.
        address: u64,
        /// Its length in bytes.
        size: usize,
    },
    /// A write that no mapped region holds wholly.
    #[error("writes {size} bytes at {address:#x}, outside every region")]
    UnmappedWrite {
        /// First byte of the access.
        address: u64,
        /// Its length in bytes.
        size: usize,
    },
    /// A write to a region that was mapped as [`Access::Read`](super::Access::Read), or to the code.
    #[error("writes {size} bytes at {address:#x}, which may only be read")]
    ReadOnly {
        /// First byte of the access.
        address: u64,
        /// Its length in bytes.
        size: usize,
    },
    /// An address that an aligned move or a legacy SSE operand may not have.
    #[error("needs an address divisible by {size}, not {address:#x}")]
    Misaligned {
        /// The address.
        address: u64,
        /// What must divide it.
        size: usize,
    },
    /// Two regions that would hold the same address.
    #[error("region of {size} bytes at {address:#x} overlaps another or the end of the address space")]
    Overlap {
        /// Where the new region begins.
        address: u64,
        /// Its length in bytes.
        size: usize,
    },
    /// Execution went where no code is.
    #[error("execution leaves the code")]
    OutsideCode,
    /// Bytes that are no instruction.
    #[error("no instruction begins here")]
    Undecodable,
    /// An instruction, or a form of it, that the simulator does not know.
    #[error("the simulator does not know this instruction")]
    Unsupported,
    /// A division by zero, or one whose quotient does not fit (#DE).
    #[error("divides by zero, or the quotient does not fit")]
    Division,
    /// More instructions than [`Machine::set_budget`](super::Machine::set_budget) allows.
    #[error("more than {budget} instructions")]
    BudgetExhausted {
        /// The allowance.
        budget: u64,
    },
    /// LDTILECFG of what is no configuration (#GP).
    #[error("configures tiles with {what}")]
    TileConfiguration {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A tile instruction that the configuration does not allow (#UD).
    #[error("{what}")]
    TileUse {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Control bits of MXCSR that the processor refuses (#GP).
    #[error("sets reserved bits of MXCSR")]
    ReservedMode,
    /// Tiles are configured at the outermost return, which costs whoever switches threads 8 KiB from then on.
    #[error("returns without TILERELEASE")]
    TilesConfigured,
    /// A register that the System V convention says a function preserves.
    #[error("returns with {register} changed, which a function must preserve")]
    CalleeSavedChanged {
        /// Its name.
        register: &'static str,
    },
}
