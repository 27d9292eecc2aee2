//! The bytes of one converted tensor.

use std::io::{self, Write};

use craftsman_golden::format::{Format, FormatError};
use craftsman_golden::quantize::written_out;
use craftsman_golden::{Scales, TernaryMatrix};

use super::{Advance, Plan, Quantizer};
use crate::ModelError;
use crate::container::checkpoint::Checkpoint;
use crate::container::decode::{self, Matrix};
use crate::container::mapping::Bytes;
use crate::container::part::{Encoding, Part};
use crate::container::types::TensorType;

/// How many weights become numbers at a time.
const RUN: usize = 1 << 20;

/// Where the bytes of a tensor come from.
pub struct TensorSource<'a> {
    pub checkpoint: &'a Checkpoint,
    /// Which tensor it is.
    pub at: usize,
    pub name: &'a str,
    /// Into how many heads the rows are divided, when they must be put in the order of llama's GGUF files.
    pub heads: Option<usize>,
    pub round_scales: bool,
    /// What makes it ternary, if it is not.
    pub quantizer: Option<&'a dyn Quantizer>,
    pub advance: &'a Advance<'a>,
}

/// Why a tensor could not be written: its bytes could not be made, or not be put into the file.
enum Failure {
    Made(ModelError),
    Put(io::Error),
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::Made(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Put(error)
    }
}

/// Whether a part of numbers is a ternary matrix that some tool wrote out.
pub fn is_written_out(part: &Part) -> Result<bool, ModelError> {
    Ok(match part.shape[..] {
        [m, k] => written_out(&decode::floats(part.dense()?), m, k).is_some(),
        _ => false,
    })
}

