//! Ternary matrices, their quantisers and their product.

use craftsman_golden::gemm::{ternary_dot, ternary_gemm, ternary_gemm_i32};
use craftsman_golden::quantize::{NonFinite, QuantizeError};
use craftsman_golden::quantize::{
    ScaleStorage, absmax, absmax_bits, absmax_ternary, absmean, absmean_stored,
};
use craftsman_golden::{Granularity, MAX_K, Scales, ShapeError, TernaryMatrix};
use proptest::collection::vec;
use proptest::prelude::*;

const GRANULARITIES: [Granularity; 5] = [
    Granularity::Tensor,
    Granularity::Row,
    Granularity::Block(64),
    Granularity::Block(128),
    Granularity::Block(256),
];

fn block(size: usize, values: &[f32]) -> Scales {
    Scales::Block { size, values: values.to_vec() }
}

/// `[m, k]` trits with small positive scales of any granularity.
fn matrix() -> impl Strategy<Value = TernaryMatrix> {
    (1_usize..5, 1_usize..400, 0_usize..GRANULARITIES.len()).prop_flat_map(|(m, k, g)| {
        let trits = vec(-1_i8..=1, m * k);
        (trits, vec(1_u8..200, m * k.div_ceil(64))).prop_map(move |(trits, scales)| {
            let scale = |i: usize| f32::from(scales[i]) / 64.0;
            let scales = match GRANULARITIES[g] {
                Granularity::Tensor => Scales::Tensor(scale(0)),
                Granularity::Row => Scales::Row((0..m).map(scale).collect()),
                Granularity::Block(size) => {
                    Scales::Block { size, values: (0..m * k.div_ceil(size)).map(scale).collect() }
                }
            };
            TernaryMatrix::new(m, k, trits, scales).expect("the shape fits")
        })
    })
}

#[test]
fn impossible_shapes_are_typed_errors() {
    let new = TernaryMatrix::new;
    let one = Scales::Tensor(1.0);
    assert_eq!(new(0, 4, vec![], one.clone()), Err(ShapeError::Size { m: 0, k: 4 }));
    assert_eq!(new(4, 0, vec![], one.clone()), Err(ShapeError::Size { m: 4, k: 0 }));
    assert_eq!(new(1, MAX_K + 1, vec![], one.clone()), Err(ShapeError::Size { m: 1, k: MAX_K + 1 }));
    assert_eq!(new(usize::MAX, 2, vec![], one.clone()), Err(ShapeError::Size { m: usize::MAX, k: 2 }));
    assert_eq!(new(2, 2, vec![0; 3], one.clone()), Err(ShapeError::Weights { found: 3, expected: 4 }));
    assert_eq!(new(1, 2, vec![0, 2], one), Err(ShapeError::NotATrit { index: 1, value: 2 }));
    let scales = |scales| new(2, 100, vec![0; 200], scales).map(|_| ());
    assert_eq!(scales(Scales::Row(vec![1.0])), Err(ShapeError::Scales { found: 1, expected: 2 }));
    assert_eq!(scales(block(64, &[1.0; 3])), Err(ShapeError::Scales { found: 3, expected: 4 }));
    assert_eq!(scales(block(32, &[1.0; 8])), Err(ShapeError::BlockSize { size: 32 }));
    let infinite = ShapeError::ScaleNotFinite { index: 1, value: f32::INFINITY };
    assert_eq!(scales(Scales::Row(vec![1.0, f32::INFINITY])), Err(infinite));
}

#[test]
fn equal_scales_coarsen_and_unequal_ones_stay() {
    let of = |scales| TernaryMatrix::new(2, 128, vec![1; 256], scales).expect("fits").coarsened();
    assert_eq!(of(block(64, &[2.0; 4])).scales(), &Scales::Tensor(2.0));
    assert_eq!(of(block(64, &[2.0, 2.0, 3.0, 3.0])).scales(), &Scales::Row(vec![2.0, 3.0]));
    assert_eq!(of(block(64, &[2.0, 3.0, 3.0, 3.0])).scales(), &block(64, &[2.0, 3.0, 3.0, 3.0]));
    assert_eq!(of(Scales::Row(vec![2.0; 2])).scales(), &Scales::Tensor(2.0));
    assert_eq!(of(Scales::Row(vec![2.0, 3.0])).scales(), &Scales::Row(vec![2.0, 3.0]));
    assert_eq!(of(Scales::Tensor(2.0)).scales(), &Scales::Tensor(2.0));
    assert_eq!(of(Scales::Row(vec![0.0, -0.0])).granularity(), Granularity::Row, "equal means the same bits");
}

