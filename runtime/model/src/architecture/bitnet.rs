//! BitNet b1.58 as 1bitLLM reproduced it (large, xl, 3B): Llama's block with `SiLU`, and the two inner norms of
//! [`bitnet_b158`](super::bitnet_b158).
//!
//! Its Hugging Face folders hold float masters, which its own linear class quantises anew in every pass. GGUF files hold
//! what came of it, older ones as bare trits with the scale beside them.

use super::{Architecture, PLAIN};

pub(super) static ROW: Architecture =
    Architecture { names: &["bitnet"], sub_norms: true, ternary: true, ..PLAIN };
