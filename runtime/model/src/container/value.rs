//! Metadata values: scalars are read at once, arrays stay in the file and are read when walked.

use super::mapping::Bytes;

/// The scalar types and strings that GGUF can store, with their numbers in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 16-bit integer.
    U16,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 32-bit integer.
    I32,
    /// 32-bit float.
    F32,
    /// One byte, 0 or 1.
    Bool,
    /// u64 length, then UTF-8 bytes.
    Str,
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 64-bit integer.
    I64,
    /// 64-bit float.
    F64,
}

/// One row a type: the type, its number in GGUF, its name, its size in bytes (0: variable).
/// The number 9 is the array itself, which cannot be an element.
const ELEMENTS: [(ElementType, u32, &str, usize); 12] = [
    (ElementType::U8, 0, "u8", 1),
    (ElementType::I8, 1, "i8", 1),
    (ElementType::U16, 2, "u16", 2),
    (ElementType::I16, 3, "i16", 2),
    (ElementType::U32, 4, "u32", 4),
    (ElementType::I32, 5, "i32", 4),
    (ElementType::F32, 6, "f32", 4),
    (ElementType::Bool, 7, "bool", 1),
    (ElementType::Str, 8, "string", 0),
    (ElementType::U64, 10, "u64", 8),
    (ElementType::I64, 11, "i64", 8),
    (ElementType::F64, 12, "f64", 8),
];

/// GGUF's number for an array value.
pub const ARRAY_ID: u32 = 9;

impl ElementType {
    fn row(self) -> &'static (Self, u32, &'static str, usize) {
        &ELEMENTS[ELEMENTS.iter().position(|row| row.0 == self).unwrap_or(0)]
    }

    /// The type with this number in a GGUF file.
    pub fn from_id(id: u32) -> Option<Self> {
        ELEMENTS.iter().find(|row| row.1 == id).map(|row| row.0)
    }

    /// The type's number in a GGUF file.
    pub fn id(self) -> u32 {
        self.row().1
    }

    /// The type's name in messages.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Bytes of one element; `None` for strings.
    pub fn size(self) -> Option<usize> {
        Some(self.row().3).filter(|size| *size > 0)
    }

    /// Reads one element from exactly [`Self::size`] bytes. `None` for strings and for other lengths.
    pub fn read(self, bytes: &[u8]) -> Option<Value> {
        Some(match self {
            Self::U8 => Value::U8(u8::from_le_bytes(bytes.try_into().ok()?)),
            Self::I8 => Value::I8(i8::from_le_bytes(bytes.try_into().ok()?)),
            Self::U16 => Value::U16(u16::from_le_bytes(bytes.try_into().ok()?)),
            Self::I16 => Value::I16(i16::from_le_bytes(bytes.try_into().ok()?)),
            Self::U32 => Value::U32(u32::from_le_bytes(bytes.try_into().ok()?)),
            Self::I32 => Value::I32(i32::from_le_bytes(bytes.try_into().ok()?)),
            Self::F32 => Value::F32(f32::from_le_bytes(bytes.try_into().ok()?)),
            Self::Bool => Value::Bool(*bytes.first()? != 0),
            Self::U64 => Value::U64(u64::from_le_bytes(bytes.try_into().ok()?)),
            Self::I64 => Value::I64(i64::from_le_bytes(bytes.try_into().ok()?)),
            Self::F64 => Value::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
            Self::Str => return None,
        })
    }
}

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are the element types above")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// The value as an integer, if it is one.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// The value as u32: any integer type whose value fits.
    pub fn as_u32(&self) -> Option<u32> {
        u32::try_from(self.as_integer()?).ok()
    }

    /// The value as f32: any float, or an integer.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => self.as_integer().map(|v| v as f32),
        }
    }

    /// The value as a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(v) = self { Some(*v) } else { None }
    }

    /// The value as text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(v) = self { Some(v) } else { None }
    }

    /// The value as an array.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(v) = self { Some(v) } else { None }
    }

    /// The name of the value's type, for messages.
    pub fn type_name(&self) -> String {
        match self {
            Self::Array(array) => format!("array of {}", array.element.name()),
            _ => self.element().name().to_owned(),
        }
    }

    /// The type of a scalar or string; of an array, the type of its elements.
    pub fn element(&self) -> ElementType {
        match self {
            Self::U8(_) => ElementType::U8,
            Self::I8(_) => ElementType::I8,
            Self::U16(_) => ElementType::U16,
            Self::I16(_) => ElementType::I16,
            Self::U32(_) => ElementType::U32,
            Self::I32(_) => ElementType::I32,
            Self::F32(_) => ElementType::F32,
            Self::Bool(_) => ElementType::Bool,
            Self::Str(_) => ElementType::Str,
            Self::U64(_) => ElementType::U64,
            Self::I64(_) => ElementType::I64,
            Self::F64(_) => ElementType::F64,
            Self::Array(array) => array.element,
        }
    }

    /// Appends the value as GGUF stores it, without its type number.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(v) => out.extend(v.to_le_bytes()),
            Self::I8(v) => out.extend(v.to_le_bytes()),
            Self::U16(v) => out.extend(v.to_le_bytes()),
            Self::I16(v) => out.extend(v.to_le_bytes()),
            Self::U32(v) => out.extend(v.to_le_bytes()),
            Self::I32(v) => out.extend(v.to_le_bytes()),
            Self::F32(v) => out.extend(v.to_le_bytes()),
            Self::Bool(v) => out.push(u8::from(*v)),
            Self::Str(v) => write_str(v, out),
            Self::U64(v) => out.extend(v.to_le_bytes()),
            Self::I64(v) => out.extend(v.to_le_bytes()),
            Self::F64(v) => out.extend(v.to_le_bytes()),
            Self::Array(array) => {
                out.extend(array.element.id().to_le_bytes());
                out.extend((array.len as u64).to_le_bytes());
                out.extend_from_slice(&array.bytes);
            }
        }
    }
}

