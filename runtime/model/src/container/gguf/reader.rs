//! Reading a GGUF file: nothing of it is believed before it is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::table::{self, Data, Entry, LEAST_TENSOR};
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, VERSION};
use crate::container::mapping::Bytes;
use crate::container::metadata::Metadata;
use crate::container::types::{I2sRule, TensorType};
use crate::container::value::Value;
use crate::{ErrorKind, ModelError};

/// Limits on counts, far above any real file (a hundred pairs, some ten thousand tensors), that keep the tables of a
/// hostile file below 64 MiB.
const MOST_PAIRS: usize = 1 << 16;
const MOST_TENSORS: usize = 1 << 17;
/// Longest key: GGUF's own limit.
const LONGEST_KEY: u64 = (1 << 16) - 1;
/// The fewest bytes that a pair takes: an empty key, a one-byte value.
const LEAST_PAIR: usize = 8 + 4 + 1;

/// A GGUF file whose header has been read and checked. The data of its tensors stays in the file.
#[derive(Clone, Debug)]
pub struct Gguf {
    file: PathBuf,
    version: u32,
    metadata: Metadata,
    tensors: Vec<GgufTensor>,
    /// Indices of `tensors` in the order of their names.
    by_name: Vec<u32>,
    bytes: Bytes,
}

/// A tensor of a GGUF file. Its data lies within the file, aligned, and overlaps no other tensor.
#[derive(Clone, Debug)]
pub struct GgufTensor {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) kind: TensorType,
    /// Where the data starts in the file, and how many bytes there are.
    pub(super) start: usize,
    pub(super) len: usize,
}

impl GgufTensor {
    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Row major, so the reverse of the file's order: `[out, in]`, `[experts, out, in]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How it is stored.
    pub fn kind(&self) -> TensorType {
        self.kind
    }

    /// Byte of the file where the data starts.
    pub fn offset(&self) -> u64 {
        self.start as u64
    }

    /// Bytes of data.
    pub fn bytes(&self) -> u64 {
        self.len as u64
    }
}

impl Gguf {
    /// Maps and checks the file at `path`. See [`Bytes::map`] on files that change while they are mapped.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::open_with(path, I2sRule::default())
    }

    /// As [`Self::open`], with `I2_S` tensors read by `rule`.
    pub fn open_with(path: &Path, rule: I2sRule) -> Result<Self, ModelError> {
        Self::parse(path, Bytes::map(path)?, rule).map_err(|error| error.in_file(path))
    }

    /// Checks a file in memory, called `name` in errors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, ModelError> {
        let path = Path::new(name);
        Self::parse(path, bytes.into(), I2sRule::default()).map_err(|error| error.in_file(path))
    }

    fn parse(file: &Path, bytes: Bytes, rule: I2sRule) -> Result<Self, ModelError> {
        let mut cursor = Cursor::new(&bytes);
        let version = version(&mut cursor)?;
        let tensor_count = cursor.count("tensors", LEAST_TENSOR, MOST_TENSORS)?;
        let pair_count = cursor.count("metadata pairs", LEAST_PAIR, MOST_PAIRS)?;
        let metadata = Metadata::new(file, pairs(&mut cursor, pair_count)?);
        let entries = (0..tensor_count).map(|_| Entry::read(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
        let data = Data::find(&cursor, alignment(&metadata)?, bytes.len(), entries.is_empty())?;
        let tensors = table::place(entries, &data, rule)?;
        let by_name = sorted(&tensors)?;
        Ok(Self { file: file.to_path_buf(), version, metadata, tensors, by_name, bytes })
    }

    /// The file's path, or its name in memory.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors in the file's order.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        let at =
            self.by_name.binary_search_by(|&at| self.tensors[at as usize].name.as_str().cmp(name)).ok()?;
        Some(&self.tensors[self.by_name[at] as usize])
    }

    /// The bytes of a tensor of this file.
    pub fn data(&self, tensor: &GgufTensor) -> Bytes {
        // Ranges were checked when the file was opened; a tensor of another file has no bytes here.
        self.bytes.slice(tensor.start..tensor.start + tensor.len).unwrap_or_else(|| Vec::new().into())
    }
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32, ModelError> {
    let magic = cursor.magic()?;
    if magic != MAGIC {
        let problem = format!("starts with `{}`, not `GGUF`", magic.escape_ascii());
        let remedy = "give a GGUF file, or a folder with config.json and model.safetensors";
        return Err(ModelError::new(ErrorKind::Corrupt, problem, remedy).at(0));
    }
    let version = cursor.u32("the version")?;
    let refused = |problem, remedy| Err(ModelError::new(ErrorKind::Unsupported, problem, remedy).at(4));
    match version {
        2 | VERSION => Ok(version),
        1 => refused("is of GGUF version 1".to_owned(), "convert the model again with a current converter"),
        _ if (1..=VERSION).contains(&version.swap_bytes()) => refused(
            "is big-endian".to_owned(),
            "convert it with gguf_convert_endian.py or fetch the little-endian file",
        ),
        _ => refused(format!("is of GGUF version {version}"), "use a file of version 2 or 3"),
    }
}

fn pairs(cursor: &mut Cursor<'_>, count: usize) -> Result<BTreeMap<String, Value>, ModelError> {
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let at = cursor.position() as u64;
        let key = cursor.string("a key", LONGEST_KEY)?;
        let value = cursor.value().map_err(|error| error.key(key))?;
        if entries.insert(key.to_owned(), value).is_some() {
            return Err(ModelError::corrupt("the key stands in the file twice").key(key).at(at));
        }
    }
    Ok(entries)
}

fn alignment(metadata: &Metadata) -> Result<usize, ModelError> {
    let alignment = metadata.get_u32(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    let fits = usize::try_from(alignment).ok().filter(|alignment| alignment.is_power_of_two());
    fits.ok_or_else(|| {
        ModelError::corrupt(format!("an alignment of {alignment} is no power of two")).key(ALIGNMENT_KEY)
    })
}

/// The tensors in the order of their names, which are unique.
fn sorted(tensors: &[GgufTensor]) -> Result<Vec<u32>, ModelError> {
    // `MOST_TENSORS` fits u32.
    let mut order: Vec<u32> = (0..tensors.len() as u32).collect();
    order.sort_by(|&a, &b| tensors[a as usize].name.cmp(&tensors[b as usize].name));
    let repeated =
        order.windows(2).find(|pair| tensors[pair[0] as usize].name == tensors[pair[1] as usize].name);
    match repeated {
        Some(pair) => {
            let name = &tensors[pair[0] as usize].name;
            Err(ModelError::corrupt("the name stands in the tensor table twice").tensor(name))
        }
        None => Ok(order),
    }
}
