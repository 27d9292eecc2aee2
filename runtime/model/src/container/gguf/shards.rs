//! A model in one GGUF file, or divided over several.
//!
//! A shard says in `split.no` which it is, counted from 0, in `split.count` of how many, and in `split.tensors.count` how
//! many tensors all have together; its name ends with `-00001-of-00003.gguf`, counted from 1. Only the first has the
//! model's metadata. Source: llama.cpp `tools/gguf-split`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::reader::{Gguf, GgufTensor};
use crate::container::metadata::Metadata;
use crate::container::types::I2sRule;
use crate::{ErrorKind, ModelError};

const COUNT_KEY: &str = "split.count";
const NUMBER_KEY: &str = "split.no";
const TENSORS_KEY: &str = "split.tensors.count";

const FETCH_ALL: &str = "fetch all shards of the model again, into one folder and under their own names";

/// All files of one model, checked against each other.
pub struct Shards {
    files: Vec<Gguf>,
    /// Of each tensor its file, and which it is there.
    places: Vec<(usize, usize)>,
}

/// What a shard says of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Part {
    number: u32,
    count: u32,
    tensors: u32,
}

impl Shards {
    /// Opens the file at `path` and, when it is a shard, all others that belong to it.
    pub fn open(path: &Path, rule: I2sRule) -> Result<Self, ModelError> {
        let given = Gguf::open_with(path, rule)?;
        let Some(part) = Part::of(given.metadata())? else { return Ok(Self::new(vec![given])) };
        let mut files = Vec::new();
        for number in 0..part.count {
            if number == part.number {
                files.push(given.clone());
                continue;
            }
            let sibling = part.sibling(path, number)?;
            let file = Gguf::open_with(&sibling, rule)?;
            let expected = Part { number, ..part };
            let found = Part::of(file.metadata())?;
            if found != Some(expected) {
                let found = found.map_or("no shard".to_owned(), Part::describe);
                let problem =
                    format!("is {found}, but `{}` belongs to {}", path.display(), expected.describe());
                return Err(mixed(problem).in_file(&sibling));
            }
            files.push(file);
        }
        let shards = Self::new(files);
        shards.check(part, path)?;
        Ok(shards)
    }

    fn new(files: Vec<Gguf>) -> Self {
        let of_file = |(at, file): (usize, &Gguf)| (0..file.tensors().len()).map(move |tensor| (at, tensor));
        Self { places: files.iter().enumerate().flat_map(of_file).collect(), files }
    }

    /// A file that is the whole model.
    pub fn single(file: Gguf) -> Result<Self, ModelError> {
        match Part::of(file.metadata())? {
            None => Ok(Self::new(vec![file])),
            Some(part) => {
                let problem = format!("is {}, which alone is no model", part.describe());
                Err(ModelError::new(ErrorKind::Unsupported, problem, FETCH_ALL).in_file(file.file()))
            }
        }
    }

    /// Checks that the shards are of one model: as many tensors as they say, each name once.
    fn check(&self, part: Part, path: &Path) -> Result<(), ModelError> {
        let found = self.places.len();
        if found != part.tensors as usize {
            let problem = format!("the {} shards hold {found} tensors, not {}", part.count, part.tensors);
            return Err(mixed(problem).in_file(path).key(TENSORS_KEY));
        }
        let mut names = HashSet::with_capacity(found);
        match self.tensors().find(|(_, tensor)| !names.insert(tensor.name())) {
            None => Ok(()),
            Some((file, tensor)) => {
                Err(mixed("stands in two shards").in_file(file.file()).tensor(tensor.name()))
            }
        }
    }

    /// The model's metadata.
    pub fn metadata(&self) -> &Metadata {
        self.files[0].metadata()
    }

    /// All tensors in the order of the files, each with its file.
    pub fn tensors(&self) -> impl Iterator<Item = (&Gguf, &GgufTensor)> {
        (0..self.places.len()).map(|index| self.tensor(index))
    }

    /// Tensor `index` of [`Self::tensors`].
    pub fn tensor(&self, index: usize) -> (&Gguf, &GgufTensor) {
        let (file, tensor) = self.places[index];
        (&self.files[file], &self.files[file].tensors()[tensor])
    }
}

impl Part {
    /// What a file says; `None` of one that is no shard.
    fn of(metadata: &Metadata) -> Result<Option<Self>, ModelError> {
        let count = metadata.get_u32(COUNT_KEY)?.unwrap_or(0);
        if count <= 1 {
            return Ok(None);
        }
        let (number, tensors) = (metadata.u32(NUMBER_KEY)?, metadata.u32(TENSORS_KEY)?);
        if number >= count {
            let problem = format!("says it is shard {number} of {count}, counted from 0");
            return Err(metadata.place(mixed(problem)).key(NUMBER_KEY));
        }
        Ok(Some(Self { number, count, tensors }))
    }

    fn describe(self) -> String {
        format!("shard {} of {} with {} tensors in all", self.number + 1, self.count, self.tensors)
    }

    /// The file of shard `number`, when this one's is `path`.
    fn sibling(self, path: &Path, number: u32) -> Result<PathBuf, ModelError> {
        let ending = |number: u32| format!("-{:05}-of-{:05}.gguf", number + 1, self.count);
        let own = ending(self.number);
        let name = path.file_name().and_then(|name| name.to_str());
        let stem = name.and_then(|name| name.strip_suffix(&own)).ok_or_else(|| {
            let problem = format!("is {}, but its name does not end with `{own}`", self.describe());
            ModelError::new(ErrorKind::Missing, problem, FETCH_ALL).in_file(path)
        })?;
        let sibling = path.with_file_name(format!("{stem}{}", ending(number)));
        if sibling.is_file() {
            return Ok(sibling);
        }
        let problem = format!("shard {} of {} is not there", number + 1, self.count);
        Err(ModelError::new(ErrorKind::Missing, problem, FETCH_ALL).in_file(sibling))
    }
}

fn mixed(problem: impl Into<String>) -> ModelError {
    ModelError::new(ErrorKind::Corrupt, problem, FETCH_ALL)
}
