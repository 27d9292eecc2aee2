//! Every format: round trips, formulas written a second time, and bytes that are wrong.

use craftsman_golden::format::{ALL, Format, FormatError, by_name, by_type_id};
use craftsman_golden::quantize::{ScaleStorage, absmean_stored};
use craftsman_golden::{Granularity, Scales, ShapeError, TernaryMatrix};
use half::{bf16, f16};
use proptest::collection::vec;
use proptest::prelude::*;

/// Formats of blocks of 256 weights, each with an f16 scale behind it.
const TERNARY_BLOCKS: [&str; 3] = ["TQ1_0", "TQ2_0", "BITNET_T158"];

fn format(name: &str) -> &'static Format {
    by_name(name).unwrap_or_else(|| panic!("no format {name}"))
}

/// The formats that are not laid out by tables of shapes.
fn any_shape() -> impl Iterator<Item = &'static Format> {
    ALL.iter().copied().filter(|f| !["TL1", "TL2"].contains(&f.name()))
}

/// An `[m, 256 b]` matrix with one f16 scale a block.
fn blocks() -> impl Strategy<Value = TernaryMatrix> {
    (1_usize..4, 1_usize..4).prop_flat_map(|(m, b)| {
        (vec(-1_i8..=1, m * b * 256), vec(0_u16..0x7c00, m * b)).prop_map(move |(trits, scales)| {
            let values = scales.into_iter().map(|s| f16::from_bits(s).to_f32()).collect();
            TernaryMatrix::new(m, b * 256, trits, Scales::Block { size: 256, values }).expect("fits")
        })
    })
}

#[test]
fn names_and_type_ids_are_those_of_gguf() {
    let known: Vec<_> = ALL.iter().map(|f| (f.name(), f.type_id(), f.block_len(), f.is_ternary())).collect();
    let expected = [
        ("F32", 0, 1, false),
        ("F16", 1, 1, false),
        ("BF16", 30, 1, false),
        ("Q4_0", 2, 32, false),
        ("Q8_0", 8, 32, false),
        ("Q4_K", 12, 256, false),
        ("Q5_K", 13, 256, false),
        ("Q6_K", 14, 256, false),
        ("IQ1_S", 19, 256, false),
        ("TQ1_0", 34, 256, true),
        ("TQ2_0", 35, 256, true),
        ("I2_S", 36, 128, true),
        ("I2_S_ARM", 36, 64, true),
        ("TL1", 38, 1, true),
        ("TL2", 39, 1, true),
        ("Q2_0", 42, 64, true),
        ("PQ2_0", 142, 128, true),
        ("IQ1_BN", 134, 64, true),
        ("IQ2_BN", 135, 64, true),
        ("BITNET_T158", 1158, 256, true),
    ];
    assert_eq!(known, expected);
    let usual = |f: &Format| by_type_id(f.type_id()).map(Format::name);
    assert!(
        ALL.iter().all(|f| usual(f) == Some(f.name()) || (f.name(), usual(f)) == ("I2_S_ARM", Some("I2_S")))
    );
    assert!(by_type_id(31).is_none() && by_name("Q2_K").is_none());
}

#[test]
fn sizes_are_counted_without_overflow() {
    let bytes = |name, m, k| format(name).bytes(m, k);
    assert_eq!(bytes("F32", 3, 5), Ok(60));
    assert_eq!(bytes("BF16", 3, 5), Ok(30));
    assert_eq!(bytes("Q8_0", 2, 64), Ok(136));
    assert_eq!(bytes("TQ1_0", 2, 512), Ok(216));
    assert_eq!(bytes("TQ2_0", 2, 512), Ok(264));
    assert_eq!(bytes("BITNET_T158", 2, 512), Ok(264));
    assert_eq!(bytes("I2_S", 2, 64), Ok(64));
    assert_eq!(bytes("Q2_0", 2, 128), Ok(72));
    assert_eq!(bytes("PQ2_0", 2, 128), Ok(68));
    assert_eq!(bytes("IQ1_BN", 3, 3200), Ok(3 * (2 + 50 * 13)));
    assert_eq!(bytes("IQ2_BN", 3, 8640), Ok(3 * (4 + 135 * 16)));
    assert_eq!(bytes("IQ1_S", 1, 512), Ok(100));
    for f in any_shape() {
        // Even at 1.5 bits a weight too many to count in bytes.
        let huge = usize::MAX / 256 * 256;
        assert!(matches!(f.bytes(huge, 1024), Err(FormatError::Shape { .. })), "{}", f.name());
        let odd = f.bytes(1, f.block_len() + 1);
        assert!(f.block_len() == 1 || matches!(odd, Err(FormatError::Block { .. })), "{}", f.name());
    }
}

