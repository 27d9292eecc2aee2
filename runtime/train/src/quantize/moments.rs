//! The second moments of a projection's inputs.

use craftsman_kernelgen::OutputMatrix;
use craftsman_kernelgen::float::{DenseData, DenseMatrix, FloatOps, PANEL_ROWS, PackedDense};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Inputs with more columns keep only how large each column is: taking their moments apart would take too long.
const MOST_COLUMNS: usize = 4096;

/// Shares that a product is divided into.
const PARTS: usize = 16;

/// `X^T X` of all rows so far.
#[derive(Debug)]
pub(super) struct Moments {
    k: usize,
    pub(super) rows: usize,
    /// `[k, k]`, or the diagonal alone, `[k]`.
    pub(super) sums: Vec<f64>,
}

impl Moments {
    /// Bytes of the moments of `k` columns.
    pub(super) fn bytes(k: usize) -> usize {
        k * k * size_of::<f64>()
    }

    /// Of no rows yet; whole where that is feasible and wanted.
    pub(super) fn new(k: usize, whole: bool) -> Self {
        let count = if whole && k <= MOST_COLUMNS { k * k } else { k };
        Self { k, rows: 0, sums: vec![0.0; count] }
    }

    /// Whether they are more than the diagonal.
    pub(super) fn is_whole(&self) -> bool {
        self.sums.len() > self.k
    }

    /// Adds rows of `k` numbers.
    ///
    /// # Errors
    /// When the operating system has no memory left.
    pub(super) fn add(&mut self, ops: FloatOps, x: &[f32]) -> std::io::Result<()> {
        let (k, n) = (self.k, x.len() / self.k);
        self.rows += n;
        if !self.is_whole() {
            for row in x.chunks_exact(k) {
                self.sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
            }
            return Ok(());
        }
        // The columns of x as rows: their products with each other are the moments.
        let columns: Vec<f32> = (0..k).flat_map(|column| x.iter().skip(column).step_by(k).copied()).collect();
        let matrix = DenseMatrix::new(k, n, DenseData::F32(columns.clone()));
        // No rows add nothing.
        let Ok(matrix) = matrix else { return Ok(()) };
        let packed = PackedDense::new(&matrix, 1)?;
        let mut products = vec![0.0; k * k];
        let mut out = OutputMatrix::new(&mut products, k, k);
        out.split(PANEL_ROWS, PARTS)
            .into_par_iter()
            .for_each(|mut part| ops.dense_matmul(&packed, &columns, &mut part));
        self.sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += f64::from(product));
        Ok(())
    }
}
