//! The header of a safetensors file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(craftsman_model::fuzz::safetensors(data)));
