//! A ternary matrix ready to be multiplied with.

use std::sync::Arc;

use craftsman_golden::{Granularity, TernaryMatrix};

use crate::activations::Activations;
use crate::compiler::Kernels;
use crate::family;
use crate::kernel::Kernel;
use crate::output::OutputColumns;
use crate::packed::PackedMatrix;

/// Packed weights `[m, k]` and the verified kernels of their shape. Made by
/// [`KernelCompiler::linear`](crate::KernelCompiler::linear); never changes; may be used from many threads at once.
#[derive(Debug)]
pub struct TernaryLinear {
    packed: PackedMatrix,
    kernels: Arc<Kernels>,
}

impl TernaryLinear {
    pub(crate) fn pack(weights: &TernaryMatrix, kernels: Arc<Kernels>) -> std::io::Result<Self> {
        let layout = kernels.decode.layout();
        let family = family::ALL.iter().find(|family| family.name() == layout.family);
        let family = family.ok_or_else(|| std::io::Error::other("a layout of no known family"))?;
        Ok(Self { packed: family.pack(weights, layout.lanes)?, kernels })
    }

    /// Output features.
    pub fn m(&self) -> usize {
        self.packed.layout().m
    }

    /// Input features.
    pub fn k(&self) -> usize {
        self.packed.layout().k
    }

    /// How many weights share a scale; [`Activations`] must be quantised for it.
    pub fn scales(&self) -> Granularity {
        self.kernels.decode.key().scales
    }

    /// Rows of a panel: threads may divide the output at multiples of it, see
    /// [`OutputMatrix::split`](crate::OutputMatrix::split).
    pub fn panel_rows(&self) -> usize {
        self.packed.layout().panel_rows
    }

    /// Size of the packed weights in memory.
    pub fn size(&self) -> usize {
        self.packed.size()
    }

    /// The kernel that runs for one token.
    pub fn decode_kernel(&self) -> &Kernel {
        &self.kernels.decode
    }

    /// The kernel that runs for several tokens.
    pub fn prefill_kernel(&self) -> &Kernel {
        &self.kernels.prefill
    }

    /// Computes the rows that `out` holds, for all tokens of `x`: `y = (d * s) / a`, exactly as golden does.
    ///
    /// # Panics
    /// When `x` is not k wide or was quantised for another granularity, when `out` has another shape, or when it
    /// begins or ends inside a panel: bugs in the caller.
    pub fn run(&self, x: &Activations, out: &mut OutputColumns<'_>) {
        let kernel = if x.tokens() == 1 { &self.kernels.decode } else { &self.kernels.prefill };
        if x.tokens() > 0 {
            kernel.run(&self.packed, x, out);
        }
    }
}
