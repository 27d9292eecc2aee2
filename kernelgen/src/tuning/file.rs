//! Tuning answers in the store.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use craftsman_isa::HardwareCaps;

use super::answer::{Answer, Question};
use super::fingerprint::fingerprint;
use crate::store::{self, Entry, Expected, Kind, Machine, Store, StoreError};

const KIND: Kind = Kind { name: "tuning", version: 1 };

/// The file of one machine's answers.
#[derive(Debug)]
pub struct TuningFile {
    path: PathBuf,
    machine: Machine,
    caps: HardwareCaps,
    /// Made when it is first needed: it takes some emissions, and most machines have no file.
    emitter: OnceLock<String>,
}

impl TuningFile {
    /// The file in `store` about the machine with `caps`.
    pub fn new(store: &Store, caps: &HardwareCaps) -> Self {
        Self::at(&store.file(&KIND, &Machine::new(caps)), caps)
    }

    /// The file at `path`, to be about the machine with `caps`.
    pub fn at(path: &Path, caps: &HardwareCaps) -> Self {
        let (path, machine) = (path.to_owned(), Machine::new(caps));
        Self { path, machine, caps: caps.clone(), emitter: OnceLock::new() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn expected(&self) -> Expected<'_> {
        let emitter = self.emitter.get_or_init(|| fingerprint(&self.caps));
        Expected { kind: &KIND, emitter, machine: &self.machine }
    }

    /// The answers that hold here; none when there is no file, or, which is logged, it is for another machine, other
    /// code or another version.
    ///
    /// # Errors
    /// When it cannot be read or holds what it should not.
    pub fn load(&self) -> Result<Vec<Answer>, StoreError> {
        self.read()?.or_else(|misfit| {
            tracing::warn!(name: "TuningIgnored", path = %self.path.display(), %misfit, "run `kernelgen tune` again");
            Ok(Vec::new())
        })
    }

    /// As [`load`](Self::load), but that the file does not hold here is an error: for files that someone names.
    ///
    /// # Errors
    /// When it cannot be read, holds what it should not, or is for another machine, other code or another version.
    pub fn load_strictly(&self) -> Result<Vec<Answer>, StoreError> {
        let path = self.path.clone();
        self.read()?.map_err(|misfit| StoreError::Misfit { path, reason: misfit.to_string() })
    }

    fn read(&self) -> Result<Result<Vec<Answer>, store::Misfit>, StoreError> {
        if self.path.exists() { store::read(&self.path, self.expected()) } else { Ok(Ok(Vec::new())) }
    }

    /// Adds `new` answers. Of two to the same question the finished one stays, or else the one with more samples.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn merge(&self, new: &[Answer]) -> Result<(), StoreError> {
        store::update(&self.path, self.expected(), |known: &mut Vec<Answer>| {
            for answer in new {
                match known.iter_mut().find(|known| known.question == answer.question) {
                    Some(known) if weight(known) > weight(answer) => {}
                    Some(known) => *known = answer.clone(),
                    None => known.push(answer.clone()),
                }
            }
            known.sort_by_cached_key(|answer| order(&answer.question));
        })
    }

    /// Forgets every answer for which `forget` holds; how many there were.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn forget(&self, forget: impl Fn(&Answer) -> bool) -> Result<usize, StoreError> {
        store::update(&self.path, self.expected(), |known: &mut Vec<Answer>| {
            let before = known.len();
            known.retain(|answer| !forget(answer));
            before - known.len()
        })
    }

    /// Removes the file, whatever is in it; whether there was one.
    ///
    /// # Errors
    /// When the system does not let it be removed.
    pub fn remove(&self) -> Result<bool, StoreError> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", &self.path)(error)),
        }
    }
}

impl Entry for Answer {
    fn name(&self) -> String {
        self.question.to_string()
    }

    fn check(&self) -> Result<(), String> {
        self.plausible()
    }
}

/// How much is known: finished answers above others.
fn weight(answer: &Answer) -> (bool, usize) {
    (answer.finished, answer.ranking.iter().map(|trial| trial.ratio.count).sum())
}

/// The order in the file: by shape, then batch, so that the kernels of one matrix stand together.
fn order(question: &Question) -> (usize, usize, String) {
    (question.key.k, question.key.m, question.to_string())
}
