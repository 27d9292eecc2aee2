//! How long a kernel takes to emit, every configuration that the selector offers.
//!
//! `cargo bench -p craftsman-benches --bench emission`

use craftsman_golden::Granularity;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{Batch, KernelKey, candidates, emit};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn emission(criterion: &mut Criterion) {
    let caps = HardwareCaps::detect();
    for batch in Batch::ALL {
        let key = KernelKey::new(2560, 6912, batch, Granularity::Tensor);
        let mut group = criterion.benchmark_group(format!("emission of {key}"));
        group.sample_size(20);
        for config in candidates(&caps, &key) {
            group.bench_function(BenchmarkId::from_parameter(config), |bencher| {
                bencher.iter(|| emit(&key, &config, &caps));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, emission);
criterion_main!(benches);
