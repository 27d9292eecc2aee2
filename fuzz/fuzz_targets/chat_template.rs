//! A chat template's source.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(craftsman_model::fuzz::chat_template(data)));
