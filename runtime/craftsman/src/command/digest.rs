//! `craftsman inspect --digest`: what `--sha256` pins.

use std::collections::BTreeMap;
use std::path::Path;

use craftsman::container::Fingerprint;
use serde_json::json;

use super::{fingerprint, locate, print, print_json};
use crate::cli::Shared;
use crate::failure::Failure;

/// Prints the digests of the model's files, as `sha256sum` does, and the model's.
pub fn run(model: Option<&Path>, shared: &Shared) -> Result<(), Failure> {
    let path = locate(model)?.ok_or_else(|| Failure::usage("--digest wants a MODEL: a file or a folder"))?;
    let Fingerprint { path, files, sha256 } = fingerprint(&path)?;
    let all = sha256.to_string();
    if shared.json {
        let files: BTreeMap<_, _> =
            files.into_iter().map(|(name, sha256)| (name, sha256.to_string())).collect();
        return print_json(&json!({ "path": path, "sha256": all, "files": files }));
    }
    let mut lines = vec![format!("{all}  {}", path.display())];
    if files.len() > 1 || path.is_dir() {
        lines.extend(files.iter().map(|(name, sha256)| format!("  {sha256}  {name}")));
    }
    print(&lines.join("\n"))
}
