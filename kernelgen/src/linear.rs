//! A ternary matrix ready to be multiplied with.

use std::sync::Arc;

use craftsman_golden::{Granularity, TernaryMatrix};

use crate::activations::Activations;
use crate::compiler::Kernels;
use crate::config::KernelConfig;
use crate::family;
use crate::kernel::Kernel;
use crate::key::{Batch, Epilogue};
use crate::output::OutputColumns;
use crate::packed::PackedMatrix;
use crate::quantizer::Quantizer;

/// What a matrix product may be besides the plain one.
///
/// ```
/// use craftsman_golden::{Scales, TernaryMatrix};
/// use craftsman_isa::HardwareCaps;
/// use craftsman_kernelgen::{Activations, KernelCompiler, LinearOptions, OutputMatrix};
///
/// // BitNet a4.8: activations of four bits, -7 to 7.
/// let weights = TernaryMatrix::new(1, 3, vec![1, 0, -1], Scales::Tensor(1.0))?;
/// let compiler = KernelCompiler::new(HardwareCaps::detect());
/// let linear = compiler.linear_with(&[&weights], LinearOptions { activation_bits: 4, ..LinearOptions::default() })?;
/// let mut x = Activations::new();
/// x.quantize(linear.quantizer(), &[7.0, 0.0, 3.4], 1)?; // to 7, 0, 3
/// linear.prepare(&mut x);
/// let mut y = [0.0];
/// linear.run(&x, &mut OutputMatrix::new(&mut y, 1, 1).whole());
/// assert_eq!(y, [4.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LinearOptions<'a> {
    /// What follows the product, inside the kernel.
    pub epilogue: Epilogue,
    /// Bits of the activations: 8, or 4.
    pub activation_bits: u8,
    /// Candidates to try first, then those that read the same packed weights. Which kernels there are in the end, the
    /// result says.
    pub preferred: &'a [KernelConfig],
}

impl Default for LinearOptions<'_> {
    fn default() -> Self {
        Self { epilogue: Epilogue::None, activation_bits: 8, preferred: &[] }
    }
}

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
