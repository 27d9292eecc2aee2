//! F32, F16 and BF16: numbers one after the other, little-endian.

use half::{bf16, f16};

use super::walk::NumberCode;
use super::{Coding, Format};

/// 32-bit floats.
pub static F32: Format = Format {
    name: "F32",
    type_id: 0,
    weights: 1,
    bytes: 4,
    coding: Coding::Numbers(NumberCode {
        read: |bytes, values| read(bytes, values, f32::from_le_bytes),
        write: Some(|values, bytes| write(values, bytes, |value| Some(value.to_le_bytes()))),
    }),
};

/// IEEE half precision, rounded to nearest even.
pub static F16: Format = Format {
    name: "F16",
    type_id: 1,
    weights: 1,
    bytes: 2,
    coding: Coding::Numbers(NumberCode {
        read: |bytes, values| read(bytes, values, |number| f16::from_le_bytes(number).to_f32()),
        write: Some(|values, bytes| {
            write(values, bytes, |value| {
                let stored = f16::from_f32(value);
                (stored.is_finite() || !value.is_finite()).then(|| stored.to_le_bytes())
            })
        }),
    }),
};

/// bfloat16, rounded to nearest even.
pub static BF16: Format = Format {
    name: "BF16",
    type_id: 30,
    weights: 1,
    bytes: 2,
    coding: Coding::Numbers(NumberCode {
        read: |bytes, values| read(bytes, values, |number| bf16::from_le_bytes(number).to_f32()),
        write: Some(|values, bytes| {
            write(values, bytes, |value| {
                let stored = bf16::from_f32(value);
                (stored.is_finite() || !value.is_finite()).then(|| stored.to_le_bytes())
            })
        }),
    }),
};

fn read<const N: usize>(bytes: &[u8], values: &mut [f32], widen: impl Fn([u8; N]) -> f32) {
    for (value, number) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *value = widen(*number);
    }
}

/// Infinities and NaN stay what they are; on a finite number beyond the range its index.
fn write<const N: usize>(
    values: &[f32],
    bytes: &mut Vec<u8>,
    narrow: impl Fn(f32) -> Option<[u8; N]>,
) -> Result<(), usize> {
    for (index, &value) in values.iter().enumerate() {
        bytes.extend(narrow(value).ok_or(index)?);
    }
    Ok(())
}
