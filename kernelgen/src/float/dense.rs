//! Dense matrices, as they come from a file and as the matrix product wants them.

use std::io;
use std::ops::Range;

use half::{bf16, f16};

use crate::pages::{Pages, Plain};

/// The numbers of a [`DenseMatrix`], row major.
#[derive(Debug, Clone, PartialEq)]
pub enum DenseData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// IEEE half precision.
    F16(Vec<f16>),
    /// bfloat16.
    BF16(Vec<bf16>),
}

impl DenseData {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::BF16(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The count of numbers is not rows times columns, or a side is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} numbers do not make a matrix of {rows} x {columns}")]
pub struct DenseShapeError {
    /// Rows asked for.
    pub rows: usize,
    /// Columns asked for.
    pub columns: usize,
    /// Numbers given.
    pub found: usize,
}

/// A matrix of numbers, `[rows, cols]` = (output features, input features), as it comes from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct DenseMatrix {
    rows: usize,
    cols: usize,
    data: DenseData,
}

impl DenseMatrix {
    /// Checks the shape.
    pub fn new(rows: usize, cols: usize, data: DenseData) -> Result<Self, DenseShapeError> {
        if rows.checked_mul(cols) == Some(data.len()) && !data.is_empty() {
            Ok(Self { rows, cols, data })
        } else {
            Err(DenseShapeError { rows, columns: cols, found: data.len() })
        }
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The numbers, row major.
    pub fn data(&self) -> &DenseData {
        &self.data
    }

    /// All numbers as `f32`, row major: exact.
    pub fn widened(&self) -> Vec<f32> {
        self.rows_widened(0..self.rows)
    }

    /// The numbers of some rows as `f32`, row major: exact.
    ///
    /// # Panics
    /// When there are no such rows.
    pub fn rows_widened(&self, rows: Range<usize>) -> Vec<f32> {
        let range = rows.start * self.cols..rows.end * self.cols;
        match &self.data {
            DenseData::F32(values) => values[range].to_vec(),
            DenseData::F16(values) => values[range].iter().map(|v| v.to_f32()).collect(),
            DenseData::BF16(values) => values[range].iter().map(|v| v.to_f32()).collect(),
        }
    }
}

/// The types of sixteen bits that numbers are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfKind {
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
}

impl HalfKind {
    /// The number in two bytes of a file, little end first: exact.
    pub fn widen(self, bytes: [u8; 2]) -> f32 {
        match self {
            Self::F16 => f16::from_le_bytes(bytes).to_f32(),
            Self::BF16 => bf16::from_le_bytes(bytes).to_f32(),
        }
    }
}

/// Rows of a panel: the outputs that stand in the lanes of one vector.
pub const PANEL_ROWS: usize = 16;

/// The same column of the sixteen rows of a panel. Aligned so that no 32-byte load crosses a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Column<T>(pub(super) [T; PANEL_ROWS]);

// SAFETY: floats, of which zero bits are zero; the alignment is 32 bytes.
unsafe impl Plain for Column<f32> {}
// SAFETY: as above.
unsafe impl Plain for Column<f16> {}
// SAFETY: as above.
unsafe impl Plain for Column<bf16> {}

/// Panels one after the other, each `cols` columns.
#[derive(Debug)]
pub(super) enum Panels {
    F32(Pages<Column<f32>>),
    F16(Pages<Column<f16>>),
    BF16(Pages<Column<bf16>>),
}

/// A dense matrix in the layout of the matrix product: panels of sixteen rows, `[panel][col][16]`, the last
/// one padded with zeros. The numbers stay as wide as they were.
#[derive(Debug)]
pub struct PackedDense {
    rows: usize,
    cols: usize,
    panels: Panels,
}

impl PackedDense {
    /// Packs a matrix, with as many threads.
    ///
    /// # Errors
    /// When the operating system has no memory left.
    pub fn new(matrix: &DenseMatrix, threads: usize) -> io::Result<Self> {
        let DenseMatrix { rows, cols, data } = matrix;
        let panels = match data {
            DenseData::F32(values) => Panels::F32(pack(values, *cols, threads, |value| value)?),
            DenseData::F16(values) => Panels::F16(pack(values, *cols, threads, |value| value)?),
            DenseData::BF16(values) => Panels::BF16(pack(values, *cols, threads, |value| value)?),
        };
        Ok(Self { rows: *rows, cols: *cols, panels })
    }

