//! Every backend of this machine x family x interesting shape, against golden, bit for bit.

use std::collections::HashSet;

use craftsman_golden::gemm::ternary_gemm;
use craftsman_golden::{Granularity, Scales, TernaryMatrix};
use craftsman_isa::{HardwareCaps, Tier};
use craftsman_kernelgen::{
    Activations, Batch, KernelCompiler, KernelKey, OutputMatrix, VERIFY_SEED, candidates, verify_native,
};
use proptest::prelude::*;

/// The compilers to judge: one for each tier that this machine has.
fn compilers() -> Vec<KernelCompiler> {
    let tiers = [Tier::Portable, Tier::Avx2, Tier::AvxVnni, Tier::Avx512, Tier::Avx512Vnni, Tier::Amx];
    let caps = HardwareCaps::detect();
    for tier in tiers.iter().filter(|&&tier| tier > caps.tier()) {
        println!("skipped: this machine has no {tier:?}; see tests/simulated.rs");
    }
    let tiers = tiers.into_iter().filter(|&tier| tier <= caps.tier());
    tiers.map(|tier| KernelCompiler::new(caps.clone().with_max_tier(tier))).collect()
}

fn granularities() -> impl Strategy<Value = Granularity> {
    prop_oneof![
        Just(Granularity::Tensor),
        Just(Granularity::Row),
        prop_oneof![Just(64), Just(128), Just(256)].prop_map(Granularity::Block),
    ]
}

prop_compose! {
    fn matrices()(m in 1_usize..300, k in 1_usize..700, scales in granularities())(
        trits in prop::collection::vec(-1_i8..=1, m * k),
        values in prop::collection::vec(-2.0_f32..2.0, match scales {
            Granularity::Tensor => 1,
            Granularity::Row => m,
            Granularity::Block(size) => m * k.div_ceil(size),
        }),
        m in Just(m), k in Just(k), scales in Just(scales),
    ) -> TernaryMatrix {
        let scales = match scales {
            Granularity::Tensor => Scales::Tensor(values[0]),
            Granularity::Row => Scales::Row(values),
            Granularity::Block(size) => Scales::Block { size, values },
        };
        TernaryMatrix::new(m, k, trits, scales).unwrap()
    }
}

fn run(compiler: &KernelCompiler, w: &TernaryMatrix, q: &[i8], a: &[f32], parts: usize) -> Vec<u32> {
    let linear = compiler.linear(w).unwrap();
    let mut x = Activations::from_quantized(q, a, w.k(), linear.scales());
    linear.prepare(&mut x);
    let mut y = vec![f32::NAN; a.len() * w.m()];
    for part in &mut OutputMatrix::new(&mut y, a.len(), w.m()).split(linear.panel_rows(), parts) {
        linear.run(&x, part);
    }
    y.iter().map(|y| y.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_kernel_equals_golden(
        w in matrices(),
        tokens in prop::collection::vec((any::<[u64; 2]>(), 1e-3_f32..1e3), 1..=70),
        parts in 1_usize..5,
    ) {
        let a: Vec<f32> = tokens.iter().map(|(_, a)| *a).collect();
        let q: Vec<i8> = tokens.iter().flat_map(|(seed, _)| {
            (0..w.k()).map(|column| (seed[0].wrapping_mul(column as u64 * 2 + 1).wrapping_add(seed[1]) >> 29) as i8)
        }).collect();
        let expected: Vec<u32> = ternary_gemm(&w, &q, &a).iter().map(|y| y.to_bits()).collect();
        for compiler in compilers() {
            prop_assert_eq!(&run(&compiler, &w, &q, &a, parts), &expected, "{:?}", compiler.caps().tier());
            let one: Vec<u32> = ternary_gemm(&w, &q[..w.k()], &a[..1]).iter().map(|y| y.to_bits()).collect();
            prop_assert_eq!(run(&compiler, &w, &q[..w.k()], &a[..1], parts), one, "{:?}", compiler.caps().tier());
        }
    }
}

/// One below, at and above every edge of a tile, and the longest rows, which the verification at load covers.
#[test]
fn kernels_at_every_edge_are_verified() {
    let edges =
        |unit: usize, count: usize| (1..=count).flat_map(move |n| [n * unit - 1, n * unit, n * unit + 1]);
    let mut failures = Vec::new();
    for compiler in compilers() {
        for m in edges(64, 5).chain([1, 15, 16, 17, 31, 33]) {
            for k in [1_usize, 3, 4, 5, 59, 60, 61, 64, 255, 256, 257] {
                for scales in [Granularity::Tensor, Granularity::Row, Granularity::Block(64)] {
                    let blocks = if scales == Granularity::Block(64) { k.div_ceil(64) } else { 1 };
                    let scales = match scales {
                        Granularity::Tensor => Scales::Tensor(1.0),
                        Granularity::Row => Scales::Row(vec![1.0; m]),
                        Granularity::Block(size) => Scales::Block { size, values: vec![1.0; m * blocks] },
                    };
                    let w = TernaryMatrix::new(m, k, vec![1; m * k], scales).unwrap();
                    if let Err(error) = compiler.linear(&w) {
                        failures.push(error.to_string());
                    }
                }
            }
        }
        for k in [8_640, 14_336, 40_000, 140_000] {
            let w = TernaryMatrix::new(70, k, vec![-1; 70 * k], Scales::Tensor(1.0)).unwrap();
            compiler.linear(&w).unwrap();
        }
        let configs: Vec<_> = compiler.selected().iter().map(|report| report.config.backend).collect();
        println!("{:?}: {} kernels", compiler.caps().tier(), configs.len());
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Tokens whose activations are too many for one call are taken in several.
#[test]
fn many_tokens_of_wide_rows() {
    let (m, k, n) = (5, 20_000, 75);
    let number = |index: usize| index.wrapping_mul(0x9E37_79B9) >> 13;
    let trits: Vec<i8> = (0..m * k).map(|index| (number(index) % 3) as i8 - 1).collect();
    let blocks = (0..m * k.div_ceil(256)).map(|index| index as f32 + 0.5).collect();
    let q: Vec<i8> = (0..n * k).map(|index| number(index) as i8).collect();
    let a: Vec<f32> = (0..n).map(|token| token as f32 + 1.0).collect();
    for scales in [Scales::Tensor(1.5), Scales::Block { size: 256, values: blocks }] {
        let w = TernaryMatrix::new(m, k, trits.clone(), scales).unwrap();
        let expected: Vec<u32> = ternary_gemm(&w, &q, &a).iter().map(|y| y.to_bits()).collect();
        for compiler in compilers() {
            assert_eq!(run(&compiler, &w, &q, &a, 1), expected, "{:?}", compiler.caps().tier());
        }
    }
}

/// Activations of four bits: every algorithm of this machine, with values of their whole range.
#[test]
fn kernels_for_four_bits_are_verified() {
    let caps = HardwareCaps::detect();
    let mut failures = Vec::new();
    for (batch, scales) in
        Batch::ALL.into_iter().zip([Granularity::Tensor, Granularity::Row, Granularity::Block(64)])
    {
        for (m, k) in [(1, 1), (5, 63), (67, 64), (130, 65), (16, 640)] {
            let key = KernelKey { activation_bits: 4, ..KernelKey::new(m, k, batch, scales) };
            let mut seen = HashSet::new();
            for config in candidates(&caps, &key) {
                if seen.insert((config.backend, config.family, config.variant)) {
                    failures.extend(verify_native(&key, &config, &caps, VERIFY_SEED).err());
                }
            }
            assert!(seen.iter().any(|(_, family, _)| *family == "sliced"), "{key}");
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
