//! The SHA-256 of a model's files: what a user pins, so that nothing else is loaded under the same name.
//!
//! Of a model in one file it is the file's, as `sha256sum` prints it. Of a model in several files (all shards of a GGUF
//! file; the files directly in a folder, but for those whose names begin with a dot) it is the SHA-256 of the lines that
//! `sha256sum` prints for them, `DIGEST  NAME\n`, in the order of the names' bytes:
//! `cd FOLDER; export LC_ALL=C; sha256sum * | sha256sum`.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::Digest as _;

use crate::{ErrorKind, ModelError};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;

/// A SHA-256, written as 64 hexadecimal digits.
///
/// ```
/// use craftsman_model::container::Sha256;
/// let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// assert_eq!(empty.parse::<Sha256>()?, Sha256::of(b""));
/// assert!("e3b0".parse::<Sha256>().is_err());
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// That of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl FromStr for Sha256 {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
        let bytes = bytes.filter(|_| rest.is_empty()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| {
            let remedy = "give 64 hexadecimal digits, as `sha256sum` prints them";
            ModelError::new(ErrorKind::Input, "not a SHA-256", remedy)
        })
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The digests of a model's files.
///
/// ```
/// use craftsman_model::container::{Fingerprint, Sha256};
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("model.gguf");
/// std::fs::write(&path, b"abc").unwrap();
/// let found = Fingerprint::of(&path, |_, _| ())?;
/// assert_eq!(found.sha256, Sha256::of(b"abc"));
/// found.verify(Sha256::of(b"abc"))?;
/// assert!(found.verify(Sha256::of(b"abd")).is_err());
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The file or folder.
    pub path: PathBuf,
    /// Of every file its name and digest, in the order of the names.
    pub files: Vec<(String, Sha256)>,
    /// That of the model.
    pub sha256: Sha256,
}

impl Fingerprint {
    /// Reads all files of the model at `path`, a mebibyte at a time. `progress` is told how many bytes are read, and of how
    /// many.
    pub fn of(path: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Self, ModelError> {
        let paths = files(path)?;
        let lengths = paths.iter().map(|path| length(path)).collect::<Result<Vec<_>, _>>()?;
        let (mut done, total) = (0, lengths.iter().sum());
        let mut files = Vec::with_capacity(paths.len());
        for path in &paths {
            let advance = |bytes| {
                done += bytes;
                progress(done, total);
            };
            files.push((name(path)?, hash(path, advance).map_err(|error| ModelError::io(path, error))?));
        }
        let sha256 = match &files[..] {
            [(_, only)] if !path.is_dir() => *only,
            several => Sha256::of(lines(several).as_bytes()),
        };
        Ok(Self { path: path.to_path_buf(), files, sha256 })
    }

    /// Whether the model is the one with this digest.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Digest`], with both digests, when it is not.
    pub fn verify(&self, expected: Sha256) -> Result<(), ModelError> {
        if self.sha256 == expected {
            return Ok(());
        }
        let problem = format!("has the SHA-256 {}, not {expected}", self.sha256);
        let remedy = "it was changed, is damaged or is another model: fetch it again, or pin this digest if it is right";
        Err(ModelError::new(ErrorKind::Digest, problem, remedy).in_file(&self.path))
    }
}

/// What `sha256sum` prints for `files`.
fn lines(files: &[(String, Sha256)]) -> String {
    files.iter().fold(String::new(), |mut text, (name, sha256)| {
        // Writing to a string does not fail.
        _ = writeln!(text, "{sha256}  {name}");
        text
    })
}

/// The files of the model at `path`, in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let failed = |error| ModelError::io(path, error);
    if !path.is_dir() {
        return Ok(shards(path).unwrap_or_else(|| vec![path.to_path_buf()]));
    }
    let entries = fs::read_dir(path).map_err(failed)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>().map_err(failed)?;
    let hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    files.retain(|path| path.is_file() && !hidden(path));
    files.sort();
    Ok(files)
}

/// All shards of the model that the file belongs to by its name; `None` where it names no other.
fn shards(path: &Path) -> Option<Vec<PathBuf>> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (start, count) = stem.rsplit_once("-of-")?;
    let (start, number) = start.rsplit_once('-')?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse::<u32>().ok())?;
    let (number, count) = (digits(number)?, digits(count)?);
    let name = |number: u32| path.with_file_name(format!("{start}-{number:05}-of-{count:05}.gguf"));
    (1..=count).contains(&number).then(|| (1..=count).map(name).collect())
}

fn name(path: &Path) -> Result<String, ModelError> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        let remedy = "rename it, or move it out of the model's folder";
        ModelError::new(ErrorKind::Unsupported, "the name is not UTF-8", remedy).in_file(path)
    })
}

fn length(path: &Path) -> Result<u64, ModelError> {
    fs::metadata(path).map(|data| data.len()).map_err(|error| ModelError::io(path, error))
}

/// The digest of a file; `advance` is told of every block's bytes.
fn hash(path: &Path, mut advance: impl FnMut(u64)) -> io::Result<Sha256> {
    let (mut file, mut hasher) = (File::open(path)?, sha2::Sha256::new());
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(Sha256(hasher.finalize().into())),
            Ok(count) => {
                hasher.update(&block[..count]);
                advance(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