#[test]
fn granules_of_zeros_do_not_stand_in_the_way() {
    let trits = |loud: [i8; 4]| loud.into_iter().flat_map(|t| [t; 64]).collect::<Vec<_>>();
    let of = |loud, scales| TernaryMatrix::new(2, 128, trits(loud), scales).expect("fits").coarsened();
    assert_eq!(of([1, 0, 1, 1], block(64, &[2.0, 0.0, 2.0, 2.0])).scales(), &Scales::Tensor(2.0));
    assert_eq!(of([0, 1, 1, 0], block(64, &[9.0, 2.0, 2.0, -7.0])).scales(), &Scales::Tensor(2.0));
    assert_eq!(of([1, 1, 0, 0], block(64, &[2.0, 2.0, 3.0, 4.0])).scales(), &Scales::Tensor(2.0));
    assert_eq!(of([1, 0, 1, 1], block(64, &[2.0, 0.0, 3.0, 3.0])).scales(), &Scales::Row(vec![2.0, 3.0]));
    assert_eq!(
        of([1, 1, 0, 1], block(64, &[2.0, 3.0, 5.0, 3.0])).scales(),
        &block(64, &[2.0, 3.0, 0.0, 3.0])
    );
    assert_eq!(of([0; 4], block(64, &[1.0, 2.0, 3.0, 4.0])).scales(), &Scales::Tensor(0.0));
    assert_eq!(of([0; 4], Scales::Tensor(5.0)).scales(), &Scales::Tensor(0.0));
    assert_eq!(of([1, 1, 0, 0], Scales::Row(vec![2.0, 9.0])).scales(), &Scales::Tensor(2.0));
}

#[test]
fn the_scale_of_a_zero_block_leaves_no_trace_in_any_bit() {
    let mut trits = vec![0; 192];
    trits[0] = 1;
    trits[191] = -1;
    let product = |scale: f32, q: &[i8]| {
        let w = TernaryMatrix::new(1, 192, trits.clone(), block(64, &[0.5, scale, 0.25])).expect("fits");
        ternary_gemm(&w, q, &[3.0])[0].to_bits()
    };
    // The second vector makes the loud blocks cancel exactly, the third makes everything zero.
    let mut cancelling = vec![1_i8; 192];
    cancelling[191] = 2;
    for q in [vec![7; 192], cancelling, vec![0; 192]] {
        let expected = product(0.0, &q);
        for scale in [-0.0, 1e30, -1e30, f32::MIN_POSITIVE / 4.0] {
            assert_eq!(product(scale, &q), expected);
        }
    }
    assert_eq!(product(-1.0, &[0; 192]), 0.0_f32.to_bits(), "a sum of blocks is never -0");
}

#[test]
fn a_zero_row_is_plus_zero_but_for_a_negative_scale() {
    let w = |scale| TernaryMatrix::new(1, 2, vec![0; 2], Scales::Tensor(scale)).expect("fits");
    assert_eq!(ternary_gemm(&w(2.0), &[1, 1], &[1.0])[0].to_bits(), 0.0_f32.to_bits());
    assert_eq!(ternary_gemm(&w(-2.0), &[1, 1], &[1.0])[0].to_bits(), (-0.0_f32).to_bits());
    assert_eq!(ternary_gemm(&w(-2.0).coarsened(), &[1, 1], &[1.0])[0].to_bits(), 0.0_f32.to_bits());
}

#[test]
fn absmax_follows_the_formula_at_its_edges() {
    let of = |x: &[f32]| absmax(x).expect("finite");
    assert_eq!(of(&[]).scale, 1.0 / 1e-5 * 127.0);
    let zeros = of(&[0.0, -0.0]);
    assert_eq!((zeros.q, zeros.scale), (vec![0, 0], 1.0 / 1e-5 * 127.0));
    assert_eq!(of(&[f32::MIN_POSITIVE / 2.0, 1e-45]).q, [0, 0], "subnormals lie far below the floor");
    assert_eq!(of(&[1e-5, -5e-6]).q, [127, -64]);
    assert_eq!(of(&[5e-6]).q, [64], "below the floor the scale no longer follows");
    // With max = 127 the multiplier is 1: halves round to even.
    assert_eq!(of(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]).q, [127, 0, 2, 2, 0, -2, -2]);
    assert_eq!(of(&[-f32::MAX, f32::MAX]).q, [-127, 127]);
    let four = absmax_bits(&[7.0, 3.5, -7.0, 2.5], 4).expect("finite");
    assert_eq!((four.q, four.scale), (vec![7, 4, -7, 2], 1.0));
}

