//! Emitted kernels, and golden's scalar twin compiled for the same machine, in one run.
//!
//! `cargo bench -p craftsman-benches --bench kernels`; throughput is in weights times tokens (multiply-adds). For figures
//! that compare between days and machines there is `cargo xtask bench`.

use std::hint::black_box;

use craftsman_benches::ways::{Offer, ways};
use craftsman_benches::{quantized_tokens, ternary_matrix};
use craftsman_golden::gemm::ternary_gemm;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{Activations, Batch, KernelCompiler, KernelKey, LinearOptions, OutputMatrix};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Output features, input features, tokens: a projection and the down projection of a 2B model, one and many tokens.
const SHAPES: [(usize, usize, usize); 4] =
    [(2560, 2560, 1), (2560, 6912, 1), (2560, 2560, 64), (2560, 6912, 64)];

fn products(criterion: &mut Criterion) {
    let compiler = KernelCompiler::new(HardwareCaps::detect());
    for (m, k, n) in SHAPES {
        let mut group = criterion.benchmark_group(format!("{m}x{k}, {n} tokens"));
        group.throughput(Throughput::Elements((m * k * n) as u64)).sample_size(20);
        let (w, (q, a)) = (ternary_matrix(m, k), quantized_tokens(n, k));
        let mut y = vec![0.0; n * m];
        for (_, config) in
            ways(compiler.caps(), &KernelKey::new(m, k, Batch::of(n), w.granularity()), Offer::Best)
        {
            let linear = compiler
                .linear_with(&[&w], LinearOptions { preferred: &[config], ..LinearOptions::default() })
                .expect("the portable kernel exists for every shape");
            let mut x = Activations::from_quantized(&q, &a, k, linear.scales());
            linear.prepare(&mut x);
            group.bench_function(BenchmarkId::from_parameter(linear.kernel(n).config()), |bencher| {
                bencher.iter(|| linear.run(&x, &mut OutputMatrix::new(black_box(&mut y), n, m).whole()));
            });
        }
        if n == 1 {
            group.bench_function("golden", |bencher| bencher.iter(|| ternary_gemm(black_box(&w), &q, &a)));
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
