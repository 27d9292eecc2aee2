//! Emitted quantisers against golden's, bit for bit, on every tier of this machine.

use craftsman_golden::Granularity;
use craftsman_golden::quantize::absmax_bits;
use craftsman_isa::{HardwareCaps, Tier};
use craftsman_kernelgen::{Activations, KernelCompiler};
use proptest::prelude::*;

fn compilers() -> Vec<KernelCompiler> {
    let caps = HardwareCaps::detect();
    let tiers = Tier::ALL.into_iter().filter(|&tier| tier <= caps.tier());
    tiers.map(|tier| KernelCompiler::new(caps.clone().with_max_tier(tier))).collect()
}

/// Golden's values, as activations.
fn expected(x: &[f32], k: usize, scales: Granularity, bits: u8) -> Activations {
    let rows: Vec<_> = x.chunks(k).map(|x| absmax_bits(x, bits.into()).unwrap()).collect();
    let q: Vec<i8> = rows.iter().flat_map(|row| row.q.iter().copied()).collect();
    let a: Vec<f32> = rows.iter().map(|row| row.scale).collect();
    Activations::from_quantized(&q, &a, k, scales).with_bits(bits)
}

fn check(x: &[f32], k: usize, scales: Granularity, bits: u8) {
    for compiler in compilers() {
        let quantizer = compiler.quantizer(k, scales, bits).unwrap();
        let mut found = Activations::new();
        found.quantize(&quantizer, x, x.len() / k).unwrap();
        assert!(found.same_values(&expected(x, k, scales, bits)), "{} {k} {scales:?}", quantizer.backend());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn values_and_sums_are_goldens(
        k in 1_usize..600,
        tokens in 1_usize..5,
        block in prop_oneof![Just(None), Just(Some(64)), Just(Some(128)), Just(Some(256))],
        bits in prop_oneof![Just(8_u8), Just(4)],
        magnitude in -30..30,
        seed: u64,
    ) {
        let scales = block.map_or(Granularity::Tensor, Granularity::Block);
        let value = |at: usize| {
            let mixed = seed.wrapping_add(at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            ((mixed >> 40) as f32 / (1 << 23) as f32 - 1.0) * (magnitude as f32).exp2()
        };
        let x: Vec<f32> = (0..tokens * k).map(value).collect();
        check(&x, k, scales, bits);
    }
}

#[test]
fn rounding_ties_fall_as_in_golden() {
    // The multiplier is 127 / 127 = 1, and 127 / 254: every half is a tie.
    for largest in [127.0_f32, 254.0] {
        let x: Vec<f32> =
            (-254..=254).map(|i| i as f32 / 254.0 * largest).chain([-largest, largest]).collect();
        check(&x, x.len(), Granularity::Tensor, 8);
    }
}

#[test]
fn non_finite_activations_are_found_wherever_they_stand() {
    for compiler in compilers() {
        for k in [1, 7, 8, 16, 33, 100] {
            let quantizer = compiler.quantizer(k, Granularity::Row, 8).unwrap();
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = vec![1.0; 3 * k];
                x[2 * k - 1] = bad;
                let error = Activations::new().quantize(&quantizer, &x, 3).unwrap_err();
                assert_eq!((error.index, error.value.to_bits()), (2 * k - 1, bad.to_bits()));
            }
        }
    }
}
