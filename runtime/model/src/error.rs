//! The error of everything that reads a model: it names the file, the tensor or key, the byte and the remedy.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

/// Longest part of a name that a message repeats: a hostile file may carry names of any length.
const SHOWN_NAME: usize = 96;

/// What sort of thing went wrong; decides what a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused: not found, no permission, disk full.
    Io,
    /// The file contradicts its own format.
    Corrupt,
    /// The file is well formed, and this version of the library cannot use it.
    Unsupported,
    /// A model, metadata key, tensor or companion file is not there.
    Missing,
    /// A value or tensor exists with another type than the one asked for.
    WrongType,
    /// Sizes do not fit together.
    Shape,
    /// What the caller passed cannot be used: a token beyond the vocabulary, a non-finite activation.
    Input,
    /// No kernel could be made for the model.
    Kernel,
    /// A budget of memory is used up.
    Memory,
    /// The work was ended by who had asked for it.
    Cancelled,
    /// The files are not those whose digest was pinned.
    Digest,
}

/// An error with the place it was found and what to do about it.
///
/// The message reads `file: subject at byte N: problem; remedy`, each part present when it is known.
///
/// ```
/// use craftsman_model::{ErrorKind, ModelError};
/// let error = ModelError::new(ErrorKind::Missing, "not in the file", "convert the model again")
///     .in_file("model.gguf")
///     .tensor("output_norm.weight");
/// assert_eq!(
///     error.to_string(),
///     "model.gguf: tensor `output_norm.weight`: not in the file; convert the model again"
/// );
/// ```
#[derive(Debug)]
pub struct ModelError(Box<Report>);

#[derive(Debug)]
struct Report {
    kind: ErrorKind,
    problem: String,
    remedy: String,
    file: Option<PathBuf>,
    subject: Option<Subject>,
    expert: Option<usize>,
    offset: Option<u64>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Debug)]
enum Subject {
    Tensor(String),
    Key(String),
}

impl ModelError {
    /// An error of `kind`: what is wrong, and what the reader of the message can do.
    pub fn new(kind: ErrorKind, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self(Box::new(Report {
            kind,
            problem: problem.into(),
            remedy: remedy.into(),
            file: None,
            subject: None,
            expert: None,
            offset: None,
            source: None,
        }))
    }

    /// A file that contradicts its own format.
    pub fn corrupt(problem: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, problem, "the file is damaged or incomplete: fetch or convert it again")
    }

    /// A failed system call on `path`.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, source.to_string(), "check that the path exists and may be read or written")
            .in_file(path)
            .because(source)
    }

    /// Sizes that do not fit together.
    pub fn shape(problem: impl Into<String>) -> Self {
        Self::new(ErrorKind::Shape, problem, "the file and its metadata disagree: convert the model again")
    }

    /// Names the file, unless one is named already.
    #[must_use]
    pub fn in_file(mut self, path: impl AsRef<Path>) -> Self {
        self.0.file.get_or_insert_with(|| path.as_ref().to_path_buf());
        self
    }

    /// Names the tensor, unless a subject is named already.
    #[must_use]
    pub fn tensor(mut self, name: &str) -> Self {
        self.0.subject.get_or_insert_with(|| Subject::Tensor(shown(name)));
        self
    }

    /// Names the expert of a stack, unless one is named already.
    #[must_use]
    pub fn expert(mut self, number: usize) -> Self {
        self.0.expert.get_or_insert(number);
        self
    }

    /// Names the metadata key, unless a subject is named already.
    #[must_use]
    pub fn key(mut self, name: &str) -> Self {
        self.0.subject.get_or_insert_with(|| Subject::Key(shown(name)));
        self
    }

    /// Names the byte of the file where the problem was seen, unless one is named already.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What sort of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file it was found in.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The tensor or metadata key it is about.
    pub fn subject(&self) -> Option<&str> {
        match self.0.subject.as_ref()? {
            Subject::Tensor(name) | Subject::Key(name) => Some(name),
        }
    }

    /// The byte of the file where it was seen.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        &self.0.remedy
    }
}

/// A name as a message may show it: escaped, and cut when long.
fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(SHOWN_NAME).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN_NAME).is_some() {
        text.push_str("...");
    }
    text
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &*self.0;
        if let Some(file) = &report.file {
            write!(f, "{}: ", file.display())?;
        }
        match &report.subject {
            Some(Subject::Tensor(name)) => write!(f, "tensor `{name}`")?,
            Some(Subject::Key(name)) => write!(f, "key `{name}`")?,
            None => {}
        }
        if let Some(expert) = report.expert {
            write!(f, "{}expert {expert}", if report.subject.is_some() { ", " } else { "" })?;
        }
        if let Some(offset) = report.offset {
            let space = if report.subject.is_some() || report.expert.is_some() { " " } else { "" };
            write!(f, "{space}at byte {offset}")?;
        }
        if report.subject.is_some() || report.expert.is_some() || report.offset.is_some() {
            f.write_str(": ")?;
        }
        write!(f, "{}; {}", report.problem, report.remedy)
    }
}

impl StdError for ModelError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
