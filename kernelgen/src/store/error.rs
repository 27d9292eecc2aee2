//! Why a file cannot be used.

use std::path::{Path, PathBuf};

use super::FOLDER_VARIABLE;

/// What is wrong with a stored file, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no place for it.
    #[error("no folder for what is learnt about this machine: set {FOLDER_VARIABLE} to one")]
    NoFolder,
    /// The operating system says no.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is larger than any such file is.
    #[error("{} is larger than {limit} bytes, so it is no file of ours: remove it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that is read.
        limit: u64,
    },
    /// Its content is not what such a file holds.
    #[error("{}, {place}: {what}; correct it, or begin anew with `kernelgen tune clear`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// It is right, but not for this machine or this version.
    #[error("{} does not hold here: {reason}", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl StoreError {
    /// For `map_err`: that `action` on `path` failed.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { action, path, error }
    }

    /// That `place` in `path` is wrong.
    pub(crate) fn content(path: &Path, place: impl Into<String>, what: impl std::fmt::Display) -> Self {
        Self::Content { path: path.to_owned(), place: place.into(), what: what.to_string() }
    }
}
