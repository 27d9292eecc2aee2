//! BitNet b1.58 (2B-4T): `h += o(norm(attention)); h += down(norm(relu(gate)^2 * up))`, tied head.
//!
//! Graph as in Hugging Face transformers' `modeling_bitnet.py`. Two things that other engines got wrong: the gate is
//! relu squared, not `SiLU`, and both inner norms stand *before* the projection whose input they are.

use super::{Activation, Architecture, PLAIN};

pub(super) static ROW: Architecture = Architecture {
    names: &["bitnet-b1.58", "bitnet-25"],
    activation: Activation::Relu2,
    sub_norms: true,
    ternary: true,
    ..PLAIN
};
