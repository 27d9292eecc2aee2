//! What the container tests share.

use std::path::PathBuf;

use craftsman_model::container::Checkpoint;

/// The path of a fixture.
#[allow(dead_code, reason = "not every test binary names files")]
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// An opened fixture.
#[allow(dead_code, reason = "not every test binary opens checkpoints")]
pub fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixture(name)).unwrap_or_else(|error| panic!("{error}"))
}