#[test]
fn wrong_lengths_are_errors() {
    for f in any_shape() {
        let expected = f.bytes(1, 256).expect("every block divides 256");
        for found in [0, expected - 1, expected + 1] {
            let error = FormatError::Length { format: f.name(), found, expected };
            assert_eq!(f.decode_f32(&vec![0; found], 1, 256), Err(error));
            if f.is_ternary() {
                assert_eq!(f.decode_ternary(&vec![0; found], 1, 256), Err(error));
            }
        }
    }
}

#[test]
fn numbers_and_trits_are_not_confused() {
    let w = TernaryMatrix::new(1, 256, vec![0; 256], Scales::Tensor(1.0)).expect("fits");
    for f in ALL {
        if f.is_ternary() {
            assert_eq!(f.encode_f32(&[0.0; 256]), Err(FormatError::NotDense { format: f.name() }));
        } else {
            assert_eq!(f.encode_ternary(&w), Err(FormatError::NotTernary { format: f.name() }));
            let error = f.decode_ternary(&[], 1, 256).expect_err("numbers");
            assert_eq!(error, FormatError::NotTernary { format: f.name() });
        }
    }
}

#[test]
fn invalid_codes_are_errors_with_their_place() {
    let error = |name, at: usize, byte, k| {
        let f = format(name);
        let mut bytes = vec![0; f.bytes(1, k).expect("whole blocks")];
        bytes[at] = byte;
        f.decode_ternary(&bytes, 1, k).expect_err("an invalid code")
    };
    let code = |format, index| FormatError::Code { format, index, code: 3 };
    assert_eq!(error("Q2_0", 18 + 2 + 5, 0b11 << 2, 128), code("Q2_0", 64 + 4 * 5 + 1));
    assert_eq!(error("I2_S_ARM", 16 + 5, 0b11 << 4, 128), code("I2_S_ARM", 64 + 16 + 5));
    assert_eq!(error("IQ2_BN", 4 + 16 + 3, 0b11 << 4, 128), code("IQ2_BN", 64 + 32 + 3));
    // Byte 66 + 33 is byte 1 of the second half of block 1: weights 128 + 1 + 32 l.
    assert_eq!(error("TQ2_0", 66 + 33, 0b11 << 4, 512), code("TQ2_0", 256 + 128 + 64 + 1));
    assert_eq!(error("I2_S", 32 + 5, 0b11 << 6, 256), code("I2_S", 128 + 5));
    assert_eq!(error("I2_S", 5, 0b11, 256), code("I2_S", 96 + 5));
    assert_eq!(error("BITNET_T158", 66 + 2, 0b11 << 2, 512), code("BITNET_T158", 256 + 9));
}

#[test]
fn infinite_scales_are_errors() {
    for name in TERNARY_BLOCKS {
        let f = format(name);
        let size = f.bytes(1, 256).expect("a block");
        let mut bytes = vec![0; size];
        bytes[size - 1] = 0x7c;
        let source = ShapeError::ScaleNotFinite { index: 0, value: f32::INFINITY };
        assert_eq!(f.decode_ternary(&bytes, 1, 256), Err(FormatError::Shape { format: f.name(), source }));
    }
}

#[test]
fn scales_are_never_changed_on_the_way() {
    let with = |scales| TernaryMatrix::new(2, 256, vec![1; 512], scales).expect("fits");
    for name in TERNARY_BLOCKS {
        let f = format(name);
        let refused = f.encode_ternary(&with(Scales::Row(vec![1.0, 0.1])));
        assert_eq!(refused, Err(FormatError::Value { format: f.name(), index: 1, value: 0.1 }));
        let fine = with(Scales::Block { size: 128, values: vec![1.0, 2.0, 1.0, 1.0] });
        let granularity = Granularity::Block(128);
        assert_eq!(f.encode_ternary(&fine), Err(FormatError::Granularity { format: f.name(), granularity }));
    }
    let error = format("I2_S").encode_ternary(&with(Scales::Row(vec![1.0, 2.0])));
    assert_eq!(error, Err(FormatError::Granularity { format: "I2_S", granularity: Granularity::Row }));
}

