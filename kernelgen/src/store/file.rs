//! Reading, and changing under a lock.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::aside::{folder_of, write_aside};
use super::{Machine, StoreError};

/// The largest file that is read: a thousand times what a thorough tuning leaves.
const LIMIT: u64 = 64 << 20;

/// A kind of file.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Its name in the head and in file names.
    pub(crate) name: &'static str,
    /// Version of its entries' meaning. Raised when an old reader would misunderstand a new file or a new one an old.
    pub(crate) version: u32,
}

/// What such files hold.
pub(crate) trait Entry: DeserializeOwned + Serialize {
    /// Names it in errors.
    fn name(&self) -> String;
    /// Whether it makes sense, which its types alone do not say.
    ///
    /// # Errors
    /// What does not.
    fn check(&self) -> Result<(), String>;
}

/// A file: the head, and entries, which a reader looks at one by one, so that an error can name the entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<T> {
    format: String,
    version: u32,
    /// What made the code that was measured.
    emitter: String,
    machine: Machine,
    entries: Vec<T>,
}

/// Just enough of a file to say what it is, whatever else later versions put there.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// Why a file that is right says nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It was written by another version of this program.
    Version(u32),
    /// It was measured with other code.
    Emitter(String),
    /// It is about another machine.
    Machine(String),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "it is of version {version}"),
            Self::Emitter(emitter) => write!(f, "it was measured with other code ({emitter})"),
            Self::Machine(difference) => write!(f, "it is about another machine: {difference}"),
        }
    }
}

/// What a reader expects of the head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) emitter: &'a str,
    pub(crate) machine: &'a Machine,
}

/// The entries of the file at `path`: none if there is no such file, or why they do not hold here.
pub(crate) fn read<T: Entry>(
    path: &Path,
    expected: Expected<'_>,
) -> Result<Result<Vec<T>, Misfit>, StoreError> {
    let Some(text) = text(path)? else { return Ok(Ok(Vec::new())) };
    let wrong = |error: serde_json::Error| StoreError::content(path, "head", error);
    let head: Head = serde_json::from_str(&text).map_err(wrong)?;
    if head.format != expected.kind.name {
        let what = format!("it says it is a file of `{}`, not `{}`", head.format, expected.kind.name);
        return Err(StoreError::content(path, "head", what));
    }
    if head.version != expected.kind.version {
        return Ok(Err(Misfit::Version(head.version)));
    }
    let document: Document<Value> = serde_json::from_str(&text).map_err(wrong)?;
    if let Some(difference) = expected.machine.difference(&document.machine) {
        return Ok(Err(Misfit::Machine(difference)));
    }
    if document.emitter != expected.emitter {
        return Ok(Err(Misfit::Emitter(document.emitter)));
    }
    let entries = document.entries.into_iter().enumerate().map(|(at, value)| entry(path, at, value));
    entries.collect::<Result<_, _>>().map(Ok)
}

fn entry<T: Entry>(path: &Path, at: usize, value: Value) -> Result<T, StoreError> {
    let key = value.get("key").and_then(Value::as_str);
    let place = format!("entry {at}{}", key.map_or(String::new(), |key| format!(" ({key:.64})")));
    let entry: T = serde_json::from_value(value).map_err(|error| StoreError::content(path, place, error))?;
    let place = || format!("entry {at} ({})", entry.name());
    entry.check().map_err(|what| StoreError::content(path, place(), what))?;
    Ok(entry)
}

fn text(path: &Path) -> Result<Option<String>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    let mut text = String::new();
    let length = file.take(LIMIT + 1).read_to_string(&mut text).map_err(StoreError::io("read", path))?;
    if length as u64 > LIMIT {
        return Err(StoreError::TooLarge { path: path.to_owned(), limit: LIMIT });
    }
    Ok(Some(text))
}

/// Changes the entries of the file at `path`, which may not exist yet. The lock is held from before they are read until
/// the new file stands, so that of two processes neither loses what the other wrote. Entries that do not hold here any
/// more are dropped, with the reason logged.
pub(crate) fn update<T: Entry, R>(
    path: &Path,
    expected: Expected<'_>,
    change: impl FnOnce(&mut Vec<T>) -> R,
) -> Result<R, StoreError> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
    let lock_path = path.with_extension("lock");
    let lock = File::create(&lock_path).map_err(StoreError::io("make the lock", &lock_path))?;
    lock.lock().map_err(StoreError::io("lock", &lock_path))?;
    let mut entries = read(path, expected)?.unwrap_or_else(|misfit| {
        tracing::warn!(name: "StoredFileDropped", path = %path.display(), %misfit, "begun anew");
        Vec::new()
    });
    let result = change(&mut entries);
    let document = Document {
        format: expected.kind.name.to_owned(),
        version: expected.kind.version,
        emitter: expected.emitter.to_owned(),
        machine: expected.machine.clone(),
        entries,
    };
    write(path, &document)?;
    Ok(result)
}

fn write(path: &Path, document: &impl Serialize) -> Result<(), StoreError> {
    write_aside(
        path,
        |error| StoreError::io("write", path)(error),
        |out| {
            serde_json::to_writer_pretty(&mut *out, document)
                .map_err(|error| StoreError::io("write", path)(error.into()))?;
            writeln!(out).map_err(StoreError::io("write", path))
        },
    )
}
