//! What is known about one machine and kept for the next start: JSON files in one folder.
//!
//! A file's head says what it is, of which version, and about which machine; a reader believes nothing of the rest
//! unless all three are what it expects. Files are written aside and renamed, so that a reader sees the old or the new
//! one and never half of it; who changes one holds the lock beside it, reads, merges and writes, so that two processes
//! that tune at once keep each other's answers.

mod aside;
mod error;
mod file;
mod machine;

pub use aside::write_aside;
pub use error::StoreError;
pub use machine::Machine;

pub(crate) use file::{Entry, Expected, Kind, Misfit, read, update};

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// The environment variable that names the folder.
pub const FOLDER_VARIABLE: &str = "CRAFTSMAN_TUNING";

/// The folder in which tuning answers and rooflines are kept.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The folder that `CRAFTSMAN_TUNING` names, or else `craftsman` in the user's cache folder. It need not exist.
    ///
    /// # Errors
    /// When the variable is not set and the user has no home.
    pub fn from_env() -> Result<Self, StoreError> {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty()) {
            return Ok(Self::at(folder));
        }
        let strategy = etcetera::base_strategy::choose_native_strategy().map_err(|_| StoreError::NoFolder)?;
        Ok(Self::at(strategy.cache_dir().join("craftsman")))
    }

    /// That folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of that kind about `machine`.
    pub(crate) fn file(&self, kind: &Kind, machine: &Machine) -> PathBuf {
        self.folder.join(format!("{}-{}.json", kind.name, machine.file_stem()))
    }
}
