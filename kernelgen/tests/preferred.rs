//! A kernel that is asked for by its configuration is the one that runs.

use craftsman_golden::gemm::ternary_gemm;
use craftsman_golden::{Granularity, Scales, TernaryMatrix};
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{
    Activations, Batch, KernelCompiler, KernelKey, LinearOptions, OutputMatrix, candidates,
};

const M: usize = 70;
const K: usize = 130;

fn weights() -> TernaryMatrix {
    let trits = (0..M * K).map(|at| (at * at % 7 % 3) as i8 - 1).collect();
    TernaryMatrix::new(M, K, trits, Scales::Tensor(0.25)).unwrap()
}

#[test]
fn every_candidate_can_be_preferred() {
    let (compiler, w) = (KernelCompiler::new(HardwareCaps::detect()), weights());
    for (batch, tokens) in [(Batch::Decode, 1), (Batch::Small, 5), (Batch::Prefill, 17)] {
        let key = KernelKey::new(M, K, batch, Granularity::Tensor);
        let q: Vec<i8> = (0..tokens * K).map(|at| (at * 37 % 256) as u8 as i8).collect();
        let a = vec![3.0; tokens];
        for config in candidates(compiler.caps(), &key) {
            let linear = compiler
                .linear_with(&[&w], LinearOptions { preferred: &[config], ..LinearOptions::default() })
                .unwrap();
            let kernel = linear.kernel(tokens);
            assert_eq!(*kernel.config(), config, "{key}");
            let mut y = vec![0.0; tokens * M];
            let mut x = Activations::from_quantized(&q, &a, K, linear.scales());
            linear.prepare(&mut x);
            linear.run(&x, &mut OutputMatrix::new(&mut y, tokens, M).whole());
            assert_eq!(y, ternary_gemm(&w, &q, &a), "{key} {config}");
        }
    }
}
