//! The fast float operations equal golden bit for bit, on every tier that this host has.

use std::ops::Range;

use craftsman_golden::float as golden;
use craftsman_isa::{HardwareCaps, Tier};
use craftsman_kernelgen::float::{DenseData, DenseMatrix, FloatOps, Numbers, PANEL_ROWS, PackedDense, Rows};
use craftsman_kernelgen::{OutputColumns, OutputMatrix};
use half::{bf16, f16};
use proptest::collection::vec;
use proptest::prelude::*;

/// Rows as a cache keeps them: in f32 (0), f16 (1) or bytes (2).
struct Kept {
    width: usize,
    floats: Vec<f32>,
    halves: Vec<f16>,
    codes: Vec<i8>,
    scales: Vec<f32>,
    kind: usize,
}

impl Kept {
    fn new(kind: usize, width: usize, rows: &[f32]) -> Self {
        let mut codes = vec![0; rows.len()];
        let blocks = rows.chunks(width).zip(codes.chunks_mut(width));
        let blocks = blocks.flat_map(|(row, codes)| {
            row.chunks(golden::ROW_BLOCK).zip(codes.chunks_mut(golden::ROW_BLOCK)).collect::<Vec<_>>()
        });
        let scales = blocks.map(|(row, codes)| golden::round_block(row, codes)).collect();
        let halves = rows.iter().map(|&x| f16::from_f32(x)).collect();
        Self { width, floats: rows.to_vec(), halves, codes, scales, kind }
    }

    fn rows(&self, range: Range<usize>) -> Rows<'_> {
        let len = range.len();
        let (blocks, numbers) =
            (self.width.div_ceil(golden::ROW_BLOCK), range.start * self.width..range.end * self.width);
        let numbers = match self.kind {
            0 => Numbers::F32(&self.floats[numbers]),
            1 => Numbers::F16(&self.halves[numbers]),
            _ => Numbers::Bytes {
                codes: &self.codes[numbers],
                scales: &self.scales[range.start * blocks..range.end * blocks],
            },
        };
        Rows { len, width: self.width, numbers }
    }

    fn len(&self) -> usize {
        self.floats.len() / self.width
    }

    fn widened(&self) -> Vec<f32> {
        match self.kind {
            0 => self.floats.clone(),
            1 => self.halves.iter().map(|x| x.to_f32()).collect(),
            _ => {
                let mut out = vec![0.0; self.codes.len()];
                let rows = self.codes.chunks(self.width).zip(out.chunks_mut(self.width));
                let blocks = rows.flat_map(|(codes, out)| {
                    codes.chunks(golden::ROW_BLOCK).zip(out.chunks_mut(golden::ROW_BLOCK)).collect::<Vec<_>>()
                });
                blocks
                    .zip(&self.scales)
                    .for_each(|((codes, out), &scale)| golden::widen_block(scale, codes, out));
                out
            }
        }
    }
}

/// Attention of queries, one after the other, over rows in two stretches, as a cache with pages has them.
fn attend(
    ops: FloatOps,
    q: &[f32],
    [keys, values]: [&Kept; 2],
    scale: f32,
    cut: usize,
    width: usize,
) -> Vec<f32> {
    let (queries, len, cut) = (q.len() / keys.width, keys.len(), cut.min(keys.len()));
    let (mut scores, mut out) = (vec![vec![f32::NAN; len]; queries], vec![0.0; queries * width]);
    for range in [0..cut, cut..len] {
        let mut parts: Vec<&mut [f32]> = scores.iter_mut().map(|scores| &mut scores[range.clone()]).collect();
        ops.score(q, keys.rows(range), scale, &mut parts);
    }
    for scores in &mut scores {
        ops.softmax(scores);
    }
    for range in [0..cut, cut..len] {
        let parts: Vec<&[f32]> = scores.iter().map(|scores| &scores[range.clone()]).collect();
        let mut outs: Vec<&mut [f32]> = out.chunks_mut(width).collect();
        ops.mix(&parts, values.rows(range), &mut outs);
    }
    out
}

/// The tiers of this host; the others are named once in print.
fn tiers() -> Vec<FloatOps> {
    let skipped = |(name, ops): (&str, Option<FloatOps>)| {
        if ops.is_none() {
            println!("skipped: this processor has no {name}");
        }
        ops
    };
    FloatOps::all().filter_map(skipped).collect()
}

/// Bits to compare: all NaN are one, because which NaN comes out is nobody's promise.
fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() }).collect()
}

/// A number of any kind: mostly of ordinary size, some huge, tiny, subnormal or zero of either sign.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -4.0_f32..4.0,
        2 => -100.0_f32..100.0,
        1 => prop_oneof![Just(0.0), Just(-0.0), Just(f32::from_bits(1)), Just(-f32::from_bits(77)), Just(f32::MIN_POSITIVE)],
        1 => any::<f32>().prop_filter("finite", |x| x.is_finite() && x.abs() < 1e15),
    ]
}

fn numbers(len: usize) -> impl Strategy<Value = Vec<f32>> {
    vec(number(), len)
}

