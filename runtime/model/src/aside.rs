//! Files that appear complete or not at all.

use std::io::{BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::ModelError;

/// Writes a file aside, in the folder of `path`, and gives it its name when all of it is on the disk; after an error
/// `path` is what it was before.
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
    let failed = |error| ModelError::io(path, error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = create(folder).map_err(failed)?;
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out)?;
    out.flush().map_err(failed)?;
    drop(out);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A temporary file that others may read as far as the umask lets them, like any file a program writes.
#[cfg(unix)]
fn create(folder: &Path) -> std::io::Result<NamedTempFile> {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// A temporary file with the folder's own permissions.
#[cfg(not(unix))]
fn create(folder: &Path) -> std::io::Result<NamedTempFile> {
    NamedTempFile::new_in(folder)
}
