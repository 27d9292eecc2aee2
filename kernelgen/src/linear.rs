//! A ternary matrix ready to be multiplied with.

use std::sync::Arc;

use craftsman_golden::{Granularity, TernaryMatrix};

use crate::activations::Activations;
use crate::compiler::Kernels;
use crate::family;
use crate::kernel::Kernel;
use crate::key::{Batch, Epilogue};
use crate::output::OutputColumns;
use crate::packed::PackedMatrix;
use crate::quantizer::Quantizer;

/// Packed weights `[m, k]` and the verified kernels of their shape. Made by
/// [`KernelCompiler::linear`](crate::KernelCompiler::linear); never changes; may be used from many threads at once.
#[derive(Debug)]
pub struct TernaryLinear {
    packed: PackedMatrix,
    kernels: Arc<Kernels>,
}

impl TernaryLinear {
    pub(crate) fn pack(matrices: &[&TernaryMatrix], kernels: Arc<Kernels>) -> std::io::Result<Self> {
        let layout = kernels.decode().layout();
        let family = family::by_name(layout.family).map_err(std::io::Error::other)?;
        Ok(Self { packed: family.pack(matrices, layout)?, kernels })
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
        self.kernels.decode().key().scales
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

    /// What follows the product.
    pub fn epilogue(&self) -> Epilogue {
        self.kernels.decode().key().epilogue
    }

    /// The kernel that runs for `tokens` tokens.
    pub fn kernel(&self, tokens: usize) -> &Kernel {
        self.kernels.of(Batch::of(tokens))
    }

    /// What quantises its input, for [`Activations::quantize`]; shared by all matrices of that width and block length.
    pub fn quantizer(&self) -> &Quantizer {
        self.kernels.quantizer()
    }

    /// Makes the form of `x` that [`run`](Self::run) reads. Once for all matrices of one input and one shape of kernel;
    /// calling it again does nothing.
    ///
    /// # Panics
    /// When `x` is not k wide or was quantised for another granularity: a bug in the caller.
    pub fn prepare(&self, x: &mut Activations) {
        if x.tokens() > 0 {
            self.kernel(x.tokens()).prepare(x);
        }
    }

    /// Computes the rows that `out` holds, for all tokens of `x`: `y = (d * s) / a`, and the epilogue, exactly as golden
    /// does.
    ///
    /// # Panics
    /// When `x` is not k wide, was quantised for another granularity, or has not been [prepared](Self::prepare); when
    /// `out` has another shape, or begins or ends inside a panel: bugs in the caller.
    pub fn run(&self, x: &Activations, out: &mut OutputColumns<'_>) {
        if x.tokens() > 0 {
            self.kernel(x.tokens()).run(&self.packed, x, out);
        }
    }
}
