//! A matrix that several threads fill at once, each its own columns.
//!
//! A layer's output is `[n, m]` row major (token, output feature), and threads divide the output *features*, so what
//! a thread writes is not one contiguous slice. [`OutputMatrix`] hands out [`OutputColumns`] whose column ranges are
//! disjoint by construction; holding one is the permission to write those columns and no others.

use std::marker::PhantomData;
use std::ops::Range;

/// A writable `[n, m]` matrix of `f32`, row major.
#[derive(Debug)]
pub struct OutputMatrix<'a> {
    data: &'a mut [f32],
    tokens: usize,
    columns: usize,
}

/// The columns `rows()` of every token of an [`OutputMatrix`]. ("Rows" are rows of the weight matrix.)
#[derive(Debug)]
pub struct OutputColumns<'a> {
    base: *mut f32,
    tokens: usize,
    stride: usize,
    rows: Range<usize>,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: an `OutputColumns` reaches only its own columns of a matrix that it borrows mutably, and `split` makes the
// column ranges of any two that live at once disjoint; `f32` may be written from any thread.
unsafe impl Send for OutputColumns<'_> {}

impl<'a> OutputMatrix<'a> {
    /// Looks at `data` as `tokens` rows of `columns` values.
    ///
    /// # Panics
    /// When `data` is not exactly that long: a bug in the caller, never a matter of input.
    pub fn new(data: &'a mut [f32], tokens: usize, columns: usize) -> Self {
        assert_eq!(Some(data.len()), tokens.checked_mul(columns), "an output of {tokens} x {columns}");
        Self { data, tokens, columns }
    }

    /// The whole matrix, row major.
    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        self.data
    }

    /// All columns as one part.
    pub fn whole(&mut self) -> OutputColumns<'_> {
        self.part(0..self.columns)
    }

    /// The first `count` columns as one part.
    pub(crate) fn first(&mut self, count: usize) -> OutputColumns<'_> {
        assert!(count <= self.columns, "{count} of {} columns", self.columns);
        self.part(0..count)
    }

    /// Divides the columns among at most `parts` owners; inner boundaries are multiples of `granule`.
    pub fn split(&mut self, granule: usize, parts: usize) -> Vec<OutputColumns<'_>> {
        let columns = self.columns;
        let granules = columns.div_ceil(granule.max(1));
        let parts = parts.clamp(1, granules.max(1));
        let edge = |part: usize| (granules * part / parts * granule).min(columns);
        let whole = self.whole();
        (0..parts).map(|part| OutputColumns { rows: edge(part)..edge(part + 1), ..whole }).collect()
    }

    fn part(&mut self, rows: Range<usize>) -> OutputColumns<'_> {
        let base = self.data.as_mut_ptr();
        OutputColumns { base, tokens: self.tokens, stride: self.columns, rows, borrow: PhantomData }
    }
}

impl OutputColumns<'_> {
    /// Which rows of the weight matrix, that is, which columns of the output, this part owns.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// How many tokens the output has.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Distance between two tokens, in values: the number of columns of the whole matrix.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// This part's values of one token.
    ///
    /// # Panics
    /// When `token` is not below [`tokens`](Self::tokens).
    pub fn row_mut(&mut self, token: usize) -> &mut [f32] {
        assert!(token < self.tokens, "token {token} of {}", self.tokens);
        // SAFETY: the token was just checked and `rows` ends at or before `stride`, so the slice lies inside the
        // matrix; no other part holds these columns (see `split`), and `&mut self` keeps this the only borrow.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.base.add(token * self.stride + self.rows.start),
                self.rows.len(),
            )
        }
    }

    /// Where column 0 of token 0 of the whole matrix lies; for kernels, which get their first column as an offset.
    pub(crate) fn base(&mut self) -> *mut f32 {
        self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_cover_every_value_once(tokens in 1_usize..5, columns in 1_usize..100, granule in 1_usize..40, parts in 1_usize..9) {
            let mut data = vec![0.0; tokens * columns];
            let mut matrix = OutputMatrix::new(&mut data, tokens, columns);
            for mut part in matrix.split(granule, parts) {
                prop_assert_eq!(part.rows().start % granule, 0);
                for token in 0..tokens {
                    part.row_mut(token).iter_mut().for_each(|v| *v += 1.0);
                }
            }
            prop_assert!(data.iter().all(|&v| v == 1.0));
        }
    }
}
