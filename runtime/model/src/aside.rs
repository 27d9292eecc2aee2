//! Files that appear complete or not at all.

use std::io::Write;
use std::path::Path;

use craftsman_kernelgen::store;

use crate::ModelError;

/// As [`store::write_aside`], with this crate's errors.
///
/// ```
/// # use std::io::Write;
/// # use craftsman_model::{ModelError, write_aside};
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("answer");
/// write_aside(&path, |out| out.write_all(b"42").map_err(|error| ModelError::io(&path, error)))?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"42");
/// # Ok::<(), ModelError>(())
/// ```
pub fn write_aside(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    store::write_aside(path, |error| ModelError::io(path, error), write)
}
