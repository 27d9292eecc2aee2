//! From a matrix to panels.

use craftsman_golden::{Scales, TernaryMatrix};

use super::Geometry;
use crate::packed::{Layout, PackedMatrix};

/// Writes one row of one segment into its panel.
pub(crate) trait PackPanel: Sync {
    /// `row` are the trits of the segment's columns of the row that lane `lane` of field `field` holds; `bytes` is the
    /// segment of that panel from its prefix on, and `stride` the distance from one step to the next.
    fn pack_row(&self, row: &[i8], bytes: &mut [u8], stride: usize, lane: usize, field: usize);
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
    for row in first..matrix.m().min(first + layout.panel_rows) {
        let group = (row - first) / layout.lanes;
        let (part, field, lane) =
            (group / geometry.fields, group % geometry.fields, (row - first) % layout.lanes);
        let mut segment_at = 0;
        for segment in matrix.row(row).chunks(layout.segment) {
            // A family with a prefix is never interleaved: see `Geometry::layout`.
            let place = segment_at + part * geometry.step_bytes;
            family.pack_row(segment, &mut bytes[place..], stride, lane, field);
            segment_at += geometry.segment_bytes(segment.len()) * layout.interleave;
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
