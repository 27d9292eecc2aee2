//! WebAssembly with relaxed SIMD: dot products whose result may depend on the engine where a factor has more than seven
//! bits. Ours have not; a processor of this kind must still be asked for by name.

use craftsman_isa::Feature;

use super::Tier;
use crate::wasm::WasmBackend;

/// The tier's row.
pub static RELAXED_SIMD: WasmBackend = WasmBackend {
    tier: Tier {
        name: "relaxedsimd",
        summary: "WebAssembly, 128-bit, relaxed dot products",
        requires: &[Feature::Simd128, Feature::RelaxedSimd],
    },
    relaxed: true,
};
