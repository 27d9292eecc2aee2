//! A ternary weight matrix: trits and scales.

use std::ops::Range;

/// Longest allowed row: with `|q| <= 128` a dot product of fewer than 2^24 terms stays inside `i32`.
pub const MAX_K: usize = (1 << 24) - 1;

/// Over how many weights one scale reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Granularity {
    /// One scale for the whole matrix.
    Tensor,
    /// One scale for each of the `m` rows (output features).
    Row,
    /// One scale for each run of 64, 128 or 256 weights along `k`; the last run of a row may be shorter.
    Block(usize),
}

impl Granularity {
    /// How many consecutive weights of one row share a scale, for rows of `k` weights.
    pub fn run(self, k: usize) -> usize {
        match self {
            Self::Tensor | Self::Row => k,
            Self::Block(size) => size,
        }
    }
}

/// The scales of a [`TernaryMatrix`], one for each granule.
#[derive(Debug, Clone, PartialEq)]
pub enum Scales {
    /// One scale for all weights.
    Tensor(f32),
    /// `m` scales.
    Row(Vec<f32>),
    /// One scale for each block along `k`, row major: `[m][k.div_ceil(size)]`.
    Block {
        /// Weights a block: 64, 128 or 256.
        size: usize,
        /// `m * k.div_ceil(size)` scales.
        values: Vec<f32>,
    },
}

impl Scales {
    /// The granularity that these scales have.
    pub fn granularity(&self) -> Granularity {
        match self {
            Self::Tensor(_) => Granularity::Tensor,
            Self::Row(_) => Granularity::Row,
            Self::Block { size, .. } => Granularity::Block(*size),
        }
    }

    /// All scales in storage order; one for [`Scales::Tensor`].
    pub fn values(&self) -> &[f32] {
        match self {
            Self::Tensor(scale) => std::slice::from_ref(scale),
            Self::Row(values) | Self::Block { values, .. } => values,
        }
    }

    /// Scales of `granularity` from their values in storage order.
    pub(crate) fn from_values(granularity: Granularity, values: Vec<f32>) -> Self {
        match granularity {
            Granularity::Tensor => Self::Tensor(values[0]),
            Granularity::Row => Self::Row(values),
            Granularity::Block(size) => Self::Block { size, values },
        }
    }
}

/// Why trits and scales do not make a matrix.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// A side is zero, a row is longer than [`MAX_K`], or the product overflows.
    #[error(
        "a ternary matrix of {m} x {k} is impossible: both sides must be at least 1 and k at most {MAX_K}"
    )]
    Size {
        /// Rows.
        m: usize,
        /// Weights a row.
        k: usize,
    },
    /// The count of weights is not `m * k`.
    #[error("{found} weights given for a matrix that has {expected}")]
    Weights {
        /// What was given.
        found: usize,
        /// `m * k`.
        expected: usize,
    },
    /// The count of scales does not fit the granularity.
    #[error("{found} scales given where the granularity needs {expected}")]
    Scales {
        /// What was given.
        found: usize,
        /// What the granularity needs.
        expected: usize,
    },
    /// A block size other than 64, 128 or 256.
    #[error("scale blocks of {size} weights; only 64, 128 and 256 exist")]
    BlockSize {
        /// What was given.
        size: usize,
    },
    /// A weight that is none of -1, 0, +1.
    #[error("weight {index} is {value}, not -1, 0 or +1")]
    NotATrit {
        /// Flat row-major index.
        index: usize,
        /// The value there.
        value: i8,
    },
    /// An infinite or NaN scale.
    #[error("scale {index} is {value}; scales must be finite")]
    ScaleNotFinite {
        /// Index among the scales.
        index: usize,
        /// The value there.
        value: f32,
    },
}

/// Ternary weights `[m, k]` = (output features, input features), row major, with their scales.
///
/// Possession proves the shape: `m * k` trits in {-1, 0, +1}, `k` at most [`MAX_K`], as many finite scales as
/// the granularity needs.
///
/// ```
/// use craftsman_golden::{Scales, TernaryMatrix};
/// let w = TernaryMatrix::new(2, 2, vec![1, 0, -1, 1], Scales::Row(vec![0.5, 2.0]))?;
/// assert_eq!(w.dequantize(), [0.5, 0.0, -2.0, 2.0]);
/// # Ok::<(), craftsman_golden::ShapeError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TernaryMatrix {
    m: usize,
    k: usize,
    trits: Vec<i8>,
    scales: Scales,
}

/// Checks the sides of a matrix and counts its weights.
pub(crate) fn weight_count(m: usize, k: usize) -> Result<usize, ShapeError> {
    let size = ShapeError::Size { m, k };
    if m == 0 || k == 0 || k > MAX_K { Err(size) } else { m.checked_mul(k).ok_or(size) }
}

/// How many scales a matrix needs; the block size is checked.
pub(crate) fn scale_count(m: usize, k: usize, granularity: Granularity) -> Result<usize, ShapeError> {
    match granularity {
        Granularity::Tensor => Ok(1),
        Granularity::Row => Ok(m),
        Granularity::Block(size @ (64 | 128 | 256)) => Ok(m * k.div_ceil(size)),
        Granularity::Block(size) => Err(ShapeError::BlockSize { size }),
    }
}

