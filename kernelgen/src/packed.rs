//! Weights in the order in which a kernel reads them.

use serde::Serialize;

use crate::pages::Pages;

/// How a matrix lies in memory. Two kernels may share packed weights exactly when their layouts are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Layout {
    /// The family that owns the layout.
    pub family: &'static str,
    /// 32-bit lanes of the vectors it was packed for.
    pub lanes: usize,
    /// Panels that alternate, step by step, in one stream of memory.
    pub interleave: usize,
    /// Whether two matrices, gate and up, alternate panel by panel.
    pub pair: bool,
    /// Rows of a panel; threads divide work at panels.
    pub panel_rows: usize,
    /// Bytes from one panel to the next.
    pub panel_bytes: usize,
    /// Columns between prefixes: under one scale, or without overflow; k where the family has no prefix.
    pub segment: usize,
    /// Rows of the matrix.
    pub m: usize,
    /// Columns of the matrix.
    pub k: usize,
}

impl Layout {
    /// Panels, the last one of each matrix perhaps partial.
    pub fn panels(&self) -> usize {
        self.m.div_ceil(self.panel_rows) * self.matrices()
    }

    /// Two for a gate/up pair, else one.
    pub fn matrices(&self) -> usize {
        1 + usize::from(self.pair)
    }
}

/// A matrix packed by a family, with its scales in the order of its panels.
#[derive(Debug)]
pub struct PackedMatrix {
    layout: Layout,
    pages: Pages<u8>,
    scales: Vec<f32>,
}

impl PackedMatrix {
    /// Room for a matrix of that layout, all bytes zero.
    ///
    /// # Errors
    /// When the operating system has no memory left.
    pub(crate) fn zeroed(layout: Layout, scales: Vec<f32>) -> std::io::Result<Self> {
        let pages = Pages::zeroed(layout.panels() * layout.panel_bytes)?;
        Ok(Self { layout, pages, scales })
    }

    /// The same in memory of its own.
    ///
    /// # Errors
    /// When the operating system has no memory left.
    pub(crate) fn duplicate(&self) -> std::io::Result<Self> {
        let mut copy = Self::zeroed(self.layout, self.scales.clone())?;
        copy.pages.copy_from_slice(&self.pages);
        Ok(copy)
    }

    /// What packed it, and how.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Size in memory, scales included.
    pub fn size(&self) -> usize {
        self.pages.len() + self.scales.len() * 4
    }

    /// The packed panels.
    pub fn bytes(&self) -> &[u8] {
        &self.pages
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.pages
    }

    /// The scales, panel by panel; one for a tensor scale.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }
}
