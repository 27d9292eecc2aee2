//! `Q8_0` (llama.cpp): 32 weights in 34 bytes.

use super::walk::NumberCode;
use super::{Coding, Format};
use crate::quants;

/// Layout and rounding: [`quants::Q8_0`].
pub static Q8_0: Format = Format {
    name: "Q8_0",
    type_id: 8,
    weights: 32,
    bytes: 34,
    coding: Coding::Numbers(NumberCode {
        read: |bytes, values| quants::Q8_0.read(bytes, values),
        write: Some(|values, bytes| quants::Q8_0.write(values, bytes)),
    }),
};
