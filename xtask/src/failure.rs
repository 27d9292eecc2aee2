//! How a command ends.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code when a file or the machine is at fault.
pub const FAULT: u8 = 1;
/// Exit code when the command line is at fault; clap uses the same one.
pub const USAGE: u8 = 2;
/// Exit code of `compare` when something got slower.
pub const REGRESSION: u8 = 3;

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file or folder cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// A history holds something that no run of ours writes.
    #[error("{path}, line {line}: {reason}; mend or delete that line, it is one run")]
    History {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A history is too large to be one.
    #[error("{path}: larger than {limit} bytes, which no history is; move it away")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The command line names something that does not exist.
    #[error("{0}")]
    Usage(String),
    /// A plot could not be drawn.
    #[error("cannot draw `{what}`: {error}")]
    Plot {
        /// Which.
        what: String,
        /// What the plotting library says.
        error: String,
    },
    /// Kernels that the selector offers could not be had, or the standard output is gone.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    /// Puts the path to an error of the operating system.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::File { path: path.to_owned(), error }
    }

    /// Prints it and gives the exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("error: {self}");
        ExitCode::from(if matches!(self, Self::Usage(_)) { USAGE } else { FAULT })
    }
}
