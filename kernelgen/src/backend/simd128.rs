//! WebAssembly with 128-bit SIMD, as every browser has it.

use craftsman_isa::Feature;

use super::Tier;
use crate::wasm::WasmBackend;

/// The tier's row.
pub static SIMD128: WasmBackend = WasmBackend {
    tier: Tier { name: "simd128", summary: "WebAssembly, 128-bit", requires: &[Feature::Simd128] },
    relaxed: false,
};