/// Appends a string as GGUF stores it: u64 length, then the bytes.
pub fn write_str(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

value_from!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool,
    &str => Str, String => Str, Array => Array, u64 => U64, i64 => I64, f64 => F64);

/// An array of scalars or strings, kept as the bytes of the file and decoded while walked.
#[derive(Clone, Debug)]
pub struct Array {
    element: ElementType,
    len: usize,
    bytes: Bytes,
}

impl Array {
    /// An array over bytes that the caller has walked: they hold exactly `len` elements, strings in UTF-8.
    pub(super) fn checked(element: ElementType, len: usize, bytes: Bytes) -> Self {
        Self { element, len, bytes }
    }

    /// An array of strings.
    pub fn of_strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Self {
        let (mut bytes, mut len) = (Vec::new(), 0);
        for item in items {
            write_str(item.as_ref(), &mut bytes);
            len += 1;
        }
        Self { element: ElementType::Str, len, bytes: bytes.into() }
    }

    /// An array of scalars, all of one type. `None` when they are mixed, or hold strings or arrays.
    pub fn of_scalars(items: &[Value]) -> Option<Self> {
        let element = items.first().map_or(ElementType::U32, Value::element);
        let scalar = |value: &Value| value.element() == element && value.as_array().is_none();
        if element == ElementType::Str || !items.iter().all(scalar) {
            return None;
        }
        let mut bytes = Vec::new();
        for item in items {
            item.write(&mut bytes);
        }
        Some(Self { element, len: items.len(), bytes: bytes.into() })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The type of the elements.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// The elements of an array of scalars, decoded one by one; nothing for an array of strings.
    pub fn scalars(&self) -> impl Iterator<Item = Value> {
        // A string array yields one over-long chunk, which `read` answers with `None`.
        let size = self.element.size().unwrap_or(usize::MAX);
        self.bytes.chunks_exact(size).filter_map(|bytes| self.element.read(bytes))
    }

    /// The elements of an array of strings, borrowed one by one; nothing for an array of scalars.
    pub fn strings(&self) -> impl Iterator<Item = &str> {
        let mut rest: &[u8] = if self.element == ElementType::Str { &self.bytes } else { &[] };
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<8>()?;
            let (text, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            rest = after;
            std::str::from_utf8(text).ok()
        })
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        self.element == other.element && self.len == other.len && *self.bytes == *other.bytes
    }
}
