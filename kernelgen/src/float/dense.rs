//! Dense matrices, as they come from a file and as the matrix product wants them.

use std::ops::Range;

use half::{bf16, f16};

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

/// Rows of a panel: the outputs that stand in the lanes of one vector.
pub const PANEL_ROWS: usize = 16;

/// The same column of the sixteen rows of a panel. Aligned so that no 32-byte load crosses a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Column<T>(pub(super) [T; PANEL_ROWS]);

/// Panels one after the other, each `cols` columns.
#[derive(Debug, Clone)]
pub(super) enum Panels {
    F32(Vec<Column<f32>>),
    F16(Vec<Column<f16>>),
    BF16(Vec<Column<bf16>>),
}

/// A dense matrix in the layout of the matrix product: panels of sixteen rows, `[panel][col][16]`, the last
/// one padded with zeros. The numbers stay as wide as they were.
#[derive(Debug, Clone)]
pub struct PackedDense {
    rows: usize,
    cols: usize,
    panels: Panels,
}

impl PackedDense {
    /// Packs a matrix.
    pub fn new(matrix: &DenseMatrix) -> Self {
        let DenseMatrix { rows, cols, data } = matrix;
        let panels = match data {
            DenseData::F32(values) => Panels::F32(pack(values, *cols)),
            DenseData::F16(values) => Panels::F16(pack(values, *cols)),
            DenseData::BF16(values) => Panels::BF16(pack(values, *cols)),
        };
        Self { rows: *rows, cols: *cols, panels }
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

/// Turns rows of `cols` numbers into columns of sixteen, reading sixteen rows side by side; rows that are
/// missing from the last panel are zeros.
fn pack<T: Copy + Default>(values: &[T], cols: usize) -> Vec<Column<T>> {
    let missing = vec![T::default(); cols];
    let mut columns = Vec::with_capacity((values.len() / cols).div_ceil(PANEL_ROWS) * cols);
    for panel in values.chunks(PANEL_ROWS * cols) {
        let rows: [&[T]; PANEL_ROWS] =
            std::array::from_fn(|lane| panel.get(lane * cols..(lane + 1) * cols).unwrap_or(&missing));
        columns.extend((0..cols).map(|col| Column(rows.map(|row| row[col]))));
    }
    columns
}
