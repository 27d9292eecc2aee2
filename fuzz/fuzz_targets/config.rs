//! `config.json` and the index of a sharded folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(craftsman_model::fuzz::config(data)));
