//! Emitted kernels, and golden's scalar twin compiled for the same machine, in one run.
//!
//! `cargo bench -p craftsman-benches --bench kernels`; throughput is in weights times tokens (multiply-adds).

use std::hint::black_box;

use craftsman_benches::{quantized_tokens, ternary_matrix};
use craftsman_golden::gemm::ternary_gemm;
use craftsman_isa::{HardwareCaps, Tier};
use craftsman_kernelgen::{Activations, KernelCompiler, OutputMatrix, candidates, emit};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Output features, input features, tokens: a projection and the down projection of a 2B model, one and many tokens.
const SHAPES: [(usize, usize, usize); 4] =
    [(2560, 2560, 1), (2560, 6912, 1), (2560, 2560, 64), (2560, 6912, 64)];

/// This machine's tier and the lesser ones that have a backend of their own.
fn tiers() -> Vec<Tier> {
    let own = HardwareCaps::detect().tier();
    let lesser = [Tier::Avx2, Tier::Portable].into_iter().filter(|&tier| tier < own);
    std::iter::once(own).chain(lesser).collect()
}

fn products(criterion: &mut Criterion) {
    for (m, k, n) in SHAPES {
        let mut group = criterion.benchmark_group(format!("{m}x{k}, {n} tokens"));
        group.throughput(Throughput::Elements((m * k * n) as u64)).sample_size(20);
        let (w, (q, a)) = (ternary_matrix(m, k), quantized_tokens(n, k));
        let mut y = vec![0.0; n * m];
        for tier in tiers() {
            let compiler = KernelCompiler::new(HardwareCaps::detect().with_max_tier(tier));
            let linear = compiler.linear(&w).expect("the portable kernel exists for every shape");
            let mut x = Activations::from_quantized(&q, &a, k, linear.scales());
            linear.prepare(&mut x);
            let kernel = linear.kernel(n);
            group.bench_function(BenchmarkId::from_parameter(kernel.config()), |bencher| {
                bencher.iter(|| linear.run(&x, &mut OutputMatrix::new(black_box(&mut y), n, m).whole()));
            });
        }
        if n == 1 {
            group.bench_function("golden", |bencher| bencher.iter(|| ternary_gemm(black_box(&w), &q, &a)));
        }
        group.finish();
    }
}

fn emission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("emission");
    let caps = HardwareCaps::detect();
    for name in ["2560x6912-decode-tensor-a8", "2560x6912-prefill-tensor-a8"] {
        let key = name.parse().expect("a kernel key");
        for config in candidates(&caps, &key) {
            group.bench_function(BenchmarkId::new(name, config), |bencher| {
                bencher.iter(|| emit(&key, &config, &caps));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, products, emission);
criterion_main!(benches);
