//! The shape of the workspace, kept by tests: which crate may use which, what stands in which table, and where code
//! may be unsafe or know its machine. `fixtures/` holds the models and references that the tests of all crates share.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the tests crate lies one folder below the workspace").to_path_buf()
}

/// Every Rust source file below `folder` (a path relative to the workspace), sorted, as paths relative to the
/// workspace with `/` between their parts.
pub fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_string()];
    while let Some(folder) = pending.pop() {
        for name in entries(&folder) {
            let path = format!("{folder}/{name}");
            if workspace().join(&path).is_dir() {
                pending.push(path);
            } else if has_rust_extension(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The names of what lies directly in `folder` (relative to the workspace), sorted; empty when there is no such folder.
pub fn entries(folder: &str) -> Vec<String> {
    let Ok(listing) = fs::read_dir(workspace().join(folder)) else { return Vec::new() };
    let mut names: Vec<String> =
        listing.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The text of a file of the workspace.
///
/// # Panics
/// When the file cannot be read: the test that asked for it has nothing to say then.
pub fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `source` without its comment lines, so that prose may speak of what code may not do.
pub fn code_lines(source: &str) -> impl Iterator<Item = (usize, &str)> {
    source
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(i, l)| (i + 1, l))
}

/// Whether `path` ends in `.rs`.
fn has_rust_extension(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}
