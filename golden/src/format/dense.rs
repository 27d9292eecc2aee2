//! F32, F16 and BF16: numbers one after the other, little-endian.

use half::{bf16, f16};

use super::{Format, FormatError, block_bytes, check_length};

/// 32-bit floats.
pub struct F32;
/// IEEE half precision.
pub struct F16;
/// bfloat16.
pub struct Bf16;

/// One line a dense format: type, name, GGUF id, bytes, how bytes become `f32`, how `f32` becomes bytes
/// (rounding to nearest even).
macro_rules! dense_format {
    ($format:ty, $name:literal, $id:literal, $number:ty, $widen:expr, $narrow:expr) => {
        impl Format for $format {
            fn name(&self) -> &'static str {
                $name
            }
            fn type_id(&self) -> u32 {
                $id
            }
            fn block_len(&self) -> usize {
                1
            }
            fn is_ternary(&self) -> bool {
                false
            }
            fn bytes(&self, m: usize, k: usize) -> Result<usize, FormatError> {
                block_bytes(self, m, k, size_of::<$number>())
            }
            fn decode_f32(&self, bytes: &[u8], n: usize) -> Result<Vec<f32>, FormatError> {
                check_length(self, bytes, 1, n)?;
                let (numbers, _) = bytes.as_chunks();
                Ok(numbers.iter().map(|&b| $widen(<$number>::from_le_bytes(b))).collect())
            }
            /// A finite number beyond the range is an error; infinities and NaN stay what they are.
            fn encode_f32(&self, values: &[f32]) -> Result<Vec<u8>, FormatError> {
                let format = self.name();
                let mut bytes = Vec::with_capacity(self.bytes(1, values.len())?);
                for (index, &value) in values.iter().enumerate() {
                    let stored: $number = $narrow(value);
                    if value.is_finite() && !stored.is_finite() {
                        return Err(FormatError::Value { format, index, value });
                    }
                    bytes.extend(stored.to_le_bytes());
                }
                Ok(bytes)
            }
        }
    };
}

dense_format!(F32, "F32", 0, f32, std::convert::identity, std::convert::identity);
dense_format!(F16, "F16", 1, f16, f16::to_f32, f16::from_f32);
dense_format!(Bf16, "BF16", 30, bf16, bf16::to_f32, bf16::from_f32);
