//! Files that appear complete or not at all.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file aside, in the folder of `path`, and gives it its name when all of it is on the disk; after an error
/// `path` is what it was before. `failed` makes an error of what the operating system says.
///
/// ```
/// # use std::io::{self, Write};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("answer");
/// craftsman_kernelgen::store::write_aside(&path, |error: io::Error| error, |out| out.write_all(b"42"))?;
/// assert_eq!(std::fs::read(&path)?, b"42");
/// # Ok::<(), io::Error>(())
/// ```
pub fn write_aside<E>(
    path: &Path,
    failed: impl Fn(io::Error) -> E,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = create(folder_of(path)).map_err(&failed)?;
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out)?;
    out.flush().map_err(&failed)?;
    drop(out);
    file.as_file().sync_all().map_err(&failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The folder a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file that others may read as far as the umask lets them, like any file a program writes.
#[cfg(unix)]
fn create(folder: &Path) -> io::Result<NamedTempFile> {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// A temporary file with the folder's own permissions.
#[cfg(not(unix))]
fn create(folder: &Path) -> io::Result<NamedTempFile> {
    NamedTempFile::new_in(folder)
}
