//! A layer as the runtime calls it: quantise the input of one token, make the form of it that the kernel reads, multiply.

use std::hint::black_box;

use craftsman_golden::float::silu_mul;
use craftsman_golden::gemm::ternary_gemm;
use craftsman_golden::quantize::{QuantizedRow, absmax};
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{
    Activations, Batch, Epilogue, KernelCompiler, KernelKey, LinearOptions, OutputMatrix, TernaryLinear,
};

use crate::contest::Contestant;
use crate::product::check;
use crate::suite::{Field, Subject};
use crate::ways::{Offer, UnusableKernel, ways};
use crate::{float_tokens, ternary_matrix};
use craftsman_kernelgen::clock::timed;

/// Every kernel that is offered and, called `selected`, the one that a user gets, beside golden, all from floats to
/// floats.
pub fn field(m: usize, k: usize, caps: &HardwareCaps, offer: Offer) -> Field {
    let (w, compiler) = (ternary_matrix(m, k), KernelCompiler::new(caps.clone()));
    let key = KernelKey::new(m, k, Batch::Decode, w.granularity());
    let (mut subjects, mut unusable) = (Vec::new(), Vec::new());
    for (name, config) in ways(compiler.caps(), &key, offer) {
        let linear = compiler
            .linear_with(&[&w], LinearOptions { preferred: &[config], ..LinearOptions::default() })
            .map_err(|error| error.to_string());
        match linear.and_then(|linear| check(&linear, 1, &config).map(|()| linear)) {
            Ok(linear) => subjects.push(layer(&name, linear)),
            Err(reason) => unusable.push(UnusableKernel { key, config, reason }),
        }
    }
    let selected = compiler.linear(&w).expect("the portable kernel exists for every shape");
    subjects.push(layer("selected", selected));
    let golden = golden(w.k(), (m * k) as f64, move |row| ternary_gemm(&w, &row.q, &[row.scale]));
    Field { subjects, references: vec![golden], unusable }
}

/// Gate and up matrix `[m, k]` of a feed-forward block in one kernel, `silu(gate) * up`, beside golden's three steps.
pub fn gated_field(m: usize, k: usize, caps: &HardwareCaps) -> Field {
    let w = ternary_matrix(m, k);
    let fused = KernelCompiler::new(caps.clone())
        .linear_with(&[&w, &w], LinearOptions { epilogue: Epilogue::Silu, ..LinearOptions::default() });
    let mut subject = layer("selected", fused.expect("the portable kernel exists for every shape"));
    subject.contestant.work *= 2.0;
    let golden = golden(k, 2.0 * (m * k) as f64, move |row| {
        let gate = ternary_gemm(&w, &row.q, &[row.scale]);
        let mut up = ternary_gemm(&w, &row.q, &[row.scale]);
        silu_mul(&gate, &mut up);
        up
    });
    Field { subjects: vec![subject], references: vec![golden], unusable: Vec::new() }
}

fn layer(name: &str, linear: TernaryLinear) -> Subject {
    let (m, k) = (linear.m(), linear.k());
    let config = linear.kernel(1).config().to_string();
    let (work, bytes) = ((m * k) as f64, linear.size() as f64);
    let input = float_tokens(1, k);
    let (mut x, mut y) = (Activations::new(), vec![0.0; m]);
    let contestant = Contestant::new(name, work, bytes, move |calls| {
        timed(|| {
            for _ in 0..calls {
                x.quantize(linear.quantizer(), black_box(&input), 1).expect("finite numbers");
                linear.prepare(&mut x);
                linear.run(&x, &mut OutputMatrix::new(black_box(&mut y), 1, m).whole());
            }
        })
    });
    Subject { contestant, config }
}

fn golden(k: usize, work: f64, layer: impl Fn(&QuantizedRow) -> Vec<f32> + 'static) -> Contestant<'static> {
    let input = float_tokens(1, k);
    Contestant::new("golden", work, work, move |calls| {
        timed(|| {
            for _ in 0..calls {
                let row = absmax(black_box(&input)).expect("finite numbers");
                black_box(layer(&row));
            }
        })
    })
}
