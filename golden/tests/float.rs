//! The floating-point operations against `f64` and against independent formulas.

use craftsman_golden::balance;
use craftsman_golden::float::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Distance from `value` to the exact one in units of the last place of the exact one.
fn ulps(value: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    let step = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
    (f64::from(value) - exact).abs() / step
}

/// Every 997th float from `low` to `high`, which have the same sign.
fn sweep(low: f32, high: f32) -> impl Iterator<Item = f32> {
    let (a, b) = (low.to_bits(), high.to_bits());
    (a.min(b)..=a.max(b)).step_by(997).map(f32::from_bits)
}

#[test]
fn exp_is_within_one_ulp_everywhere() {
    let inputs =
        sweep(0.0, 88.722_83).chain(sweep(-0.0, -87.336_54)).chain([88.722_83, -87.336_54, 0.0, -0.0]);
    let (worst, at) = inputs
        .map(|x| (ulps(exp(x), f64::from(x).exp()), x))
        .fold((0.0, 0.0), |worst, seen| if seen.0 > worst.0 { seen } else { worst });
    println!("worst {worst} ulp at {at}");
    assert!(worst <= 1.0, "{worst} ulp at {at}");
}

#[test]
fn exp_saturates_and_keeps_nan() {
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(-0.0), 1.0);
    for low in [-87.336_55, -100.0, -1e30, f32::MIN, f32::NEG_INFINITY] {
        assert_eq!(exp(low).to_bits(), 0, "exp({low})");
    }
    for high in [88.722_84, 100.0, 1e30, f32::MAX, f32::INFINITY] {
        assert_eq!(exp(high), f32::INFINITY, "exp({high})");
    }
    assert!(exp(88.722_83).is_finite() && exp(-87.336_54).is_normal());
    for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff), f32::from_bits(0x7f80_0001)] {
        assert!(exp(nan).is_nan());
    }
}

