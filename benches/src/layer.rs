//! A layer as the runtime calls it: quantise the input of one token, multiply with the kernels that a user gets.

use std::hint::black_box;

use craftsman_golden::gemm::ternary_gemm;
use craftsman_golden::quantize::absmax;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::float::FloatOps;
use craftsman_kernelgen::{Activations, KernelCompiler, OutputMatrix};

use crate::clock::timed;
use crate::contest::Contestant;
use crate::suite::{Field, Subject};
use crate::{float_tokens, ternary_matrix};

/// The selected kernel beside golden, both from floats to floats.
pub fn field(m: usize, k: usize, caps: &HardwareCaps) -> Field {
    let w = ternary_matrix(m, k);
    let (work, floats) = ((m * k) as f64, float_tokens(1, k));
    let linear =
        KernelCompiler::new(caps.clone()).linear(&w).expect("the portable kernel exists for every shape");
    let (config, bytes) = (linear.kernel(1).config().to_string(), linear.size() as f64);
    let (ops, mut x, mut y, input) =
        (FloatOps::for_caps(caps), Activations::new(), vec![0.0; m], floats.clone());
    let contestant = Contestant::new("selected", work, bytes, move |calls| {
        timed(|| {
            for _ in 0..calls {
                x.quantize(&ops, black_box(&input), 1, k, linear.scales()).expect("finite numbers");
                linear.prepare(&mut x);
                linear.run(&x, &mut OutputMatrix::new(black_box(&mut y), 1, m).whole());
            }
        })
    });
    let golden = Contestant::new("golden", work, work, move |calls| {
        timed(|| {
            for _ in 0..calls {
                let row = absmax(black_box(&floats)).expect("finite numbers");
                black_box(ternary_gemm(&w, &row.q, &[row.scale]));
            }
        })
    });
    Field { subjects: vec![Subject { contestant, config }], references: vec![golden], unusable: Vec::new() }
}
