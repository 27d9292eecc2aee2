//! LFM2: short gated convolutions, and every few layers grouped-query attention with norms on each head.
//!
//! Which layer is which, GGUF says by its number of key heads: a convolution has none. The norm before the head has
//! the name that others give to one behind the embedding.

use super::{Architecture, Mixers, PLAIN, QueryKeyNorms};

pub(super) static ROW: Architecture = Architecture {
    names: &["lfm2"],
    query_key_norms: QueryKeyNorms::Head,
    mixers: Mixers::GroupedAndConvolutions,
    output_norm: "token_embd_norm",
    ..PLAIN
};