/// Three vectors of one length.
fn three() -> impl Strategy<Value = [Vec<f32>; 3]> {
    (0_usize..200).prop_flat_map(|len| [numbers(len), numbers(len), numbers(len)])
}

/// Queries, keys and values, `[queries, d]`, `[len, d]` and `[len, v]`, with `d` and `v`.
type Attention = (Vec<f32>, Vec<f32>, Vec<f32>, usize, usize);

fn attention() -> impl Strategy<Value = Attention> {
    (1_usize..150, 1_usize..150, 1_usize..20, 1_usize..6).prop_flat_map(|(d, v, len, queries)| {
        (numbers(d * queries), numbers(d * len), numbers(v * len), Just(d), Just(v))
    })
}

/// Rows, columns, tokens, threads, and numbers for weights and activations.
fn product() -> impl Strategy<Value = (usize, usize, usize, usize, Vec<f32>, Vec<f32>)> {
    (1_usize..150, 1_usize..40, 1_usize..40, 1_usize..4).prop_flat_map(|(m, k, n, parts)| {
        (Just(m), Just(k), Just(n), Just(parts), numbers(m * k), numbers(n * k))
    })
}

/// The same weights in each storage type.
fn storages(weights: &[f32]) -> [DenseData; 3] {
    [
        DenseData::F32(weights.to_vec()),
        DenseData::F16(weights.iter().map(|&w| f16::from_f32(w)).collect()),
        DenseData::BF16(weights.iter().map(|&w| bf16::from_f32(w)).collect()),
    ]
}

fn multiply(ops: FloatOps, w: &PackedDense, x: &[f32], parts: usize) -> Vec<f32> {
    let tokens = x.len() / w.cols();
    let mut out = vec![f32::NAN; tokens * w.rows()];
    for mut part in OutputMatrix::new(&mut out, tokens, w.rows()).split(PANEL_ROWS, parts) {
        ops.dense_matmul(w, x, &mut part);
    }
    out
}

#[test]
fn the_best_tier_within_the_caps_is_chosen() {
    let best = HardwareCaps::detect();
    let chosen = FloatOps::for_caps(&best);
    assert_eq!(Some(chosen.name()), tiers().last().map(FloatOps::name));
    let portable = FloatOps::for_caps(&best.with_max_tier(Tier::Portable));
    assert_eq!(portable.name(), "portable");
    assert_eq!(format!("{portable:?}"), "FloatOps(\"portable\")");
}

#[test]
fn a_described_processor_is_not_believed() {
    let mut everything = HardwareCaps::detect();
    everything.features = craftsman_isa::FeatureSet::ALL;
    assert_eq!(FloatOps::for_caps(&everything).name(), FloatOps::for_caps(&HardwareCaps::detect()).name());
}

#[test]
fn extremes_saturate_as_in_golden() {
    let x = [
        0.0,
        -0.0,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        88.7,
        -87.3,
        -104.0,
        1e-45,
    ];
    for ops in tiers() {
        let (mut expected, mut up) = ([2.0; 11], [2.0; 11]);
        golden::silu_mul(&x, &mut expected);
        ops.silu_mul(&x, &mut up);
        assert_eq!(bits(&up), bits(&expected), "{}", ops.name());
        for mut soft in [x[..4].to_vec(), x[..5].to_vec(), x[..7].to_vec(), vec![f32::NEG_INFINITY; 20]] {
            let mut expected = soft.clone();
            golden::softmax(&mut expected);
            ops.softmax(&mut soft);
            assert_eq!(bits(&soft), bits(&expected), "{}", ops.name());
        }
    }
}

#[test]
fn packed_rows_come_back() {
    let weights: Vec<f32> = (0..37 * 5).map(|i| i as f32 / 8.0 - 9.0).collect();
    for data in storages(&weights) {
        let w = PackedDense::new(&DenseMatrix::new(37, 5, data).expect("fits"), 1).unwrap();
        let mut row = [0.0; 5];
        for i in 0..37 {
            w.row(i, &mut row);
            assert_eq!(row[..], weights[i * 5..][..5]);
        }
    }
    assert!(DenseMatrix::new(2, 2, DenseData::F32(vec![0.0; 3])).is_err());
    assert!(DenseMatrix::new(0, 2, DenseData::F32(vec![])).is_err());
    assert!(DenseMatrix::new(usize::MAX, 2, DenseData::F32(vec![])).is_err());
}

