//! A walk through a file's header in which every length is checked against what is left before it is used.

use crate::ModelError;
use crate::container::mapping::Bytes;
use crate::container::value::{ARRAY_ID, Array, ElementType, Value};

/// Reads forward through the bytes of a file.
pub struct Cursor<'a> {
    bytes: &'a Bytes,
    position: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, position: 0 }
    }

    /// The byte that is read next.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The error of something wrong at the next byte.
    pub fn corrupt(&self, problem: impl Into<String>) -> ModelError {
        ModelError::corrupt(problem).at(self.position as u64)
    }

    /// The next `length` bytes, `what` in the error's words.
    fn take(&mut self, length: u64, what: &str) -> Result<&'a [u8], ModelError> {
        let available = self.remaining();
        let length = usize::try_from(length).ok().filter(|length| *length <= available).ok_or_else(|| {
            self.corrupt(format!("{what} needs {length} bytes, but the file ends after {available}"))
        })?;
        let taken = &self.bytes[self.position..self.position + length];
        self.position += length;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self, what: &str) -> Result<[u8; N], ModelError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    pub fn magic(&mut self) -> Result<[u8; 4], ModelError> {
        self.fixed("the magic number")
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, ModelError> {
        self.fixed(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, ModelError> {
        self.fixed(what).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `least` bytes each, so that the rest of the file can hold them, and that
    /// are no more than `most`.
    pub fn count(&mut self, what: &str, least: usize, most: usize) -> Result<usize, ModelError> {
        let at = self.position;
        let count = self.u64(&format!("the count of {what}"))?;
        let holds = self.remaining() / least;
        let limit = most.min(holds);
        usize::try_from(count).ok().filter(|count| *count <= limit).ok_or_else(|| {
            let problem = if limit == most {
                format!("claims {count} {what}, more than the {most} that are allowed")
            } else {
                format!("claims {count} {what}, but the rest of the file can hold at most {holds}")
            };
            ModelError::corrupt(problem).at(at as u64)
        })
    }

    /// A string of at most `most` bytes.
    pub fn string(&mut self, what: &str, most: u64) -> Result<&'a str, ModelError> {
        let at = self.position;
        let length = self.u64(&format!("the length of {what}"))?;
        if length > most {
            let problem = format!("{what} claims {length} bytes, more than the {most} that are allowed");
            return Err(ModelError::corrupt(problem).at(at as u64));
        }
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes)
            .map_err(|error| ModelError::corrupt(format!("{what} is not UTF-8: {error}")).at(at as u64 + 8))
    }

    /// A metadata value with its type number before it.
    pub fn value(&mut self) -> Result<Value, ModelError> {
        let at = self.position;
        let id = self.u32("a value's type")?;
        if id == ARRAY_ID {
            return self.array().map(Value::Array);
        }
        let element = element(id, at)?;
        let Some(size) = element.size() else {
            return self.string("a string value", u64::MAX).map(|text| Value::Str(text.to_owned()));
        };
        let bytes = self.take(size as u64, "a value")?;
        if element == ElementType::Bool && bytes[0] > 1 {
            return Err(ModelError::corrupt(format!("a boolean holds {}", bytes[0])).at(at as u64 + 4));
        }
        element.read(bytes).ok_or_else(|| self.corrupt("a value cannot be read"))
    }

    fn array(&mut self) -> Result<Array, ModelError> {
        let at = self.position;
        let element = element(self.u32("an array's element type")?, at)?;
        let len = self.count("array elements", element.size().unwrap_or(8), usize::MAX)?;
        let start = self.position;
        match element.size() {
            // `count` has checked that `len * size` bytes are left, so the product cannot overflow.
            Some(size) => drop(self.take((len * size) as u64, "an array")?),
            None => {
                for _ in 0..len {
                    self.string("an array's string", u64::MAX)?;
                }
            }
        }
        let bytes =
            self.bytes.slice(start..self.position).ok_or_else(|| self.corrupt("an array leaves the file"))?;
        Ok(Array::checked(element, len, bytes))
    }
}

fn element(id: u32, at: usize) -> Result<ElementType, ModelError> {
    ElementType::from_id(id).ok_or_else(|| {
        let nested = if id == ARRAY_ID { " (arrays of arrays do not exist)" } else { "" };
        ModelError::corrupt(format!("{id} is no type of a metadata value{nested}")).at(at as u64)
    })
}