#[test]
fn non_finite_numbers_are_errors_with_their_place() {
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let NonFinite { index, value } = absmax(&[1.0, bad, f32::NAN]).expect_err("not finite");
        assert_eq!((index, value.to_bits()), (1, bad.to_bits()));
        let error = absmean(&[1.0, bad], 1, 2, Granularity::Tensor).expect_err("not finite");
        assert!(matches!(error, QuantizeError::NonFinite(NonFinite { index: 1, .. })), "{error}");
    }
}

#[test]
fn absmean_follows_the_formula_at_its_edges() {
    let of = |w: &[f32]| absmean(w, 1, w.len(), Granularity::Tensor).expect("finite");
    // mean|W| = 1: half a scale is a tie and goes to the even 0, as does anything below; 1.5 goes to 2,
    // clamped to 1.
    assert_eq!(of(&[0.5, -0.5, 1.5, 1.5]).trits(), [0, 0, 1, 1]);
    assert_eq!(of(&[0.5, -0.5, 1.5, 1.5]).scales(), &Scales::Tensor(1.0));
    assert_eq!(of(&[0.500_000_06, -0.5, 1.5, 1.5]).trits()[0], 1);
    assert_eq!(of(&[-8.0, 0.0, 0.0, 0.0]).trits(), [-1, 0, 0, 0]);
    let zeros = of(&[0.0, -0.0]);
    assert_eq!((zeros.trits(), zeros.scales()), (&[0, 0][..], &Scales::Tensor(0.0)));
    let tiny = of(&[f32::from_bits(3), f32::from_bits(1), -f32::from_bits(2)]);
    assert_eq!((tiny.trits(), tiny.scales()), (&[1, 0, -1][..], &Scales::Tensor(f32::from_bits(2))));
    // The sum of these needs more than 24 bits: f32 accumulation would give 2^24.
    let mut wide = vec![1.0_f32; 9];
    wide[0] = 16_777_216.0;
    assert_eq!(of(&wide).scales(), &Scales::Tensor((16_777_224.0_f64 / 9.0) as f32));
}

#[test]
fn stored_scales_are_rounded_before_the_trits_are_chosen() {
    let half = |w: &[f32]| absmean_stored(w, 1, w.len(), Granularity::Tensor, ScaleStorage::F16);
    let third = half(&[1.0, 0.0, 0.0]).expect("fits");
    assert_eq!(third.scales(), &Scales::Tensor(half::f16::from_f64(1.0 / 3.0).to_f32()));
    let vanished = half(&[1e-9, 1e-9]).expect("fits");
    assert_eq!((vanished.trits(), vanished.scales()), (&[0, 0][..], &Scales::Tensor(0.0)));
    let error = half(&[1e6]).expect_err("beyond f16");
    assert!(matches!(error, QuantizeError::Shape(ShapeError::ScaleNotFinite { index: 0, .. })), "{error}");
}

#[test]
fn every_granule_has_its_own_scale() {
    let weights: Vec<f32> =
        (0..2 * 200).map(|i| if i % 200 < 64 { 1.0 } else { 4.0 * (1 + i / 200) as f32 }).collect();
    let of = |g| absmean(&weights, 2, 200, g).expect("fits").scales().values().to_vec();
    assert_eq!(of(Granularity::Row), [(64.0 + 136.0 * 4.0) / 200.0, (64.0 + 136.0 * 8.0) / 200.0]);
    assert_eq!(of(Granularity::Block(64)), [1.0, 4.0, 4.0, 4.0, 1.0, 8.0, 8.0, 8.0]);
    assert_eq!(of(Granularity::Block(128)), [2.5, 4.0, 4.5, 8.0]);
    let error = absmean(&weights, 2, 200, Granularity::Block(100)).expect_err("no such block");
    assert_eq!(error, ShapeError::BlockSize { size: 100 }.into());
    let error = absmean(&weights, 2, 100, Granularity::Row).expect_err("too many");
    assert_eq!(error, ShapeError::Weights { found: 400, expected: 200 }.into());
}

#[test]
fn large_sums_round_once_on_their_way_to_float() {
    let k = 132_105;
    let w = TernaryMatrix::new(1, k, vec![1; k], Scales::Tensor(1.0)).expect("fits");
    let q = vec![127; k];
    let d = 132_105 * 127;
    assert_eq!(ternary_gemm_i32(&w, &q, 1), [d]);
    assert_eq!(ternary_gemm(&w, &q, &[1.0]), [d as f32]);
    assert_eq!(ternary_dot(&[-1; 4], &[-128; 4]), 512);
}