#[test]
fn long_rows_and_many_tokens_cross_every_block() {
    let (m, k) = (100, 300);
    let weights: Vec<f32> = (0..m * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect();
    for n in [1, 2, 3, 4, 5, 31, 32, 33, 36, 70] {
        let x: Vec<f32> = (0..n * k).map(|i| ((i * 53 % 89) as f32 - 44.0) / 7.0).collect();
        let expected = bits(&golden::matmul(&weights, &x, k));
        for (ops, data) in tiers().into_iter().flat_map(|ops| storages(&weights).map(|data| (ops, data))) {
            let w = PackedDense::new(&DenseMatrix::new(m, k, data).expect("fits"), 1).unwrap();
            assert_eq!(bits(&multiply(ops, &w, &x, 2)), expected, "{} n {n}", ops.name());
        }
    }
}

#[test]
#[should_panic(expected = "rows")]
fn rows_within_a_panel_are_a_bug() {
    let w =
        PackedDense::new(&DenseMatrix::new(40, 1, DenseData::F32(vec![0.0; 40])).expect("fits"), 1).unwrap();
    let mut out = [0.0; 40];
    let mut matrix = OutputMatrix::new(&mut out, 1, 40);
    let mut parts: Vec<OutputColumns> = matrix.split(8, 5);
    tiers()[0].dense_matmul(&w, &[1.0], &mut parts[0]);
}

proptest! {
    #[test]
    fn vectors_equal_golden([a, b, c] in three(), eps in 1e-6_f32..1e-3, p in number()) {
        let (mut norm, mut soft, mut silu, mut relu, mut sum, mut weighted) =
            (c.clone(), a.clone(), b.clone(), b.clone(), b.clone(), b.clone());
        golden::rms_norm(&a, &b, eps, &mut norm);
        golden::softmax(&mut soft);
        golden::silu_mul(&a, &mut silu);
        golden::relu2_mul(&a, &mut relu);
        golden::add(&mut sum, &a);
        golden::axpy(p, &a, &mut weighted);
        for ops in tiers() {
            let name = ops.name();
            let mut out = c.clone();
            ops.rms_norm(&a, &b, eps, &mut out);
            prop_assert_eq!(bits(&out), bits(&norm), "rms_norm {}", name);
            prop_assert_eq!(bits(&[ops.dot(&a, &b)]), bits(&[golden::dot16(&a, &b)]), "dot {}", name);
            let mut out = a.clone();
            ops.softmax(&mut out);
            prop_assert_eq!(bits(&out), bits(&soft), "softmax {}", name);
            let mut out = b.clone();
            ops.silu_mul(&a, &mut out);
            prop_assert_eq!(bits(&out), bits(&silu), "silu_mul {}", name);
            let mut out = b.clone();
            ops.relu2_mul(&a, &mut out);
            prop_assert_eq!(bits(&out), bits(&relu), "relu2_mul {}", name);
            let mut out = b.clone();
            ops.add(&mut out, &a);
            prop_assert_eq!(bits(&out), bits(&sum), "add {}", name);
            let mut out = b.clone();
            ops.axpy(p, &a, &mut out);
            prop_assert_eq!(bits(&out), bits(&weighted), "axpy {}", name);
        }
    }

    #[test]
    fn attention_equals_golden((q, keys, values, d, width) in attention(), scale in 0.01_f32..1.0, cut in 0_usize..20) {
        for kind in 0..3 {
            let (keys, values) = (Kept::new(kind, d, &keys), Kept::new(kind, width, &values));
            let (k, v) = (keys.widened(), values.widened());
            let expected: Vec<f32> = q.chunks(d).flat_map(|q| golden::attention(q, &k, &v, scale)).collect();
            for ops in tiers() {
                let out = attend(ops, &q, [&keys, &values], scale, cut, width);
                prop_assert_eq!(bits(&out), bits(&expected), "{} kind {}", ops.name(), kind);
            }
        }
    }

    #[test]
    fn latent_attention_equals_golden((q, rows, _, d, width) in attention(), scale in 0.01_f32..1.0, cut in 0_usize..20) {
        let width = width.min(d);
        for kind in 0..3 {
            let rows = Kept::new(kind, d, &rows);
            let r = rows.widened();
            let expected: Vec<f32> = q.chunks(d).flat_map(|q| golden::latent_attention(q, &r, width, scale)).collect();
            for ops in tiers() {
                let out = attend(ops, &q, [&rows, &rows], scale, cut, width);
                prop_assert_eq!(bits(&out), bits(&expected), "{} kind {}", ops.name(), kind);
            }
        }
    }

    #[test]
    fn depthwise_equals_golden((_, rows, weights, _, width) in attention()) {
        let taps = (rows.len().min(weights.len()) / width).min(4);
        prop_assume!(taps > 0);
        let (rows, weights) = (&rows[..taps * width], &weights[..taps * width]);
        let mut expected = vec![f32::NAN; width];
        golden::depthwise(rows, weights, &mut expected);
        for ops in tiers() {
            let mut out = vec![f32::NAN; width];
            ops.depthwise(rows, weights, &mut out);
            prop_assert_eq!(bits(&out), bits(&expected), "{}", ops.name());
        }
    }

    #[test]
    fn dense_matmul_equals_golden((m, k, _, parts, weights, x) in product()) {
        for data in storages(&weights) {
            let w = DenseMatrix::new(m, k, data).expect("fits");
            let expected = golden::matmul(&w.widened(), &x, k);
            let packed = PackedDense::new(&w, parts).unwrap();
            for ops in tiers() {
                prop_assert_eq!(bits(&multiply(ops, &packed, &x, parts)), bits(&expected), "{}", ops.name());
            }
        }
    }
}
