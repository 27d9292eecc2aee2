//! Layers from floats to floats: quantise the input, make the form of it that the kernel reads, multiply.
//!
//! `cargo bench -p craftsman-benches --bench layers`; throughput is in weights times tokens (multiply-adds).

use std::hint::black_box;

use craftsman_benches::{float_tokens, ternary_matrix};
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{Activations, KernelCompiler, OutputMatrix};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Output features, input features: the projections of a 2B model.
const SHAPES: [(usize, usize); 3] = [(2560, 2560), (6912, 2560), (2560, 6912)];
const TOKENS: [usize; 3] = [1, 8, 64];

fn layers(criterion: &mut Criterion) {
    let (compiler, mut x) = (KernelCompiler::new(HardwareCaps::detect()), Activations::new());
    for (m, k) in SHAPES {
        let mut group = criterion.benchmark_group(format!("layer {m}x{k}"));
        let linear =
            compiler.linear(&ternary_matrix(m, k)).expect("the portable kernel exists for every shape");
        for n in TOKENS {
            group.throughput(Throughput::Elements((m * k * n) as u64)).sample_size(20);
            let (input, mut y) = (float_tokens(n, k), vec![0.0; n * m]);
            group.bench_function(BenchmarkId::from_parameter(format!("{n} tokens")), |bencher| {
                bencher.iter(|| {
                    x.quantize(linear.quantizer(), black_box(&input), n).expect("finite numbers");
                    linear.prepare(&mut x);
                    linear.run(&x, &mut OutputMatrix::new(black_box(&mut y), n, m).whole());
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