#[test]
fn activations_are_the_textbook_functions() {
    for x in sweep(1e-20, 80.0).flat_map(|x| [x, -x]).chain([0.0]).step_by(31) {
        let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
        assert!(ulps(sigmoid(x), exact) <= 3.0, "sigmoid({x})");
        assert!(ulps(silu(x), f64::from(x) * exact) <= 3.0, "silu({x})");
    }
    assert_eq!((sigmoid(f32::NEG_INFINITY), sigmoid(f32::INFINITY)), (0.0, 1.0));
    assert_eq!((silu(-1e4), silu(1e4), silu(0.0)), (0.0, 1e4, 0.0));
    assert_eq!((relu2(-3.0), relu2(3.0), relu2(-0.0).to_bits()), (0.0, 9.0, 0));
    assert!(relu2(f32::NAN).is_nan() && silu(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
}

#[test]
fn gated_products_are_elementwise() {
    let gate = [-1.0, 0.5, 3.0];
    let (mut a, mut b, mut c) = ([2.0, -4.0, 0.25], [2.0, -4.0, 0.25], [1.0, 2.0, 3.0]);
    silu_mul(&gate, &mut a);
    relu2_mul(&gate, &mut b);
    assert_eq!(a, [silu(-1.0) * 2.0, silu(0.5) * -4.0, silu(3.0) * 0.25]);
    assert_eq!(b, [0.0, -1.0, 2.25]);
    add(&mut c, &gate);
    axpy(2.0, &gate, &mut c);
    assert_eq!(c, [-2.0, 3.5, 12.0]);
}

#[test]
fn reductions_use_sixteen_lanes() {
    assert_eq!(sum16(&[]), 0.0);
    assert_eq!(dot16(&[], &[]), 0.0);
    // Lanes 0 and 8 meet first: 2^24 swallows a lone 1, but 1 + 1 of lanes 1 and 9 survive.
    let mut x = [0.0; 17];
    (x[0], x[8], x[1], x[9]) = (16_777_216.0, 1.0, 1.0, 1.0);
    assert_eq!(sum16(&x), 16_777_218.0);
    // Element 16 comes back to lane 0, before any fold.
    let mut x = [0.0; 17];
    (x[0], x[16], x[8]) = (16_777_216.0, -16_777_216.0, 1.0);
    assert_eq!(sum16(&x), 1.0);
    // Fused: the product's low half survives the subtraction.
    let e = f32::EPSILON;
    let (mut a, mut b) = ([0.0; 17], [0.0; 17]);
    (a[0], b[0], a[16], b[16]) = (1.0 + 2.0 * e, -1.0, 1.0 + e, 1.0 + e);
    assert_eq!(dot16(&a, &b), e * e);
}

#[test]
fn rms_norm_is_the_formula() {
    let (x, w) = ([3.0, -4.0, 0.0, 5.0], [1.0, 2.0, 3.0, -1.0]);
    let mut out = [0.0; 4];
    rms_norm(&x, &w, 0.5, &mut out);
    let r = 1.0 / (12.5_f32 + 0.5).sqrt();
    assert_eq!(out, [3.0 * r, -4.0 * r * 2.0, 0.0, -(5.0 * r)]);
}

#[test]
fn matmul_adds_in_ascending_k() {
    let w = [16_777_216.0, 1.0, -16_777_216.0, 1.0, 2.0, 3.0];
    assert_eq!(matmul(&w, &[1.0, 1.0, 1.0, 0.0, 1.0, 1.0], 3), [0.0, 6.0, -16_777_215.0, 5.0]);
}

#[test]
fn widening_is_exact() {
    let x = [0.0, -0.0, 1.5, 6.0e-8, 65504.0];
    assert_eq!(widen_f16(&x.map(half::f16::from_f32)), [0.0, -0.0, 1.5, 5.960_464_5e-8, 65504.0]);
    assert_eq!(widen_bf16(&[half::bf16::from_f32(-1.0e38)]), [half::bf16::from_f32(-1.0e38).to_f32()]);
}

#[test]
fn rope_frequencies_and_angles_match_libm() {
    for theta in [1e4, 5e5, 1e6, 1_000_042.0, 1.5] {
        let table = RopeTable::new(128, theta, &RopeScaling::None);
        assert_eq!(table.dims(), 128);
        for (i, f) in table.frequencies().iter().enumerate() {
            let exact = f64::powf(theta, -2.0 * i as f64 / 128.0);
            assert!((f / exact - 1.0).abs() < 4e-15, "theta {theta}, {i}: {f} for {exact}");
        }
        for position in [0, 1, 2, 3, 100, 4095, 131_071, 1_000_003] {
            let mut x: Vec<f32> = (0..128).map(|i| if i < 64 { 1.0 } else { 0.0 }).collect();
            table.apply(RopePairing::Neox, position, &mut x);
            for (i, f) in table.frequencies().iter().enumerate() {
                let (sin, cos) = (position as f64 * f).sin_cos();
                assert!((f64::from(x[i]) - cos).abs() < 4e-8 && (f64::from(x[64 + i]) - sin).abs() < 4e-8);
            }
        }
    }
    let strange = RopeTable::new(4, f64::NAN, &RopeScaling::None);
    assert!(strange.frequencies()[1].is_nan(), "no panic on nonsense");
}

#[test]
fn rope_pairings_differ_by_a_permutation_only() {
    let table = RopeTable::new(8, 1e4, &RopeScaling::None);
    let x: Vec<f32> = (0..10).map(|i| i as f32 - 3.5).collect();
    let mut neox = x.clone();
    table.apply(RopePairing::Neox, 5, &mut neox);
    let mut norm: Vec<f32> = (0..8).map(|i| x[i / 2 + i % 2 * 4]).chain([x[8], x[9]]).collect();
    table.rotation(5).apply(RopePairing::Norm, &mut norm);
    for i in 0..8 {
        assert_eq!(norm[i].to_bits(), neox[i / 2 + i % 2 * 4].to_bits());
    }
    assert_eq!((&neox[8..], &norm[8..]), (&x[8..], &x[8..]), "what lies behind the turning dimensions stays");
    let mut still = x.clone();
    table.apply(RopePairing::Neox, 0, &mut still);
    assert_eq!(still, x);
}

#[test]
fn llama3_scaling_follows_hugging_face() {
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 128.0,
    };
    let plain = RopeTable::new(16, 500_000.0, &RopeScaling::None);
    let scaled = RopeTable::new(16, 500_000.0, &scaling);
    let mut kinds = [0; 3];
    for (f, s) in plain.frequencies().iter().zip(scaled.frequencies()) {
        // _compute_llama3_parameters, as it is written there.
        let wavelen = 2.0 * std::f64::consts::PI / f;
        let llama = if wavelen > 128.0 / 1.0 { f / 8.0 } else { *f };
        let smooth = (128.0 / wavelen - 1.0) / (4.0 - 1.0);
        let smoothed = (1.0 - smooth) * llama / 8.0 + smooth * llama;
        let medium = (128.0 / 4.0..=128.0 / 1.0).contains(&wavelen);
        let expected = if medium { smoothed } else { llama };
        kinds[if medium { 1 } else { 2 * usize::from(wavelen > 128.0) }] += 1;
        assert!((s / expected - 1.0).abs() < 1e-14);
    }
    assert!(kinds.iter().all(|&n| n > 0), "all three bands are seen: {kinds:?}");
}

/// `_compute_yarn_parameters` of transformers, as it is written there, for DeepSeek-V2-Lite.
#[test]
fn yarn_follows_hugging_face() {
    let (dims, theta, factor, context) = (64.0_f64, 1e4_f64, 40.0_f64, 4096.0_f64);
    let magnitude = Yarn::magnitude(factor, 1.0);
    assert!((magnitude - (0.1 * factor.ln() + 1.0)).abs() < 1e-14);
    assert_eq!(Yarn::magnitude(0.5, 1.0), 1.0);
    let yarn = Yarn { factor, original_context: context, beta_fast: 32.0, beta_slow: 1.0, magnitude };
    let table = RopeTable::new(64, theta, &RopeScaling::Yarn(yarn));
    let correction_dim = |rotations: f64| {
        dims * (context / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln())
    };
    let (low, high) = (correction_dim(32.0).floor(), correction_dim(1.0).ceil());
    assert_eq!((low, high), (10.0, 23.0));
    for (i, f) in table.frequencies().iter().enumerate() {
        let position_frequency = theta.powf(2.0 * i as f64 / dims);
        let extrapolation_factor = 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
        let expected = 1.0 / (factor * position_frequency) * (1.0 - extrapolation_factor)
            + 1.0 / position_frequency * extrapolation_factor;
        assert!((f / expected - 1.0).abs() < 1e-13, "{i}");
    }
    let mut x = [1.0; 64];
    table.apply(RopePairing::Norm, 0, &mut x);
    assert_eq!(x[0], magnitude as f32, "the magnitude multiplies sine and cosine");
}

#[test]
fn linear_scaling_and_divisors_divide() {
    let plain = RopeTable::new(8, 1e4, &RopeScaling::None);
    let linear = RopeTable::new(8, 1e4, &RopeScaling::Linear { factor: 4.0 });
    let divided = RopeTable::new(8, 1e4, &RopeScaling::Divisors(vec![1.0, 2.0, 8.0]));
    for (i, f) in plain.frequencies().iter().enumerate() {
        assert_eq!(linear.frequencies()[i], f / 4.0);
        assert_eq!(divided.frequencies()[i], f / [1.0, 2.0, 8.0, 1.0][i]);
    }
}

#[test]
fn attention_is_the_formula() {
    let (q, keys, values) = ([1.0, 2.0], [1.0, 0.0, 0.0, 1.0, -1.0, 1.0], [1.0, 2.0, 3.0]);
    let mut p = [0.5 * 1.0, 0.5 * 2.0, 0.5 * 1.0];
    softmax(&mut p);
    let expected = p[2].mul_add(3.0, p[1].mul_add(2.0, p[0] * 1.0));
    assert_eq!(attention(&q, &keys, &values, 0.5), [expected]);
    assert_eq!(
        attention(&q, &[3.0, 4.0], &[7.0, 8.0, 9.0], 1.0),
        [7.0, 8.0, 9.0],
        "one key has all the weight"
    );
}

#[test]
fn latent_rows_are_keys_and_values_at_once() {
    let (q, rows) = ([1.0, 2.0, -1.0], [1.0, 0.0, 0.5, 0.0, 1.0, 0.25]);
    let values = [1.0, 0.0, 0.0, 1.0];
    assert_eq!(latent_attention(&q, &rows, 2, 0.5), attention(&q, &rows, &values, 0.5));
}

#[test]
fn a_convolution_adds_oldest_first() {
    let mut out = [9.0; 2];
    depthwise(&[16_777_216.0, 1.0, 1.0, 2.0, -16_777_216.0, 3.0], &[1.0, 2.0, 1.0, 3.0, 1.0, 4.0], &mut out);
    assert_eq!(out, [0.0, 20.0]);
    depthwise(&[2.0, 3.0], &[0.5, 2.0], &mut out);
    assert_eq!(out, [1.0, 6.0]);
}

#[test]
fn a_clamped_gate_has_no_lower_limit() {
    let (mut gate, mut up) = ([-9.0, 9.0, f32::NAN], [-9.0, 9.0, f32::NAN]);
    clamp_gated(&mut gate, &mut up, 7.0);
    assert_eq!((&gate[..2], &up[..2]), (&[-9.0, 7.0][..], &[-7.0, 7.0][..]));
    assert!(gate[2].is_nan() && up[2].is_nan());
}

#[test]
fn grouped_heads_share_keys() {
    let q: Vec<f32> = (0..8).map(|i| i as f32 / 4.0 - 1.0).collect();
    let keys: Vec<f32> = (0..12).map(|i| (i * 7 % 5) as f32).collect();
    let values: Vec<f32> = (0..12).map(|i| (i * 5 % 7) as f32).collect();
    let all = grouped_attention(&q, &keys, &values, 4, 2, 0.7);
    for head in 0..4 {
        let kv = head / 2 * 6..head / 2 * 6 + 6;
        let one = attention(&q[head * 2..][..2], &keys[kv.clone()], &values[kv], 0.7);
        assert_eq!(all[head * 2..][..2], one[..]);
    }
}

/// The two best of a softmax, renormalised.
const SOFTMAX: Routing =
    Routing { gate: Gate::Softmax, top_k: 2, groups: None, renormalise: true, scale: 1.0 };

#[test]
fn the_router_breaks_ties_to_the_lower_index() {
    let two = SOFTMAX;
    assert_eq!(router(&[1.0; 4], None, &two), [(0, 0.5), (1, 0.5)]);
    assert_eq!(router(&[1.0; 4], None, &Routing { renormalise: false, ..two }), [(0, 0.25), (1, 0.25)]);
    assert_eq!(router(&[0.0, 5.0, 5.0, 5.0], None, &two), [(1, 0.5), (2, 0.5)]);
    assert_eq!(router(&[3.0], None, &Routing { top_k: 8, ..two }), [(0, 1.0)], "no more than there are");
    assert_eq!(router(&[f32::NAN, 1.0], None, &Routing { top_k: 1, ..two }).len(), 1, "no panic on nonsense");
}

#[test]
fn a_bias_chooses_and_does_not_weigh() {
    let sigmoids = Routing { gate: Gate::Sigmoid, scale: 1.8, ..SOFTMAX };
    let logits = [0.5, -1.0, 0.25, -3.0];
    let weight = |expert: usize| sigmoid(logits[expert]);
    let sum = weight(0) + weight(3);
    let chosen = router(&logits, Some(&[0.0, 0.0, -0.5, 0.9]), &sigmoids);
    assert_eq!(chosen, [(0, weight(0) / sum * 1.8), (3, weight(3) / sum * 1.8)]);
    let raw = router(&logits, None, &Routing { renormalise: false, scale: 1.0, ..sigmoids });
    assert_eq!(raw, [(0, weight(0)), (2, weight(2))]);
}

#[test]
fn experts_are_chosen_from_the_best_groups() {
    let groups = Some(Groups { count: 3, used: 1 });
    let one = Routing { groups, renormalise: false, ..SOFTMAX };
    let experts = |logits: &[f32], bias, routing| -> Vec<usize> {
        router(logits, bias, &routing).into_iter().map(|chosen| chosen.0).collect()
    };
    // The largest score is in the first group, the largest sum of two in the second.
    let logits = [3.0, -3.0, 2.0, 2.0, 1.0, 0.0];
    assert_eq!(experts(&logits, None, one), [0, 1], "the largest score marks a group");
    let sigmoids = Routing { gate: Gate::Sigmoid, ..one };
    assert_eq!(experts(&logits, None, sigmoids), [0, 1], "whatever the gate");
    assert_eq!(experts(&logits, Some(&[0.0; 6]), sigmoids), [2, 3], "with a bias the sum of two");
    let bias = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0];
    assert_eq!(experts(&logits, Some(&bias), sigmoids), [4, 5], "which counts");
    assert_eq!(experts(&[1.0; 6], None, one), [0, 1], "of equal groups the lower");
    let negative = Routing { groups: Some(Groups { count: 3, used: 2 }), top_k: 4, ..sigmoids };
    assert_eq!(experts(&logits, Some(&[-9.0; 6]), negative), [2, 3, 4, 5], "others stay out below zero too");
}