    /// Packs `rows` rows of numbers of sixteen bits, in the bytes of a file, with as many threads.
    ///
    /// # Errors
    /// When there are not as many numbers as that (`InvalidInput`), or the operating system has no memory left.
    pub fn from_halves(
        kind: HalfKind,
        rows: usize,
        cols: usize,
        bytes: &[u8],
        threads: usize,
    ) -> io::Result<Self> {
        let (values, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() || values.is_empty() || rows.checked_mul(cols) != Some(values.len()) {
            let error = DenseShapeError { rows, columns: cols, found: values.len() };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let panels = match kind {
            HalfKind::F16 => Panels::F16(pack(values, cols, threads, f16::from_le_bytes)?),
            HalfKind::BF16 => Panels::BF16(pack(values, cols, threads, bf16::from_le_bytes)?),
        };
        Ok(Self { rows, cols, panels })
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes in memory, padding included.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(columns) => size_of_val(&columns[..]),
            Panels::F16(columns) => size_of_val(&columns[..]),
            Panels::BF16(columns) => size_of_val(&columns[..]),
        }
    }

    /// One row as `f32`: the embedding of a token whose matrix is also the head.
    ///
    /// # Panics
    /// When `row` is not below `rows`, or `out` is not `cols` long.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "row {row} of {} x {}", self.rows, self.cols);
        let columns = row / PANEL_ROWS * self.cols..(row / PANEL_ROWS + 1) * self.cols;
        let lane = row % PANEL_ROWS;
        match &self.panels {
            Panels::F32(panels) => copy_lane(&panels[columns], lane, out, |v| v),
            Panels::F16(panels) => copy_lane(&panels[columns], lane, out, f16::to_f32),
            Panels::BF16(panels) => copy_lane(&panels[columns], lane, out, bf16::to_f32),
        }
    }

    /// The panels.
    pub(super) fn panels(&self) -> &Panels {
        &self.panels
    }
}

/// One lane of every column.
fn copy_lane<T: Copy>(columns: &[Column<T>], lane: usize, out: &mut [f32], widen: impl Fn(T) -> f32) {
    for (out, column) in out.iter_mut().zip(columns) {
        *out = widen(column.0[lane]);
    }
}

/// Turns rows of `cols` numbers into columns of sixteen; rows that are missing from the last panel are zeros.
fn pack<S, T>(
    values: &[S],
    cols: usize,
    threads: usize,
    read: impl Fn(S) -> T + Copy + Send,
) -> io::Result<Pages<Column<T>>>
where
    S: Copy + Sync,
    Column<T>: Plain,
{
    let panels = (values.len() / cols).div_ceil(PANEL_ROWS);
    let mut columns = Pages::zeroed(panels * cols)?;
    let share = panels.div_ceil(threads.max(1)) * cols;
    std::thread::scope(|scope| {
        for (columns, values) in columns.chunks_mut(share).zip(values.chunks(share * PANEL_ROWS)) {
            let mut pack = move || {
                let panels = columns.chunks_mut(cols).zip(values.chunks(PANEL_ROWS * cols));
                panels.for_each(|(columns, values)| pack_panel(columns, values, read));
            };
            if threads > 1 { drop(scope.spawn(pack)) } else { pack() }
        }
    });
    Ok(columns)
}

/// The rows of one panel, all sixteen of them read side by side.
fn pack_panel<S: Copy, T>(columns: &mut [Column<T>], values: &[S], read: impl Fn(S) -> T + Copy) {
    let cols = columns.len();
    if values.len() == PANEL_ROWS * cols {
        let rows: [&[S]; PANEL_ROWS] = std::array::from_fn(|lane| &values[lane * cols..][..cols]);
        columns.iter_mut().enumerate().for_each(|(col, column)| column.0 = rows.map(|row| read(row[col])));
    } else {
        for (lane, row) in values.chunks(cols).enumerate() {
            columns.iter_mut().zip(row).for_each(|(column, value)| column.0[lane] = read(*value));
        }
    }
}