#[test]
fn scales_are_repeated_or_merged_where_that_says_the_same() {
    let trits: Vec<i8> = (0..512).map(|at| [1, 0, -1][at % 3]).collect();
    let with = |scales| TernaryMatrix::new(2, 256, trits.clone(), scales).expect("fits");
    let fine = with(Scales::Block { size: 64, values: [[2.0; 4], [4.0; 4]].concat() });
    let rows = with(Scales::Row(vec![2.0, 4.0]));
    for (name, size) in [("TQ2_0", 256), ("TQ1_0", 256), ("BITNET_T158", 256), ("Q2_0", 64)] {
        let f = format(name);
        let bytes = f.encode_ternary(&fine).expect("scales of a row agree");
        assert_eq!(Ok(&bytes), f.encode_ternary(&rows).as_ref());
        let back = f.decode_ternary(&bytes, 2, 256).expect("just written");
        assert_eq!(back.granularity(), Granularity::Block(size));
        assert_eq!(back.coarsened(), rows);
    }
    let same = with(Scales::Row(vec![3.0; 2]));
    let bytes = format("I2_S").encode_ternary(&same).expect("one scale");
    assert_eq!(format("I2_S").decode_ternary(&bytes, 2, 256), Ok(with(Scales::Tensor(3.0))));
}

#[test]
fn a_granule_of_zeros_has_no_say() {
    let mut trits = vec![1; 256];
    trits[64..128].fill(0);
    let scales = Scales::Block { size: 64, values: vec![2.0, 9.0, 2.0, 2.0] };
    let w = TernaryMatrix::new(1, 256, trits, scales).expect("fits");
    assert_eq!(
        (w.scale_over(0..256), w.scale_over(64..128), w.scale_over(32..65)),
        (Some(2.0), Some(9.0), Some(2.0))
    );
    assert!(format("I2_S").encode_ternary(&w).is_ok());
}

#[test]
fn formats_of_other_tools_are_read_only() {
    let w = TernaryMatrix::new(1, 256, vec![0; 256], Scales::Tensor(1.0)).expect("fits");
    let written: Vec<_> = ALL.iter().filter(|f| f.is_written()).map(|f| f.name()).collect();
    let expected =
        ["F32", "F16", "BF16", "Q8_0", "Q4_K", "Q6_K", "TQ1_0", "TQ2_0", "I2_S", "Q2_0", "BITNET_T158"];
    assert_eq!(written, expected);
    for f in ALL.iter().filter(|f| !f.is_written()) {
        let error = Err(FormatError::ReadOnly { format: f.name() });
        assert_eq!(if f.is_ternary() { f.encode_ternary(&w) } else { f.encode_f32(&[0.0; 256]) }, error);
    }
}

#[test]
fn bitnet_t158_is_as_its_document_says() {
    // The worked example of docs/formats/bitnet_t158.md.
    let mut weights = vec![0.0_f32; 256];
    weights[..8].copy_from_slice(&[1.0, -1.0, 0.25, 1.0, 0.0, -2.0, 2.0, 0.0]);
    let mean = 7.25 / 256.0;
    let w = absmean_stored(&weights, 1, 256, Granularity::Block(256), ScaleStorage::F16).expect("finite");
    assert_eq!(w.scales().values(), [mean], "a power of two times 29: exact in f16");
    assert_eq!(&w.trits()[..8], [1, -1, 1, 1, 0, -1, 1, 0]);
    let bytes = format("BITNET_T158").encode_ternary(&w).expect("fits");
    assert_eq!(bytes[..4], [0x59, 0x18, 0x00, 0x00]);
    assert_eq!(bytes[64..], [0x40, 0x27]);
    assert!(bytes[4..64].iter().all(|&b| b == 0));
}

#[test]
fn document_of_bitnet_t158_shows_the_tested_bytes() {
    let text = include_str!("../../docs/formats/bitnet_t158.md");
    for shown in ["59 18 00 00", "40 27", "1158"] {
        assert!(text.contains(shown), "{shown}");
    }
}

