//! `craftsman convert`: a model again with weights of another type.

use std::path::Path;

use craftsman::container::Conversion;
use serde_json::json;

use super::{open, print_json};
use crate::cli::{Convert, Shared};
use crate::failure::Failure;
use crate::progress;
use crate::table;

/// Writes the new file.
pub fn run(arguments: &Convert, shared: &Shared) -> Result<(), Failure> {
    let conversion = Conversion::to(&arguments.kind)?.rounding_scales(arguments.round_scales);
    let checkpoint = open(Some(&arguments.model), shared)?;
    let before: u64 = checkpoint.tensors().map(|tensor| tensor.bytes).sum();
    let bar = progress::bar("converting", 0);
    let advance = |done: usize, total: usize| bar.set(done as u64, total as u64);
    let done = conversion.with_progress(&advance).write(&checkpoint, &arguments.out)?;
    drop(bar);
    let after = length(&arguments.out)?;
    if shared.json {
        return print_json(&json!({
            "file": arguments.out, "converted": done.converted, "kept": done.kept, "bytes": after,
        }));
    }
    let [before, after] = [before, after].map(table::bytes);
    let (out, converted, kept) = (arguments.out.display(), done.converted, done.kept);
    eprintln!(
        "{out}: {converted} tensors converted, {kept} kept; {before} of weights became a file of {after}"
    );
    Ok(())
}

fn length(path: &Path) -> Result<u64, Failure> {
    Ok(std::fs::metadata(path)?.len())
}