impl TensorSource<'_> {
    /// Writes all bytes.
    pub fn write(self, plan: Plan, out: &mut dyn Write) -> io::Result<()> {
        let parts = self.checkpoint.parts(self.at);
        let placed = |part, error| io::Error::other(self.checkpoint.place_part(self.at, part, error));
        if let Plan::Trits(format) = plan
            && format.has_tensor_scale()
            && parts.len() > 1
        {
            let bytes = self.stack(&parts, format).map_err(|(part, error)| placed(part, error))?;
            out.write_all(&bytes)?;
            self.advance.by(parts.iter().map(|part| part.shape.iter().product::<usize>()).sum());
            return Ok(());
        }
        for (expert, part) in parts.iter().enumerate() {
            self.write_part(part, expert, plan, out).map_err(|failure| match failure {
                Failure::Made(error) => placed(part, error),
                Failure::Put(error) => error,
            })?;
        }
        Ok(())
    }

    fn write_part(&self, part: &Part, expert: usize, plan: Plan, out: &mut dyn Write) -> Result<(), Failure> {
        match plan {
            Plan::Keep(kind) => {
                out.write_all(&self.ordered_bytes(part, kind)?)?;
                self.advance.by(part.shape.iter().product());
                Ok(())
            }
            Plan::Trits(format) => {
                out.write_all(
                    &format.encode_ternary(&self.trits(part, expert, Some(format))?).map_err(unfit)?,
                )?;
                self.advance.by(part.shape.iter().product());
                Ok(())
            }
            Plan::Numbers(format) if part.encoding.is_ternary() => {
                let matrix = self.trits(part, expert, None)?;
                let rows = (RUN / matrix.k()).max(1);
                for start in (0..matrix.m()).step_by(rows) {
                    let run = matrix.rows(start..(start + rows).min(matrix.m()));
                    self.put_numbers(&run.map_err(misshapen)?.dequantize(), format, out)?;
                }
                Ok(())
            }
            Plan::Numbers(format) => self.write_numbers(part, format, out),
        }
    }

    /// Numbers as numbers of another type, run by run.
    fn write_numbers(&self, part: &Part, format: &Format, out: &mut dyn Write) -> Result<(), Failure> {
        let Encoding::Stored(kind @ TensorType::Format(from)) = part.encoding else {
            return Err(decode::undecodable(part.encoding.name()).into());
        };
        let k = part.shape.last().copied().unwrap_or(1);
        let row = from.bytes(1, k).map_err(unfit)?;
        for rows in self.ordered_bytes(part, kind)?.chunks(row * (RUN / k).max(1)) {
            let values = from.decode_f32(rows, rows.len() / row, k);
            let values = values.map_err(|error| ModelError::corrupt(error.to_string()).because(error))?;
            self.put_numbers(&values, format, out)?;
        }
        Ok(())
    }

    fn put_numbers(&self, values: &[f32], format: &Format, out: &mut dyn Write) -> Result<(), Failure> {
        out.write_all(&format.encode_f32(values).map_err(unfit)?)?;
        self.advance.by(values.len());
        Ok(())
    }

    /// The bytes of a stack of matrices that a type stores under one scale, so that they must agree on it. An error
    /// comes with the part it is about.
    fn stack<'p>(&self, parts: &'p [Part], format: &Format) -> Result<Vec<u8>, (&'p Part, ModelError)> {
        let (mut trits, mut scales, mut k) = (Vec::new(), Vec::new(), 0);
        for (expert, part) in parts.iter().enumerate() {
            let matrix = self.trits(part, expert, None).map_err(|error| (part, error))?;
            let granularity = matrix.granularity();
            let scale = matrix.scale_over(0..matrix.trits().len());
            let scale = scale.ok_or(FormatError::Granularity { format: format.name(), granularity });
            let scale = scale.map_err(|error| (part, unfit(error)))?;
            scales.extend(std::iter::repeat_n(scale, matrix.m()));
            trits.extend_from_slice(matrix.trits());
            k = matrix.k();
        }
        let stack = TernaryMatrix::new(scales.len(), k, trits, Scales::Row(scales)).map_err(misshapen);
        let bytes = stack.and_then(|stack| format.encode_ternary(&stack).map_err(unfit));
        bytes.map_err(|error| (&parts[0], error))
    }

    /// The trits of a part, with scales rounded to what `format` stores, if they may be.
    fn trits(
        &self,
        part: &Part,
        expert: usize,
        format: Option<&Format>,
    ) -> Result<TernaryMatrix, ModelError> {
        let matrix = match (part.matrix()?, self.quantizer) {
            (Matrix::Ternary(matrix), _) => matrix,
            (Matrix::Dense(dense), Some(quantizer)) => quantizer.quantize(self.name, expert, &dense)?,
            (Matrix::Dense(dense), None) => written_out(&dense.widened(), dense.rows(), dense.cols())
                .ok_or_else(|| decode::undecodable(part.encoding.name()))?,
        };
        let matrix = match self.order(matrix.m())? {
            Some(order) => matrix.reordered(&order).map_err(misshapen)?,
            None => matrix,
        };
        match format.filter(|_| self.round_scales).and_then(Format::scale_storage) {
            Some(storage) => matrix.with_scales(|scale| storage.round(f64::from(scale))).map_err(misshapen),
            None => Ok(matrix),
        }
    }

    /// The bytes of a part, its rows in the order of GGUF files.
    fn ordered_bytes(&self, part: &Part, kind: TensorType) -> Result<Bytes, ModelError> {
        let [m, k] = match part.shape[..] {
            [m, k] => [m, k],
            [m] => [m, 1],
            _ => return Ok(part.bytes.clone()),
        };
        let Some(order) = self.order(m)? else { return Ok(part.bytes.clone()) };
        let row = kind.bytes(1, k).map_err(ModelError::shape)?;
        let rows = order.iter().flat_map(|&from| &part.bytes[from * row..(from + 1) * row]);
        Ok(Bytes::from(rows.copied().collect::<Vec<u8>>()))
    }

    /// The order of `m` rows in which those of a head that rope turns together stand side by side instead of half a head
    /// apart; `None` where they stay as they are. Source: llama.cpp `convert_hf_to_gguf.py`, `permute`.
    fn order(&self, m: usize) -> Result<Option<Vec<usize>>, ModelError> {
        let Some(heads) = self.heads else { return Ok(None) };
        if heads == 0 || !m.is_multiple_of(2 * heads) {
            return Err(ModelError::shape(format!("{m} rows do not divide into {heads} heads of pairs")));
        }
        let head = m / heads;
        Ok(Some((0..m).map(|row| row / head * head + row % 2 * (head / 2) + row % head / 2).collect()))
    }
}

/// The error of weights that the new type cannot hold.
fn unfit(error: FormatError) -> ModelError {
    let remedy = match error {
        FormatError::Value { .. } => "convert to i2_s, whose scale is f32, or round with --round-scales",
        FormatError::Block { .. } => "convert to i2_s or q2_0",
        _ => "choose another type",
    };
    ModelError::new(crate::ErrorKind::Input, error.to_string(), remedy).because(error)
}

fn misshapen(error: craftsman_golden::ShapeError) -> ModelError {
    ModelError::shape(error.to_string()).because(error)
}