#[test]
fn document_of_formats_lists_them_all() {
    let text = include_str!("../../docs/formats/README.md");
    for f in any_shape() {
        // Many rows, so that what stands once a tensor does not count; a row of 8192 so that its scale hardly does.
        let bits = 8.0 * f.bytes(4096, 8192).expect("whole blocks") as f64 / (4096.0 * 8192.0);
        let row = format!("| {} | {} | {} | {bits:.4} |", f.name(), f.type_id(), f.block_len());
        let end = if f.is_written() { "| yes |" } else { "| |" };
        let mut lines = text.lines();
        assert!(lines.any(|line| line.starts_with(&row) && line.ends_with(end)), "{row} ... {end}");
    }
    assert!(text.contains("| TL1 | 38 |") && text.contains("| TL2 | 39 |"));
}

#[test]
fn dense_formats_round_to_nearest_even_and_refuse_overflow() {
    let encode = |name, x: f32| format(name).encode_f32(&[x]);
    assert_eq!(encode("F16", 1.0 + 1.0 / 2048.0), Ok(vec![0x00, 0x3c]), "a tie");
    assert_eq!(encode("F16", 1.0 + 3.0 / 2048.0), Ok(vec![0x02, 0x3c]), "a tie");
    assert_eq!(encode("F16", -0.0), Ok(vec![0x00, 0x80]));
    assert_eq!(encode("F16", 65519.9), Ok(vec![0xff, 0x7b]));
    assert_eq!(encode("F16", 65520.0), Err(FormatError::Value { format: "F16", index: 0, value: 65520.0 }));
    assert!(encode("BF16", f32::MAX).is_err() && encode("F16", f32::INFINITY).is_ok());
    assert_eq!(encode("BF16", 1.0 + 1.0 / 256.0), Ok(vec![0x80, 0x3f]), "a tie");
    assert_eq!(encode("F32", f32::from_bits(1)), Ok(vec![1, 0, 0, 0]));
}

#[test]
fn q8_0_rounds_as_llama_cpp() {
    let f = format("Q8_0");
    let mut x = [0.0_f32; 32];
    (x[0], x[1], x[2], x[3]) = (-127.0, 0.5, -0.5, 1.25);
    let bytes = f.encode_f32(&x).expect("a block");
    assert_eq!(bytes[..6], [0x00, 0x3c, 0x81, 1, 0xff, 1], "ties go away from zero");
    assert_eq!(f.decode_f32(&bytes, 1, 32).expect("a block")[..4], [-127.0, 1.0, -1.0, 1.0]);
    assert_eq!(f.encode_f32(&[0.0; 32]).expect("zeros"), [0; 34]);
    assert_eq!(f.encode_f32(&[1e-45; 32]).expect("subnormals")[..2], [0, 0]);
    assert!(matches!(f.encode_f32(&[f32::NAN; 32]), Err(FormatError::Value { index: 0, .. })));
    assert!(matches!(f.encode_f32(&[f32::MAX; 32]), Err(FormatError::Value { .. })), "its d is beyond f16");
}

/// One weight of a block format, by the formulas of llama.cpp's dequantisers as they loop, not as our
/// decoders index.
fn by_loops(name: &str, block: &[u8]) -> Vec<i8> {
    let mut out = Vec::new();
    if name == "TQ2_0" {
        for half in block[..64].chunks(32) {
            for l in 0..4 {
                out.extend(half.iter().map(|q| (q >> (2 * l) & 3) as i8 - 1));
            }
        }
        return out;
    }
    let digit = |q: u8, n: u32| ((u16::from(q.wrapping_mul(3_u8.pow(n))) * 3) >> 8) as i8 - 1;
    for (bytes, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for n in 0..digits {
            out.extend(bytes.iter().map(|q| digit(*q, n)));
        }
    }
    out
}

