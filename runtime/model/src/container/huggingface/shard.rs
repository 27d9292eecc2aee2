//! One safetensors file: a JSON header that the `safetensors` crate checks, and mapped data.

use std::path::Path;

use safetensors::tensor::Metadata;

use crate::ModelError;
use crate::container::mapping::Bytes;

/// Longest header: a shard of the largest mixtures lists some ten thousand tensors in about 2 MB.
const LONGEST_HEADER: usize = 1 << 24;

/// A tensor of a safetensors file.
pub struct Entry {
    pub name: String,
    /// The name of the element type: `F16`, `U8`.
    pub dtype: String,
    pub shape: Vec<usize>,
    /// Byte of the file where the data starts.
    pub offset: usize,
    pub bytes: Bytes,
}

/// Maps the file at `path` and lists its tensors in the order of their data.
pub fn open(path: &Path) -> Result<Vec<Entry>, ModelError> {
    parse(&Bytes::map(path)?).map_err(|error| error.in_file(path))
}

/// Lists the tensors of a file in memory.
pub fn parse(file: &Bytes) -> Result<Vec<Entry>, ModelError> {
    let (header, data) = split(file)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| {
        ModelError::corrupt(format!("its header is not one of safetensors: {error}")).at(8)
    })?;
    // Deserialising checks that the tensors follow each other without gap or overlap and that their sizes are those
    // of their shapes; what it cannot know is the file's size.
    if metadata.data_len() != file.len() - data {
        let (needed, found) = (metadata.data_len(), file.len() - data);
        return Err(ModelError::corrupt(format!(
            "its tensors take {needed} bytes, but {found} follow the header"
        ))
        .at(8));
    }
    metadata.offset_keys().into_iter().map(|name| entry(file, data, &metadata, name)).collect()
}

/// The JSON header, and where the data starts.
fn split(file: &Bytes) -> Result<(Bytes, usize), ModelError> {
    let corrupt = |problem: String| ModelError::corrupt(problem).at(0);
    let length = file.first_chunk().map(|length| u64::from_le_bytes(*length));
    let length = length.ok_or_else(|| corrupt("the file is shorter than a header".to_owned()))?;
    let header = usize::try_from(length).ok().filter(|length| *length <= LONGEST_HEADER);
    let header = header.and_then(|length| file.slice(8..8 + length)).ok_or_else(|| {
        corrupt(format!(
            "claims a header of {length} bytes; the file has {}, {LONGEST_HEADER} are allowed",
            file.len()
        ))
    })?;
    let data = 8 + header.len();
    Ok((header, data))
}

fn entry(file: &Bytes, data: usize, metadata: &Metadata, name: String) -> Result<Entry, ModelError> {
    let missing = || ModelError::corrupt("its data leaves the file").tensor(&name);
    let info = metadata.info(&name).ok_or_else(missing)?;
    let (start, end) = info.data_offsets;
    let bytes = file.slice(data + start..data + end).ok_or_else(missing)?;
    let (dtype, shape) = (info.dtype.to_string(), info.shape.clone());
    Ok(Entry { dtype, shape, offset: data + start, bytes, name })
}
