//! Writing a GGUF file: the header first, then each tensor's bytes as its source yields them.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MOST_DIMENSIONS, VERSION};
use crate::container::types::TensorType;
use crate::container::value::{ARRAY_ID, Value, write_str};
use crate::{ErrorKind, ModelError, write_aside};

/// Where the bytes of a tensor come from.
pub enum TensorData<'a> {
    /// They are in memory.
    Bytes(&'a [u8]),
    /// They are made here, and go away when written.
    Owned(Vec<u8>),
    /// They are written piece by piece; the number that the type and shape say, no more and no less.
    Stream(Stream<'a>),
}

impl<'a> From<&'a [u8]> for TensorData<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for TensorData<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}

impl<'a, F: FnOnce(&mut dyn Write) -> io::Result<()> + 'a> From<F> for TensorData<'a> {
    fn from(stream: F) -> Self {
        Self::Stream(Box::new(stream))
    }
}

/// Writes all bytes of a tensor. A [`ModelError`] inside the error comes out of the writer as it is.
pub type Stream<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + 'a>;

/// Collects metadata and tensors, then writes them as GGUF version 3.
///
/// ```
/// use craftsman_model::container::{Gguf, GgufWriter, TensorType};
/// let kind = TensorType::named("F32").expect("every build has F32");
/// let bytes: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
/// let file = GgufWriter::new()
///     .metadata("general.architecture", "llama")
///     .tensor("output_norm.weight", &[2], kind, bytes)
///     .into_bytes()?;
/// let read = Gguf::from_bytes("example", file)?;
/// assert_eq!(read.tensors()[0].shape(), [2]);
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Default)]
pub struct GgufWriter<'a> {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor<'a>>,
}

struct Tensor<'a> {
    name: String,
    shape: Vec<usize>,
    kind: TensorType,
    data: TensorData<'a>,
}

impl<'a> GgufWriter<'a> {
    /// A file without metadata or tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata pair. `general.alignment` (u32, a power of two) sets the alignment of tensors.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.metadata.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a tensor. `shape` is row major: `[out, in]`, `[experts, out, in]`.
    #[must_use]
    pub fn tensor(
        mut self,
        name: &str,
        shape: &[usize],
        kind: TensorType,
        data: impl Into<TensorData<'a>>,
    ) -> Self {
        self.tensors.push(Tensor { name: name.to_owned(), shape: shape.to_vec(), kind, data: data.into() });
        self
    }

    /// Writes the file: aside to a temporary file in the same folder, flushed to the disk, then renamed, so that
    /// `path` never holds half a model.
    pub fn write(self, path: &Path) -> Result<(), ModelError> {
        let header = self.header().map_err(|error| error.in_file(path))?;
        write_aside(path, |out| self.write_body(header, out).map_err(|error| failed(path, error)))
    }

    /// The file in memory.
    pub fn into_bytes(self) -> Result<Vec<u8>, ModelError> {
        let header = self.header()?;
        let mut out = Vec::new();
        self.write_body(header, &mut out).map_err(|error| failed(Path::new("memory"), error))?;
        Ok(out)
    }

    fn alignment(&self) -> Result<usize, ModelError> {
        let stated = self.metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY).map(|(_, value)| value);
        let alignment =
            stated.map_or(Some(DEFAULT_ALIGNMENT), Value::as_u32).map(|alignment| alignment as usize);
        alignment
            .filter(|alignment| alignment.is_power_of_two())
            .ok_or_else(|| unfit("is no power of two in 32 bits").key(ALIGNMENT_KEY))
    }

    /// Everything before the data, padded, and the length of each tensor.
    fn header(&self) -> Result<Header, ModelError> {
        self.refuse_repeats()?;
        let alignment = self.alignment()?;
        let mut out = Vec::from(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            write_str(key, &mut out);
            let id = value.as_array().map_or_else(|| value.element().id(), |_| ARRAY_ID);
            out.extend(id.to_le_bytes());
            value.write(&mut out);
        }
        let (mut offset, mut lengths) = (0, Vec::new());
        for tensor in &self.tensors {
            let length = tensor.length().map_err(|error| error.tensor(&tensor.name))?;
            tensor.write_row(offset as u64, &mut out);
            offset = (offset + length).next_multiple_of(alignment);
            lengths.push(length);
        }
        out.resize(out.len().next_multiple_of(alignment), 0);
        Ok(Header { bytes: out, lengths, alignment })
    }

    fn refuse_repeats(&self) -> Result<(), ModelError> {
        let mut seen = HashSet::new();
        if let Some((key, _)) = self.metadata.iter().find(|(key, _)| !seen.insert(key)) {
            return Err(unfit("the key was added twice").key(key));
        }
        let mut seen = HashSet::new();
        match self.tensors.iter().find(|tensor| !seen.insert(&tensor.name)) {
            Some(tensor) => Err(unfit("the tensor was added twice").tensor(&tensor.name)),
            None => Ok(()),
        }
    }

    fn write_body(self, header: Header, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&header.bytes)?;
        for (tensor, length) in self.tensors.into_iter().zip(header.lengths) {
            let mut counted = Counted { out: &mut *out, left: length };
            match tensor.data {
                TensorData::Bytes(bytes) => counted.write_all(bytes)?,
                TensorData::Owned(bytes) => counted.write_all(&bytes)?,
                TensorData::Stream(stream) => stream(&mut counted)?,
            }
            if counted.left > 0 {
                let problem = format!("tensor `{}` was given {} bytes too few", tensor.name, counted.left);
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
            let padding = length.next_multiple_of(header.alignment) - length;
            io::copy(&mut io::Read::take(io::repeat(0), padding as u64), out)?;
        }
        Ok(())
    }
}

struct Header {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    alignment: usize,
}

impl Tensor<'_> {
    /// Bytes of the data, by type and shape.
    fn length(&self) -> Result<usize, ModelError> {
        if !(1..=MOST_DIMENSIONS).contains(&self.shape.len()) || self.shape.contains(&0) {
            return Err(unfit(format!("a shape of {:?} cannot be written", self.shape)));
        }
        let length = self.kind.bytes_of(&self.shape).map_err(unfit)?;
        let given = match &self.data {
            TensorData::Bytes(bytes) => bytes.len(),
            TensorData::Owned(bytes) => bytes.len(),
            TensorData::Stream(_) => length,
        };
        if given == length {
            Ok(length)
        } else {
            Err(unfit(format!("was given {given} bytes, needs {length}")))
        }
    }

    /// The tensor's row of the table.
    fn write_row(&self, offset: u64, out: &mut Vec<u8>) {
        write_str(&self.name, out);
        out.extend((self.shape.len() as u32).to_le_bytes());
        self.shape.iter().rev().for_each(|&size| out.extend((size as u64).to_le_bytes()));
        out.extend(self.kind.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
}

/// The error of writing to `path`; one that a stream passed on is that error again.
fn failed(path: &Path, error: io::Error) -> ModelError {
    error.downcast::<ModelError>().unwrap_or_else(|error| ModelError::io(path, error))
}

/// What was given to the writer cannot be written.
fn unfit(problem: impl Into<String>) -> ModelError {
    ModelError::new(ErrorKind::Input, problem, "correct what is given to the writer")
}

/// Passes on as many bytes as are expected and refuses more.
struct Counted<'a> {
    out: &'a mut dyn Write,
    left: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            let problem = format!("{} bytes more than the tensor has", bytes.len() - self.left);
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let written = self.out.write(bytes)?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