proptest! {
    #[test]
    fn ternary_blocks_come_back(w in blocks()) {
        for name in TERNARY_BLOCKS {
            let f = format(name);
            let bytes = f.encode_ternary(&w).expect("fits");
            prop_assert_eq!(Ok(bytes.len()), f.bytes(w.m(), w.k()));
            prop_assert_eq!(f.decode_ternary(&bytes, w.m(), w.k()), Ok(w.clone()));
            prop_assert_eq!(f.decode_f32(&bytes, w.m(), w.k()), Ok(w.dequantize()));
        }
    }

    #[test]
    fn i2_s_comes_back(trits in vec(-1_i8..=1, 384), scale in -1e3_f32..1e3) {
        let w = TernaryMatrix::new(6, 64, trits, Scales::Tensor(scale)).expect("fits");
        let f = format("I2_S");
        let bytes = f.encode_ternary(&w).expect("fits");
        prop_assert_eq!(bytes.len(), 384 / 4 + 32);
        prop_assert_eq!(f.decode_ternary(&bytes, 6, 64), Ok(w.clone()));
        prop_assert_eq!(f.decode_f32(&bytes, 6, 64), Ok(w.dequantize()));
    }

    #[test]
    fn i2_s_is_groups_of_thirty_two(codes in vec(0_u8..3, 128)) {
        let mut bytes = vec![0; 64];
        for i in 0..32 {
            bytes[i] = codes[i] << 6 | codes[32 + i] << 4 | codes[64 + i] << 2 | codes[96 + i];
        }
        bytes[32..36].copy_from_slice(&2.5_f32.to_le_bytes());
        let w = format("I2_S").decode_ternary(&bytes, 1, 128).expect("valid codes");
        let expected: Vec<i8> = codes.iter().map(|c| *c as i8 - 1).collect();
        prop_assert_eq!(w.trits(), expected);
        prop_assert_eq!(w.scales(), &Scales::Tensor(2.5));
    }

    #[test]
    fn tq_blocks_decode_as_llama_cpp_loops(bytes in vec(any::<u8>(), 66)) {
        let mut tq1 = bytes[..54].to_vec();
        tq1[53] &= 0x3f;
        let w = format("TQ1_0").decode_ternary(&tq1, 1, 256).expect("every byte is valid");
        prop_assert_eq!(w.trits(), by_loops("TQ1_0", &tq1));
        let mut tq2: Vec<u8> = bytes.iter().map(|b| b & !((b >> 1) & 0x55)).collect();
        tq2[65] &= 0x3f;
        let w = format("TQ2_0").decode_ternary(&tq2, 1, 256).expect("no code 3");
        prop_assert_eq!(w.trits(), by_loops("TQ2_0", &tq2));
    }

    #[test]
    fn hostile_bytes_end_in_a_result(bytes in vec(any::<u8>(), 0..400), m in 0_usize..4, k in 0_usize..600) {
        for f in ALL {
            let size = f.bytes(m, k).unwrap_or(0).min(bytes.len());
            for cut in [&bytes[..], &bytes[..size]] {
                let _ = f.decode_f32(cut, m, k);
                if let Ok(w) = f.decode_ternary(cut, m, k) {
                    prop_assert_eq!((w.m(), w.k()), (m, k));
                }
            }
        }
    }

    #[test]
    fn sixteen_bit_formats_come_back(bits in vec(any::<u16>(), 1..50)) {
        let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
        let halves = format("F16").decode_f32(&bytes, 1, bits.len()).expect("any bits");
        let brains = format("BF16").decode_f32(&bytes, 1, bits.len()).expect("any bits");
        for (i, b) in bits.iter().enumerate() {
            prop_assert_eq!(halves[i].to_bits(), f16::from_bits(*b).to_f32().to_bits());
            prop_assert_eq!(brains[i].to_bits(), bf16::from_bits(*b).to_f32().to_bits());
        }
        if halves.iter().all(|v| !v.is_nan()) {
            prop_assert_eq!(format("F16").encode_f32(&halves), Ok(bytes));
        }
    }

    #[test]
    fn q8_0_is_within_half_a_step(x in vec(-100.0_f32..100.0, 64)) {
        let f = format("Q8_0");
        let back = f.decode_f32(&f.encode_f32(&x).expect("blocks"), 1, 64).expect("blocks");
        for (x, back) in x.chunks(32).zip(back.chunks(32)) {
            let d = x.iter().fold(0.0_f32, |max, v| max.max(v.abs())) / 127.0;
            // Half a step, and d's own rounding to f16 (2^-11) times up to 127 steps.
            prop_assert!(x.iter().zip(back).all(|(x, back)| (x - back).abs() <= d * (0.5 + 127.0 / 2048.0) + 1e-6));
        }
    }
}
