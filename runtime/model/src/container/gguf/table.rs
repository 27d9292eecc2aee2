//! The table of tensors: each row is read, then each tensor is given its type and its bytes.

use std::collections::BTreeMap;

use super::MOST_DIMENSIONS;
use super::cursor::Cursor;
use super::reader::GgufTensor;
use crate::container::types::{I2sRule, TensorType};
use crate::{ErrorKind, ModelError};

/// Longest name: twice ggml's limit.
const LONGEST_NAME: u64 = 128;
/// The fewest bytes that a row takes: an empty name, one dimension.
pub const LEAST_TENSOR: usize = 8 + 4 + 8 + 4 + 8;

/// Where tensor data starts, with the alignment that offsets must have.
pub struct Data {
    start: usize,
    /// How many bytes follow.
    len: usize,
    alignment: usize,
}

impl Data {
    /// Behind a header that `cursor` has read, in a file of `file` bytes. Nothing follows a header without tensors, not
    /// even padding.
    pub fn find(cursor: &Cursor<'_>, alignment: usize, file: usize, empty: bool) -> Result<Self, ModelError> {
        let start = cursor.position().checked_next_multiple_of(alignment).filter(|start| *start <= file);
        let start = start.or(empty.then_some(file));
        let start = start.ok_or_else(|| cursor.corrupt("the file ends before the data of its tensors"))?;
        Ok(Self { start, len: file - start, alignment })
    }
}

/// A row of the tensor table as the file has it.
pub struct Entry {
    name: String,
    shape: Vec<usize>,
    /// The number of its type, and what that usually means.
    id: u32,
    usual: TensorType,
    offset: u64,
    /// Where the row stands in the file.
    at: u64,
}

impl Entry {
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Self, ModelError> {
        let at = cursor.position() as u64;
        let name = cursor.string("a tensor's name", LONGEST_NAME)?.to_owned();
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
        let usual = TensorType::from_id(id).ok_or_else(|| unknown_type(id, cursor.position() as u64 - 4))?;
        let offset = cursor.u64("the tensor's offset")?;
        Ok(Self { name: name.to_owned(), shape, id, usual, offset, at })
    }

    /// Names the tensor and its row in an error.
    fn place(&self, error: ModelError) -> ModelError {
        error.tensor(&self.name).at(self.at)
    }

    /// Where its data starts, from the beginning of all data.
    fn data_offset(&self, data: &Data) -> Result<usize, ModelError> {
        let within = usize::try_from(self.offset).ok().filter(|offset| *offset <= data.len);
        let problem = || outside(&format!("its data starts at offset {}", self.offset), data.len);
        let offset = within.ok_or_else(problem)?;
        if offset.is_multiple_of(data.alignment) {
            Ok(offset)
        } else {
            Err(ModelError::corrupt(format!("its offset {offset} is not aligned to {}", data.alignment)))
        }
    }
}

fn unknown_type(id: u32, at: u64) -> ModelError {
    let remedy = "convert the model to TQ1_0, TQ2_0, I2_S, F16, BF16, F32 or Q8_0";
    ModelError::new(ErrorKind::Unsupported, format!("has the unknown type {id}"), remedy).at(at)
}

/// Gives every tensor its type and its bytes: aligned, within the file, without overlap.
pub fn place(entries: Vec<Entry>, data: &Data, rule: I2sRule) -> Result<Vec<GgufTensor>, ModelError> {
    let rooms = rooms(&entries, data)?;
    let mut kinds = BTreeMap::new();
    let mut places = Vec::with_capacity(entries.len());
    for (entry, room) in entries.iter().zip(&rooms) {
        let kind = *kinds.entry(entry.id).or_insert_with(|| meaning(entry, &entries, &rooms, data, rule));
        let len = length(entry, kind, room, &entries).map_err(|error| entry.place(error))?;
        places.push((kind, data.start + room.offset, len));
    }
    let tensors = entries.into_iter().zip(places).map(|(entry, (kind, start, len))| {
        let Entry { name, shape, .. } = entry;
        GgufTensor { name, shape, kind, start, len }
    });
    Ok(tensors.collect())
}

/// Where a tensor's data may lie.
struct Room {
    /// Its beginning, from that of all data.
    offset: usize,
    /// Bytes from there to the next tensor, or to the end.
    free: usize,
    /// Bytes from there to the end.
    to_end: usize,
    /// The tensor behind, if there is one.
    next: Option<usize>,
}

fn rooms(entries: &[Entry], data: &Data) -> Result<Vec<Room>, ModelError> {
    let offsets = entries.iter().map(|entry| entry.data_offset(data).map_err(|error| entry.place(error)));
    let offsets = offsets.collect::<Result<Vec<_>, _>>()?;
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|&at| offsets[at]);
    let mut next = vec![None; entries.len()];
    for pair in order.windows(2) {
        next[pair[0]] = Some(pair[1]);
    }
    let room = |(offset, next): (usize, Option<usize>)| {
        let end = next.map_or(data.len, |next| offsets[next]);
        Room { offset, free: end - offset, to_end: data.len - offset, next }
    };
    Ok(offsets.iter().copied().zip(next).map(room).collect())
}

/// What the id of `entry` means in this file: of several meanings the one whose sizes fill the rooms of all its tensors
/// but for padding; the usual one where none does, so that its size is what the error speaks of.
fn meaning(entry: &Entry, entries: &[Entry], rooms: &[Room], data: &Data, rule: I2sRule) -> TensorType {
    let id = entry.id;
    let fills = |kind: &TensorType| {
        let mut of_id = entries.iter().zip(rooms).filter(|(entry, _)| entry.id == id);
        of_id.all(|(entry, room)| {
            let len = kind.bytes_of(&entry.shape).ok();
            len.and_then(|len| room.free.checked_sub(len)).is_some_and(|rest| rest < data.alignment)
        })
    };
    let others = TensorType::meanings(id).count() > 1;
    let told = others.then(|| TensorType::meanings(id).find(fills)).flatten();
    rule.apply(told.unwrap_or(entry.usual))
}

/// Bytes of a tensor's data.
fn length(entry: &Entry, kind: TensorType, room: &Room, entries: &[Entry]) -> Result<usize, ModelError> {
    let len = kind.bytes_of(&entry.shape).map_err(ModelError::corrupt)?;
    if len > room.to_end {
        let all = room.offset + room.to_end;
        return Err(outside(&format!("its {len} bytes start at offset {}", room.offset), all));
    }
    if len > room.free {
        let other = room.next.map_or(String::new(), |next| entries[next].name.escape_debug().to_string());
        return Err(ModelError::corrupt(format!("its data overlaps that of `{other}`")));
    }
    Ok(len)
}

fn outside(problem: &str, all: usize) -> ModelError {
    ModelError::corrupt(format!("{problem}, but only {all} bytes of data follow the header"))
}
