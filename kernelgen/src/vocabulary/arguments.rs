//! What emitted code is called with.

/// What a kernel is called with, by address. The kernel owns it during the call and counts in it.
///
/// Every pointer is to the first panel or token to be processed; strides are constants of the emitted code.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Arguments {
    /// What a quantiser (f32 rows) or the maker of an input form (int8 rows) reads.
    pub source: *const u8,
    /// Packed weights of the first panel.
    pub weights: *const u8,
    /// Scales that go with the first panel, or the tensor's only one.
    pub scales: *const f32,
    /// Quantised activations in the form that the kernel reads; quantisers and makers of forms write it.
    pub activations: *const u8,
    /// Per token: the scale `a` (f32), then the sum of each block's activations (i32). Quantisers write it.
    pub token_words: *const u32,
    /// Output of the first panel's first row for the first token.
    pub output: *mut f32,
    /// Work space of the call, as long as the code asks for and aligned to 64.
    pub scratch: *mut u8,
    /// How many full panels to process.
    pub panels: usize,
    /// 1 when the last, partial panel is to be processed too.
    pub tail: usize,
    /// How many tokens.
    pub tokens: usize,
    /// Counts down inside the kernel.
    pub tokens_left: usize,
    /// Counts down inside the kernel.
    pub tokens_here: usize,
    /// Counts down inside the kernel.
    pub blocks_left: usize,
    /// Counts down inside the kernel.
    pub rounds_left: usize,
}

impl Arguments {
    /// The bytes of arguments for code that runs elsewhere, whose addresses are not of this process: little-endian, and zero
    /// where `values` has no field.
    pub fn encode(values: impl IntoIterator<Item = (Field, u64)>) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Self>()];
        for (field, value) in values {
            bytes[field.offset() as usize..][..8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }
}

/// A field of [`Arguments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// [`Arguments::source`]
    Source,
    /// [`Arguments::weights`]
    Weights,
    /// [`Arguments::scales`]
    Scales,
    /// [`Arguments::activations`]
    Activations,
    /// [`Arguments::token_words`]
    TokenWords,
    /// [`Arguments::output`]
    Output,
    /// [`Arguments::scratch`]
    Scratch,
    /// [`Arguments::panels`]
    Panels,
    /// [`Arguments::tail`]
    Tail,
    /// [`Arguments::tokens`]
    Tokens,
    /// [`Arguments::tokens_left`]
    TokensLeft,
    /// [`Arguments::tokens_here`]
    TokensHere,
    /// [`Arguments::blocks_left`]
    BlocksLeft,
    /// [`Arguments::rounds_left`]
    RoundsLeft,
}

impl Field {
    /// Where the field lies in [`Arguments`], in bytes.
    pub fn offset(self) -> i32 {
        let offset = match self {
            Field::Source => std::mem::offset_of!(Arguments, source),
            Field::Weights => std::mem::offset_of!(Arguments, weights),
            Field::Scales => std::mem::offset_of!(Arguments, scales),
            Field::Activations => std::mem::offset_of!(Arguments, activations),
            Field::TokenWords => std::mem::offset_of!(Arguments, token_words),
            Field::Output => std::mem::offset_of!(Arguments, output),
            Field::Scratch => std::mem::offset_of!(Arguments, scratch),
            Field::Panels => std::mem::offset_of!(Arguments, panels),
            Field::Tail => std::mem::offset_of!(Arguments, tail),
            Field::Tokens => std::mem::offset_of!(Arguments, tokens),
            Field::TokensLeft => std::mem::offset_of!(Arguments, tokens_left),
            Field::TokensHere => std::mem::offset_of!(Arguments, tokens_here),
            Field::BlocksLeft => std::mem::offset_of!(Arguments, blocks_left),
            Field::RoundsLeft => std::mem::offset_of!(Arguments, rounds_left),
        };
        offset as i32
    }
}
