//! From a matrix to panels.

use craftsman_golden::{Scales, TernaryMatrix};

use super::Geometry;
use crate::packed::{Layout, PackedMatrix};

/// Writes one lane of one segment into its panel.
pub(crate) trait PackPanel: Sync {
    /// `rows` are the trits of the segment's columns of the rows that lane `lane` holds, field by field; the last panel may
    /// have fewer. `bytes` is the segment of that panel from its prefix on, all zeros in this lane, and `stride` the
    /// distance from one step to the next.
    fn pack_lane(&self, rows: &[&[i8]], bytes: &mut [u8], stride: usize, lane: usize);
}

/// Packs one matrix, or a gate/up pair, into `layout`.
pub(crate) fn pack(
    matrices: &[&TernaryMatrix],
    layout: Layout,
    geometry: &Geometry,
    family: &dyn PackPanel,
) -> std::io::Result<PackedMatrix> {
    let mut packed = PackedMatrix::zeroed(layout, pack_scales(matrices, &layout))?;
    let panels = packed.bytes_mut().chunks_exact_mut(layout.panel_bytes);
    for (index, bytes) in panels.enumerate() {
        let matrix = matrices[index % matrices.len()];
        let first = index / matrices.len() * layout.panel_rows;
        pack_panel(matrix, first, bytes, &layout, geometry, family);
    }
    Ok(packed)
}

/// Packs the rows from `first` on into one panel of the layout, that is, into `interleave` panels of the family.
fn pack_panel(
    matrix: &TernaryMatrix,
    first: usize,
    bytes: &mut [u8],
    layout: &Layout,
    geometry: &Geometry,
    family: &dyn PackPanel,
) {
    let stride = geometry.step_bytes * layout.interleave;
    for (part, lane) in
        (0..layout.interleave).flat_map(|part| (0..layout.lanes).map(move |lane| (part, lane)))
    {
        let row = |field| first + (part * geometry.fields + field) * layout.lanes + lane;
        let there: Vec<usize> = (0..geometry.fields).map(row).filter(|&row| row < matrix.m()).collect();
        let mut segment_at = 0;
        for start in (0..matrix.k()).step_by(layout.segment) {
            let columns = start..matrix.k().min(start + layout.segment);
            let rows: Vec<&[i8]> = there.iter().map(|&row| &matrix.row(row)[columns.clone()]).collect();
            // A family with a prefix is never interleaved: see `Geometry::layout`.
            let place = segment_at + part * geometry.step_bytes;
            family.pack_lane(&rows, &mut bytes[place..], stride, lane);
            segment_at += geometry.segment_bytes(columns.len()) * layout.interleave;
        }
    }
}

/// Scales in the order in which the kernel meets them: one a matrix; or by panel and row; or by panel, segment and row.
/// Panels of a pair alternate.
fn pack_scales(matrices: &[&TernaryMatrix], layout: &Layout) -> Vec<f32> {
    let rows = layout.panel_rows;
    let panels = layout.m.div_ceil(rows);
    let mut packed = Vec::new();
    for (which, matrix) in matrices.iter().enumerate() {
        let (values, blocks) = match matrix.scales() {
            Scales::Tensor(scale) => {
                packed.push(*scale);
                continue;
            }
            Scales::Row(values) => (values, 1),
            Scales::Block { size, values } => (values, matrix.k().div_ceil(*size)),
        };
        packed.resize(panels * matrices.len() * blocks * rows, 0.0);
        for (row, scales) in values.chunks_exact(blocks).enumerate() {
            let panel = row / rows * matrices.len() + which;
            for (block, scale) in scales.iter().enumerate() {
                packed[(panel * blocks + block) * rows + row % rows] = *scale;
            }
        }
    }
    packed
}