impl TernaryMatrix {
    /// Checks shape, trits and scales.
    pub fn new(m: usize, k: usize, trits: Vec<i8>, scales: Scales) -> Result<Self, ShapeError> {
        let expected = weight_count(m, k)?;
        if trits.len() != expected {
            return Err(ShapeError::Weights { found: trits.len(), expected });
        }
        let expected = scale_count(m, k, scales.granularity())?;
        let found = scales.values().len();
        if found != expected {
            return Err(ShapeError::Scales { found, expected });
        }
        let is_trit = |t: &i8| (-1..=1).contains(t);
        // Looking at all of them is one pass of vectors; looking for the first is not.
        if !trits.iter().fold(true, |all, t| all & is_trit(t)) {
            let index = trits.iter().position(|t| !is_trit(t)).unwrap_or_default();
            return Err(ShapeError::NotATrit { index, value: trits[index] });
        }
        if let Some(index) = scales.values().iter().position(|s| !s.is_finite()) {
            return Err(ShapeError::ScaleNotFinite { index, value: scales.values()[index] });
        }
        Ok(Self { m, k, trits, scales })
    }

    /// Rows: output features.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Weights a row: input features.
    pub fn k(&self) -> usize {
        self.k
    }

    /// All trits, `[m, k]` row major.
    pub fn trits(&self) -> &[i8] {
        &self.trits
    }

    /// The `k` trits of row `i`, which must be below `m`.
    pub fn row(&self, i: usize) -> &[i8] {
        &self.trits[i * self.k..][..self.k]
    }

    /// The scales.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Over how many weights one scale reaches.
    pub fn granularity(&self) -> Granularity {
        self.scales.granularity()
    }

    /// The scales of row `i` in ascending `k`: one, or one a block.
    pub fn row_scales(&self, i: usize) -> &[f32] {
        match &self.scales {
            Scales::Tensor(scale) => std::slice::from_ref(scale),
            Scales::Row(values) => &values[i..=i],
            Scales::Block { size, values } => {
                let blocks = self.k.div_ceil(*size);
                &values[i * blocks..][..blocks]
            }
        }
    }

    /// The one scale of the weights `range` (flat, row major, not empty, within the matrix); `None` when they have
    /// several. A granule of nothing but zeros has a say only when all of them are.
    pub fn scale_over(&self, range: Range<usize>) -> Option<f32> {
        if let Scales::Tensor(scale) = self.scales {
            return Some(scale);
        }
        let (k, run) = (self.k, self.granularity().run(self.k));
        let scale_at = |at: usize| self.row_scales(at / k)[at % k / run];
        let (mut at, mut common) = (range.start, None);
        while at < range.end {
            let end = (at / k * k + (at % k / run * run + run).min(k)).min(range.end);
            let scale = scale_at(at);
            let silent = self.trits[at..end].iter().all(|&t| t == 0);
            if !silent && common.replace(scale).is_some_and(|common: f32| common.to_bits() != scale.to_bits())
            {
                return None;
            }
            at = end;
        }
        Some(common.unwrap_or_else(|| scale_at(range.start)))
    }

    /// The rows of `range` (not empty, within `m`) as a matrix of their own: one expert of a stack, say.
    pub fn rows(&self, range: Range<usize>) -> Result<Self, ShapeError> {
        if range.is_empty() || range.end > self.m {
            return Err(ShapeError::Size { m: range.len(), k: self.k });
        }
        let scales = match &self.scales {
            Scales::Tensor(scale) => Scales::Tensor(*scale),
            Scales::Row(values) => Scales::Row(values[range.clone()].to_vec()),
            Scales::Block { size, values } => {
                let blocks = self.k.div_ceil(*size);
                Scales::Block {
                    size: *size,
                    values: values[range.start * blocks..range.end * blocks].to_vec(),
                }
            }
        };
        let trits = self.trits[range.start * self.k..range.end * self.k].to_vec();
        Ok(Self { m: range.len(), k: self.k, trits, scales })
    }

    /// The same trits with all scales multiplied by `factor`, each rounded once; an error when one is finite no more.
    pub fn times(self, factor: f32) -> Result<Self, ShapeError> {
        self.with_scales(|scale| scale * factor)
    }

    /// The same rows in another order: row `i` of the result is row `order[i]`, which must be below `m`.
    pub fn reordered(&self, order: &[usize]) -> Result<Self, ShapeError> {
        let trits = order.iter().flat_map(|&row| self.row(row)).copied().collect();
        let values = || order.iter().flat_map(|&row| self.row_scales(row)).copied().collect();
        let scales = match self.scales {
            Scales::Tensor(scale) => Scales::Tensor(scale),
            Scales::Row(_) => Scales::Row(values()),
            Scales::Block { size, .. } => Scales::Block { size, values: values() },
        };
        Self::new(order.len(), self.k, trits, scales)
    }