#[test]
fn a_vanishing_sum_does_not_blow_up() {
    let sigmoids = Routing { gate: Gate::Sigmoid, ..SOFTMAX };
    let chosen = router(&[-30.0, -40.0, -50.0], None, &sigmoids);
    assert_eq!(chosen[0], (0, sigmoid(-30.0) * 16384.0));
}

proptest! {
    #[test]
    fn softmax_sums_to_one(mut x in vec(-50.0_f32..50.0, 1..200)) {
        let exact: Vec<f64> = x.iter().map(|v| f64::from(*v).exp()).collect();
        let sum: f64 = exact.iter().sum();
        softmax(&mut x);
        for (p, e) in x.iter().zip(&exact) {
            prop_assert!((f64::from(*p) - e / sum).abs() <= 1e-5 * (e / sum) + f64::from(f32::MIN_POSITIVE));
        }
    }

    #[test]
    fn reductions_are_sums(x in vec(-8_i8..8, 0..100), y in vec(-8_i8..8, 100)) {
        let a: Vec<f32> = x.iter().map(|v| f32::from(*v)).collect();
        let b: Vec<f32> = y[..x.len()].iter().map(|v| f32::from(*v)).collect();
        let dot: i32 = x.iter().zip(&y).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum();
        prop_assert_eq!(dot16(&a, &b), dot as f32);
        prop_assert_eq!(sum16(&a), x.iter().map(|v| i32::from(*v)).sum::<i32>() as f32);
    }

    #[test]
    fn the_router_chooses_the_largest(logits in vec(-9.0_f32..9.0, 1..40), top_k in 1_usize..9) {
        let chosen = router(&logits, None, &Routing { top_k, ..SOFTMAX });
        prop_assert_eq!(chosen.len(), top_k.min(logits.len()));
        prop_assert!(chosen.is_sorted_by_key(|c| c.0));
        let least = chosen.iter().map(|c| logits[c.0]).fold(f32::INFINITY, f32::min);
        let outside = (0..logits.len()).filter(|i| chosen.iter().all(|c| c.0 != *i));
        for i in outside {
            prop_assert!(logits[i] <= least + 1e-6);
        }
        prop_assert!((chosen.iter().map(|c| c.1).sum::<f32>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn groups_hold_all_that_is_chosen(
        logits in vec(-9.0_f32..9.0, 24),
        bias in vec(-1.0_f32..1.0, 24),
        used in 1_usize..7,
        top_k in 1_usize..5,
        sigmoids in any::<bool>(),
    ) {
        let groups = Some(Groups { count: 6, used });
        let (gate, bias) = if sigmoids { (Gate::Sigmoid, Some(&bias[..])) } else { (Gate::Softmax, None) };
        let routing = Routing { gate, top_k, groups, ..SOFTMAX };
        let chosen = router(&logits, bias, &routing);
        prop_assert_eq!(chosen.len(), top_k);
        let mut within: Vec<usize> = chosen.iter().map(|c| c.0 / 4).collect();
        within.dedup();
        prop_assert!(within.len() <= used);
        if used == 6 {
            prop_assert_eq!(chosen, router(&logits, bias, &Routing { groups: None, ..routing }));
        }
    }

    #[test]
    fn capacity_bounds_every_load(
        chosen in vec(0_usize..7, 0..60),
        factor in 0.1_f64..3.0,
    ) {
        let room = balance::capacity(factor, chosen.len(), 1, 7);
        let over = balance::overflow(&chosen, 7, room);
        let kept = (0..chosen.len()).filter(|place| over.binary_search(place).is_err());
        let load = balance::load(kept.map(|place| chosen[place]), 7);
        prop_assert!(load.iter().all(|&load| load <= room as u64));
        let all = balance::load(chosen.iter().copied(), 7);
        let beyond: u64 = all.iter().map(|&load| load.saturating_sub(room as u64)).sum();
        prop_assert_eq!(over.len() as u64, beyond, "no more than must are left out");
        let even = balance::loss(&all, &[0.25; 7]);
        prop_assert!((even - 1.0).abs() < 1e-12);
        let own: Vec<f64> = all.iter().map(|&load| load as f64).collect();
        prop_assert!(balance::loss(&all, &own) >= 1.0 - 1e-12, "a router that means what it does is best when even");
    }

    #[test]
    fn rope_keeps_lengths(x in vec(-4.0_f32..4.0, 64), position in 0_usize..100_000) {
        let table = RopeTable::new(64, 1e6, &RopeScaling::None);
        for pairing in [RopePairing::Neox, RopePairing::Norm] {
            let mut y = x.clone();
            table.apply(pairing, position, &mut y);
            prop_assert!((dot16(&x, &x) - dot16(&y, &y)).abs() <= 1e-4 * dot16(&x, &x) + 1e-30);
        }
    }
}