proptest! {
    #[test]
    fn ternary_weights_survive_absmax(w in matrix()) {
        let again = absmax_ternary(&w.dequantize(), w.m(), w.k(), w.granularity()).expect("finite");
        prop_assert_eq!(again.trits(), w.trits());
        prop_assert_eq!(again.coarsened(), w.coarsened());
    }

    #[test]
    fn coarsening_changes_no_weight(w in matrix()) {
        prop_assert_eq!(w.clone().coarsened().dequantize(), w.dequantize());
        prop_assert_eq!(w.clone().coarsened().coarsened(), w.coarsened());
    }

    #[test]
    fn repeated_scales_coarsen_to_the_same_matrix(w in matrix(), size in prop_oneof![Just(64_usize), Just(128), Just(256)]) {
        prop_assume!(!matches!(w.granularity(), Granularity::Block(_)));
        let blocks = w.k().div_ceil(size);
        let values = (0..w.m()).flat_map(|i| vec![w.row_scales(i)[0]; blocks]).collect();
        let fine = TernaryMatrix::new(w.m(), w.k(), w.trits().to_vec(), Scales::Block { size, values }).expect("fits");
        prop_assert_eq!(fine.coarsened(), w.coarsened());
    }

    #[test]
    fn rows_are_a_matrix_of_their_own(w in matrix(), a in 0_usize..4, b in 1_usize..5) {
        prop_assume!(a < b && b <= w.m());
        let part = w.rows(a..b).expect("within");
        prop_assert_eq!(part.dequantize(), &w.dequantize()[a * w.k()..b * w.k()]);
        prop_assert!(w.rows(b..b).is_err() && w.rows(0..w.m() + 1).is_err());
    }

    #[test]
    fn the_product_is_the_sum_of_scaled_weights(w in matrix(), seed in vec(any::<i8>(), 400)) {
        let q = &seed[..w.k()];
        let y = ternary_gemm(&w, &[q, q].concat(), &[4.0, 0.5]);
        prop_assert_eq!(y.len(), 2 * w.m());
        // These scales are multiples of 1/64 below 4, so f64 sums are exact and f32 ones of single scales as
        // well.
        for (i, row) in w.dequantize().chunks(w.k()).enumerate() {
            let exact: f64 = row.iter().zip(q).map(|(w, q)| f64::from(*w) * f64::from(*q)).sum();
            prop_assert_eq!(f64::from(y[i]), exact / 4.0);
            prop_assert_eq!(f64::from(y[w.m() + i]), exact * 2.0);
        }
    }

    #[test]
    fn absmax_is_within_half_a_step(x in vec(-1e3_f32..1e3, 1..100)) {
        let row = absmax(&x).expect("finite");
        prop_assert!(row.q.iter().any(|q| q.unsigned_abs() == 127));
        for (x, q) in x.iter().zip(&row.q) {
            prop_assert!((x * row.scale - f32::from(*q)).abs() <= 0.5);
        }
    }

    #[test]
    fn absmean_is_the_independent_formula(x in vec(-10.0_f32..10.0, 1..300)) {
        let w = absmean(&x, 1, x.len(), Granularity::Row).expect("finite");
        let mean = x.iter().map(|v| f64::from(v.abs())).sum::<f64>() / x.len() as f64;
        prop_assert_eq!(w.scales(), &Scales::Row(vec![mean as f32]));
        for (x, t) in x.iter().zip(w.trits()) {
            prop_assert_eq!(f32::from(*t), (x / mean as f32).round_ties_even().clamp(-1.0, 1.0));
        }
    }
}

#[test]
fn blocks_that_agree_become_larger_ones() {
    // 320 weights a row: the last larger block is a short one.
    let coarsened = |values: [f32; 10]| {
        let scales = Scales::Block { size: 64, values: values.to_vec() };
        TernaryMatrix::new(2, 320, vec![1; 640], scales).expect("fits").coarsened().scales().clone()
    };
    let of_256 = coarsened([1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 4.0]);
    assert_eq!(of_256, Scales::Block { size: 256, values: vec![1.0, 2.0, 3.0, 4.0] });
    let of_128 = coarsened([1.0, 1.0, 5.0, 5.0, 2.0, 3.0, 3.0, 3.0, 3.0, 4.0]);
    assert_eq!(of_128, Scales::Block { size: 128, values: vec![1.0, 5.0, 2.0, 3.0, 3.0, 4.0] });
    let of_64 = [1.0, 2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 4.0];
    assert_eq!(coarsened(of_64), Scales::Block { size: 64, values: of_64.to_vec() });
}