    /// The same trits under scales that `change` makes of each.
    pub fn with_scales(self, change: impl Fn(f32) -> f32) -> Result<Self, ShapeError> {
        let values = self.scales.values().iter().map(|&scale| change(scale)).collect();
        Self::new(self.m, self.k, self.trits, Scales::from_values(self.scales.granularity(), values))
    }

    /// The weights as numbers, `t * s`, `[m, k]` row major.
    pub fn dequantize(&self) -> Vec<f32> {
        let run = self.granularity().run(self.k);
        let mut weights = Vec::with_capacity(self.trits.len());
        for i in 0..self.m {
            for (granule, scale) in self.row(i).chunks(run).zip(self.row_scales(i)) {
                weights.extend(granule.iter().map(|&trit| f32::from(trit) * scale));
            }
        }
        weights
    }

    /// The same weights with the coarsest scales that say them: blocks of one row that all have the same
    /// scale become one row scale, rows that all have the same scale become one tensor scale, and blocks that
    /// agree with their neighbours only become blocks of 256 or 128 ("same" means the same bits).
    ///
    /// The scale rule differs between granularities in its rounding, so this is what makes the logits of a
    /// model the same bits whichever container its weights came in.
    ///
    /// A granule of nothing but zeros never stands in the way, and its scale is set to 0 where it survives:
    /// the integer sum over it is d = 0 for every input, and a scale is finite, so d * s = 0. Among blocks it
    /// adds +0 or
    /// -0 to an accumulator that starts at +0 and can never be -0 (d * s with an integer d != 0 cannot underflow, and
    /// exact cancellation rounds to +0), so no bit of the output depends on its scale. A row of zeros gives
    /// (0 * s) / a = +0 under its own scale 0, and -0 only when it falls under a negative scale of the
    /// tensor; either is the value zero, and the same for every container, because all of them end in the
    /// same form.
    #[must_use]
    pub fn coarsened(self) -> Self {
        let Self { m, k, trits, scales } = self;
        let silent = |granule: &[i8]| granule.iter().all(|&t| t == 0);
        let scales = match scales {
            Scales::Tensor(scale) => Scales::Tensor(if silent(&trits) { 0.0 } else { scale }),
            Scales::Row(mut values) => {
                let rows = merged(&mut values, 1, trits.chunks(k).map(silent));
                rows.and_then(|rows| tensor_scale(&rows)).unwrap_or(Scales::Row(values))
            }
            Scales::Block { size, mut values } => {
                let granules = trits.chunks(k).flat_map(|row| row.chunks(size)).map(silent);
                let silent: Vec<bool> = granules.collect();
                match merged(&mut values, k.div_ceil(size), silent.iter().copied()) {
                    Ok(rows) => tensor_scale(&rows).unwrap_or_else(|Differ| {
                        Scales::Row(rows.iter().map(|row| row.unwrap_or(0.0)).collect())
                    }),
                    Err(Differ) => larger_blocks(size, values, k.div_ceil(size), &silent),
                }
            }
        };
        Self { m, k, trits, scales }
    }
}

/// Scales that matter are not all the same.
struct Differ;

/// Zeroes the scales of silent granules and merges each group of `group` scales, where those that matter
/// agree within every group. The scale of a group is `None` where all its granules are silent.
fn merged(
    values: &mut [f32],
    group: usize,
    silent: impl Iterator<Item = bool>,
) -> Result<Vec<Option<f32>>, Differ> {
    let mut loud = Vec::with_capacity(values.len());
    for (value, silent) in values.iter_mut().zip(silent) {
        *value = if silent { 0.0 } else { *value };
        loud.push((!silent).then_some(*value));
    }
    loud.chunks(group).map(common).collect()
}

/// Scales of blocks of `size` weights, `row` of them a row, as those of the largest blocks that say the same. Silent
/// blocks have the scale 0 already.
fn larger_blocks(size: usize, values: Vec<f32>, row: usize, silent: &[bool]) -> Scales {
    let loud: Vec<_> = values.iter().zip(silent).map(|(value, silent)| (!silent).then_some(*value)).collect();
    for larger in [256, 128].into_iter().filter(|larger| *larger > size) {
        let groups = loud.chunks(row).flat_map(|row| row.chunks(larger / size));
        if let Ok(values) = groups.map(|group| common(group).map(Option::unwrap_or_default)).collect() {
            return Scales::Block { size: larger, values };
        }
    }
    Scales::Block { size, values }
}

/// What all present scales agree on; `None` when none is present.
fn common(scales: &[Option<f32>]) -> Result<Option<f32>, Differ> {
    let mut present = scales.iter().flatten();
    let Some(first) = present.next() else { return Ok(None) };
    if present.all(|s| s.to_bits() == first.to_bits()) { Ok(Some(*first)) } else { Err(Differ) }
}

/// One tensor scale when all rows that matter agree on it; 0 when none matters.
fn tensor_scale(rows: &[Option<f32>]) -> Result<Scales, Differ> {
    Ok(Scales::Tensor(common(rows)?.unwrap_or(0.0)))
}
