//! Reading a GGUF file: nothing of it is believed before it is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MOST_DIMENSIONS, VERSION};
use crate::container::mapping::Bytes;
use crate::container::metadata::Metadata;
use crate::container::types::TensorType;
use crate::container::value::Value;
use crate::{ErrorKind, ModelError};

/// Limits on counts, far above any real file (a hundred pairs, some ten thousand tensors), that keep the tables of a
/// hostile file below 64 MiB.
const MOST_PAIRS: usize = 1 << 16;
const MOST_TENSORS: usize = 1 << 17;
/// Longest names: GGUF's own limit for keys, and twice ggml's 64 for tensors.
const LONGEST_KEY: u64 = (1 << 16) - 1;
const LONGEST_TENSOR_NAME: u64 = 128;
/// The fewest bytes that a pair takes (empty key, one-byte value), and a tensor (empty name, one dimension).
const LEAST_PAIR: usize = 8 + 4 + 1;
const LEAST_TENSOR: usize = 8 + 4 + 8 + 4 + 8;

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
    name: String,
    shape: Vec<usize>,
    kind: TensorType,
    /// Where the data starts in the file, and how many bytes there are.
    start: usize,
    len: usize,
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
        Self::parse(path, Bytes::map(path)?).map_err(|error| error.in_file(path))
    }

    /// Checks a file in memory, called `name` in errors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, ModelError> {
        let path = Path::new(name);
        Self::parse(path, bytes.into()).map_err(|error| error.in_file(path))
    }

    fn parse(file: &Path, bytes: Bytes) -> Result<Self, ModelError> {
        let mut cursor = Cursor::new(&bytes);
        let version = version(&mut cursor)?;
        let tensor_count = cursor.count("tensors", LEAST_TENSOR, MOST_TENSORS)?;
        let pair_count = cursor.count("metadata pairs", LEAST_PAIR, MOST_PAIRS)?;
        let metadata = Metadata::new(file, pairs(&mut cursor, pair_count)?);
        refuse_shards(&metadata)?;
        let entries = (0..tensor_count).map(|_| Entry::read(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
        let data = data_start(&cursor, alignment(&metadata)?, &bytes, entries.is_empty())?;
        let tensors = place(entries, &data, &bytes)?;
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

fn refuse_shards(metadata: &Metadata) -> Result<(), ModelError> {
    let key = "split.count";
    match metadata.get_u32(key)? {
        None | Some(0 | 1) => Ok(()),
        Some(count) => Err(ModelError::new(
            ErrorKind::Unsupported,
            format!("the file is one of {count} shards"),
            "join them with `llama-gguf-split --merge`",
        )
        .key(key)),
    }
}

fn alignment(metadata: &Metadata) -> Result<usize, ModelError> {
    let alignment = metadata.get_u32(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    let fits = usize::try_from(alignment).ok().filter(|alignment| alignment.is_power_of_two());
    fits.ok_or_else(|| {
        ModelError::corrupt(format!("an alignment of {alignment} is no power of two")).key(ALIGNMENT_KEY)
    })
}

/// Where tensor data starts, with the alignment that offsets must have.
struct Data {
    start: usize,
    alignment: usize,
}

fn data_start(cursor: &Cursor<'_>, alignment: usize, bytes: &Bytes, empty: bool) -> Result<Data, ModelError> {
    let start = cursor.position().checked_next_multiple_of(alignment).filter(|start| *start <= bytes.len());
    match start {
        Some(start) => Ok(Data { start, alignment }),
        // Nothing follows a header without tensors, not even padding.
        None if empty => Ok(Data { start: bytes.len(), alignment }),
        None => Err(cursor.corrupt("the file ends before the data of its tensors")),
    }
}

/// A row of the tensor table as the file has it.
struct Entry {
    name: String,
    shape: Vec<usize>,
    kind: TensorType,
    offset: u64,
    /// Where the row stands in the file.
    at: u64,
}

impl Entry {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ModelError> {
        let at = cursor.position() as u64;
        let name = cursor.string("a tensor's name", LONGEST_TENSOR_NAME)?.to_owned();
        Self::read_named(cursor, &name, at).map_err(|error| error.tensor(&name))
    }

    fn read_named(cursor: &mut Cursor<'_>, name: &str, at: u64) -> Result<Self, ModelError> {
        let dimensions = cursor.u32("the number of dimensions")? as usize;
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            let problem = format!("has {dimensions} dimensions, not 1 to {MOST_DIMENSIONS}");
            return Err(ModelError::corrupt(problem).at(at));
        }
        let mut shape = Vec::with_capacity(dimensions);
        for _ in 0..dimensions {
            let size = cursor.u64("a dimension")?;
            let fits = usize::try_from(size).ok().filter(|size| *size > 0);
            shape.push(fits.ok_or_else(|| cursor.corrupt(format!("a dimension of {size} is impossible")))?);
        }
        shape.reverse();
        let id = cursor.u32("the tensor's type")?;
        let kind = TensorType::from_id(id).ok_or_else(|| unknown_type(id, cursor.position() as u64 - 4))?;
        let offset = cursor.u64("the tensor's offset")?;
        Ok(Self { name: name.to_owned(), shape, kind, offset, at })
    }
}

fn unknown_type(id: u32, at: u64) -> ModelError {
    let remedy = "convert the model to TQ1_0, TQ2_0, I2_S, F16, BF16, F32 or Q8_0";
    ModelError::new(ErrorKind::Unsupported, format!("has the unknown type {id}"), remedy).at(at)
}

/// Gives every tensor its bytes: aligned, within the file, without overlap.
fn place(entries: Vec<Entry>, data: &Data, bytes: &Bytes) -> Result<Vec<GgufTensor>, ModelError> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|&at| entries[at].offset);
    let mut spans = vec![(0, 0); entries.len()];
    for (position, &at) in order.iter().enumerate() {
        let next = order.get(position + 1).map(|&next| &entries[next]);
        spans[at] = span(&entries[at], next, data, bytes.len())
            .map_err(|error| error.tensor(&entries[at].name).at(entries[at].at))?;
    }
    let tensors = entries.into_iter().zip(spans).map(|(entry, (start, len))| {
        let Entry { name, shape, kind, .. } = entry;
        GgufTensor { name, shape, kind, start, len }
    });
    Ok(tensors.collect())
}

/// Start and length of a tensor's data in a file of `file` bytes; `next` is the tensor behind it.
fn span(entry: &Entry, next: Option<&Entry>, data: &Data, file: usize) -> Result<(usize, usize), ModelError> {
    let room = file - data.start;
    let outside = |problem: String| {
        ModelError::corrupt(format!("{problem}, but only {room} bytes of data follow the header"))
    };
    let offset = usize::try_from(entry.offset).ok().filter(|offset| *offset <= room);
    let offset = offset.ok_or_else(|| outside(format!("its data starts at offset {}", entry.offset)))?;
    if !offset.is_multiple_of(data.alignment) {
        let problem = format!("its offset {offset} is not aligned to {}", data.alignment);
        return Err(ModelError::corrupt(problem));
    }
    let limit = next.and_then(|next| usize::try_from(next.offset).ok()).map_or(room, |next| next.min(room));
    let len = entry.kind.bytes_of(&entry.shape).map_err(ModelError::corrupt)?.unwrap_or(limit - offset);
    if len > room - offset {
        return Err(outside(format!("its {len} bytes start at offset {offset}")));
    }
    if len > limit - offset {
        let other = next.map_or(String::new(), |next| next.name.escape_debug().to_string());
        return Err(ModelError::corrupt(format!("its data overlaps that of `{other}`")));
    }
    Ok((data.start + offset, len))
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
