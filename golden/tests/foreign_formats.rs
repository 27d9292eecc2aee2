//! Formats of other tools: their own loops and packers, written a second time.

use craftsman_golden::format::{Format, FormatError, by_name};
use craftsman_golden::quantize::written_out;
use craftsman_golden::{Granularity, Scales, TernaryMatrix};
use half::f16;
use proptest::collection::vec;
use proptest::prelude::*;

fn format(name: &str) -> &'static Format {
    by_name(name).unwrap_or_else(|| panic!("no format {name}"))
}

fn decode(name: &str, bytes: &[u8], n: usize) -> Vec<f32> {
    format(name).decode_f32(bytes, 1, n).expect("every byte is valid")
}

/// A finite f16 from any bits, and its bytes.
fn finite(bits: u16) -> (f32, [u8; 2]) {
    let half = f16::from_bits(bits & 0xbbff);
    (half.to_f32(), half.to_le_bytes())
}

/// ceil(256 idx / 243), as `ik_llama.cpp` packs five digits of which the first is the least significant.
fn fraction(digits: &[i8]) -> u8 {
    let number = digits.iter().rev().fold(0_u32, |number, t| number * 3 + (t + 1) as u32);
    (256 * number).div_ceil(243) as u8
}

/// A row as `ik_llama.cpp` quantises it, without the scale.
fn iq1_bn(trits: &[i8]) -> Vec<u8> {
    trits
        .chunks(64)
        .flat_map(|block| {
            let groups = block.chunks(16);
            let bytes: Vec<u8> =
                groups.clone().flat_map(|group| group[..15].chunks(5).map(fraction)).collect();
            let extra: Vec<i8> = groups.map(|group| group[15]).chain([-1]).collect();
            bytes.into_iter().chain([fraction(&extra)])
        })
        .collect()
}

fn iq2_bn(trits: &[i8]) -> Vec<u8> {
    let code = |t: i8| (t + 1) as u8;
    let byte =
        |b: &[i8], j: usize| code(b[j]) | code(b[j + 16]) << 2 | code(b[j + 32]) << 4 | code(b[j + 48]) << 6;
    trits.chunks(64).flat_map(|block| (0..16).map(move |j| byte(block, j))).collect()
}

/// llama.cpp's `get_scale_min_k4`.
fn scale_min(j: usize, q: &[u8]) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (q[j] & 63, q[j + 4] & 63)
    } else {
        ((q[j + 4] & 0xf) | ((q[j - 4] >> 6) << 4), (q[j + 4] >> 4) | ((q[j] >> 6) << 4))
    };
    (f32::from(scale), f32::from(min))
}

#[test]
fn the_codebook_begins_and_ends_as_published() {
    // d = 1, s = 0, shift +1/8; index 0 to 3, then 2044 to 2047.
    let mut bytes = vec![0x00, 0x3c];
    bytes.extend([0, 1, 2, 3, 252, 253, 254, 255]);
    bytes.extend([0; 24]);
    bytes.extend([0, 0]);
    bytes.extend(0x0fff_u16.to_le_bytes());
    bytes.extend([0; 12]);
    let trits: Vec<f32> = decode("IQ1_S", &bytes, 256)[..64].iter().map(|w| w - 0.125).collect();
    let word = |bytes: u64| bytes.to_le_bytes().map(|byte| f32::from(byte as i8));
    let published = [
        0xffff_ffff_ffff_ffff_u64,
        0xffff_ffff_ffff_ff01,
        0xffff_ffff_ffff_0000,
        0xffff_ffff_ffff_01ff,
        GRID_END[0],
        GRID_END[1],
        GRID_END[2],
        GRID_END[3],
    ];
    assert_eq!(trits, published.map(word).concat());
}

/// The last four words of `iq1s_grid`.
const GRID_END: [u64; 4] =
    [0x0101_0101_0101_ffff, 0x0101_0101_0101_ff01, 0x0101_0101_0101_01ff, 0x0101_0101_0101_0101];

#[test]
fn rows_that_256_does_not_divide() {
    for k in [3200, 8640] {
        let trits: Vec<i8> = (0..2 * k).map(|at| [1, 0, -1, -1, 0][at % 5]).collect();
        let tensor = TernaryMatrix::new(2, k, trits.clone(), Scales::Tensor(0.5)).expect("fits");
        let f = format("I2_S");
        assert_eq!(f.decode_ternary(&f.encode_ternary(&tensor).expect("fits"), 2, k), Ok(tensor.clone()));
        for name in ["TQ1_0", "TQ2_0", "BITNET_T158"] {
            assert!(format(name).encode_ternary(&tensor).is_err(), "{name}");
        }
        let f = format("Q2_0");
        let back =
            f.decode_ternary(&f.encode_ternary(&tensor).expect("64 divides them"), 2, k).expect("fits");
        assert_eq!(back.coarsened(), tensor);
        let pack = [
            ("IQ1_BN", iq1_bn as fn(&[i8]) -> Vec<u8>, vec![0, 0x38]),
            ("IQ2_BN", iq2_bn, vec![0, 0, 0, 0x3f]),
        ];
        for (name, pack, scale) in pack {
            let bytes: Vec<u8> =
                trits.chunks(k).flat_map(|row| [scale.clone(), pack(row)].concat()).collect();
            let back = format(name).decode_ternary(&bytes, 2, k).expect("valid");
            assert_eq!(back.granularity(), Granularity::Row);
            assert_eq!(back.coarsened(), tensor, "{name}");
        }
    }
}

/// Where the weights of a matrix `[m, k]` stand in `TL1` with tiles `[big_m, big_k]` and `[bm, by]`: byte and shift of the
/// pair that begins at `[row, column]`, in closed form.
fn tl1_place(k: usize, [big_m, big_k]: [usize; 2], bm: usize, [row, column]: [usize; 2]) -> (usize, u32) {
    let by = 256 / bm;
    let (r, c) = (row % big_m, column % big_k);
    let byte = (row / big_m * k / big_k + column / big_k) * big_m * big_k / 4
        + (r / bm * (big_k / by) + c / by) * 64
        + (r % bm / 16 * (by / 4) + c % by / 4) * 16
        + r % 16;
    (byte, if column % 4 == 0 { 4 } else { 0 })
}

#[test]
fn tl1_stands_where_its_closed_form_says() {
    for ([m, k], outer, bm) in [([1536, 1536], [128, 64], 64), ([1024, 4096], [256, 128], 32)] {
        let trits: Vec<i8> = (0..m * k).map(|at| [1, 0, -1, -1, 0, 1, 1][at % 7]).collect();
        let mut bytes = vec![0; m * k / 4];
        for (at, pair) in trits.chunks(2).enumerate() {
            let (byte, shift) = tl1_place(k, outer, bm, [2 * at / k, 2 * at % k]);
            bytes[byte] |= ((3 * pair[0] + pair[1] + 4) as u8) << shift;
        }
        bytes.extend(0.5_f32.to_le_bytes());
        bytes.extend([0; 28]);
        let w = format("TL1").decode_ternary(&bytes, m, k).expect("valid");
        assert!(w.trits() == trits && w.scales() == &Scales::Tensor(0.5));
        bytes[3] = 0x49;
        let error = format("TL1").decode_ternary(&bytes, m, k);
        assert_eq!(error, Err(FormatError::Code { format: "TL1", index: 3 * k + 2, code: 9 }));
    }
    let unknown = FormatError::Preset { format: "TL1", m: 2560, k: 2560 };
    assert_eq!(format("TL1").bytes(2560, 2560), Err(unknown));
}

#[test]
fn tl2_stands_where_its_closed_form_says() {
    // One shape that threes fill, one that leaves twos.
    for ([m, k], [big_m, big_k]) in [([1536, 1536], [128, 192]), ([1024, 4096], [256, 96])] {
        let trits: Vec<i8> = (0..m * k).map(|at| [1, 0, -1, -1, 0, 1, 1][at % 7]).collect();
        let threes = k - k % big_k;
        let size = format("TL2").bytes(m, k).expect("known");
        let mut bytes = vec![0; size];
        let signs = m * threes / 6;
        let twos = signs + m * threes / 24;
        // Byte 8 g + r of 32 belongs to row 8 [0, 2, 1, 3][g] + r.
        let slot = |row: usize| 8 * [0, 2, 1, 3][row % 32 / 8] + row % 8;
        let tile = |width: usize, wide: usize, each: usize, [row, column]: [usize; 2]| {
            (row / big_m * width / wide + column / wide) * (big_m * wide / (32 * each))
                + row % big_m / 32 * (wide / each)
                + column % wide / each
        };
        for (row, weights) in trits.chunks(k).enumerate() {
            for (at, w) in weights[..threes].chunks(3).enumerate() {
                let (column, value) = (3 * at, 9 * w[0] + 3 * w[1] + w[2]);
                let byte = 32 * tile(threes, big_k, 6, [row, column]) + slot(row);
                bytes[byte] |= value.unsigned_abs() << (if at % 2 == 0 { 4 } else { 0 });
                let word = signs + 32 * tile(threes, big_k, 24, [row, column]) + 2 * (row % 16);
                let bit = 15 - (2 * (at % 8) + row % 32 / 16);
                bytes[word + bit / 8] |= u8::from(value < 0) << (bit % 8);
            }
            for (at, w) in weights[threes..].chunks(2).enumerate() {
                let byte = twos + 32 * tile(k - threes, 32, 4, [row, 2 * at]) + slot(row);
                bytes[byte] |= ((3 * w[0] + w[1] + 4) as u8) << (if at % 2 == 0 { 4 } else { 0 });
            }
        }
        bytes[size - 32..size - 28].copy_from_slice(&0.5_f32.to_le_bytes());
        let w = format("TL2").decode_ternary(&bytes, m, k).expect("valid");
        assert!(w.trits() == trits && w.scales() == &Scales::Tensor(0.5));
        bytes[0] = 0xe0;
        let error = format("TL2").decode_ternary(&bytes, m, k);
        assert_eq!(error, Err(FormatError::Code { format: "TL2", index: 0, code: 14 }));
    }
}

#[test]
fn what_was_written_out_is_found_again() {
    let trits: Vec<i8> = (0..3 * 128).map(|at| [1, 0, -1, 0, 0][at % 5]).collect();
    let scales = [
        Scales::Tensor(0.37),
        Scales::Row(vec![0.1, 0.2, 0.3]),
        Scales::Block { size: 64, values: vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6] },
    ];
    for scales in scales {
        let w = TernaryMatrix::new(3, 128, trits.clone(), scales).expect("fits");
        assert_eq!(written_out(&w.dequantize(), 3, 128), Some(w));
    }
    assert_eq!(written_out(&[0.5, 0.25], 1, 2), None);
    assert_eq!(written_out(&[f32::NAN, 0.25], 1, 2), None);
    assert_eq!(written_out(&[f32::INFINITY], 1, 1), None);
    assert_eq!(written_out(&[1.0], 1, 2), None);
}

proptest! {
    #[test]
    fn packers_of_ik_llama_cpp_are_undone(trits in vec(-1_i8..=1, 192), bits in any::<u16>(), scale in -9.0_f32..9.0) {
        let (half, bytes) = finite(bits);
        let row = |scale: &[u8], codes: Vec<u8>| [scale, &codes].concat();
        let w = format("IQ1_BN").decode_ternary(&row(&bytes, iq1_bn(&trits)), 1, 192).expect("valid");
        prop_assert_eq!((w.trits(), w.scales()), (&trits[..], &Scales::Row(vec![half])));
        let w = format("IQ2_BN").decode_ternary(&row(&scale.to_le_bytes(), iq2_bn(&trits)), 1, 192).expect("valid");
        prop_assert_eq!((w.trits(), w.scales()), (&trits[..], &Scales::Row(vec![scale])));
    }

    #[test]
    fn the_arm_rule_is_groups_of_sixteen(codes in vec(0_u8..3, 128)) {
        let mut bytes = vec![0; 64];
        for (i, code) in codes.iter().enumerate() {
            bytes[16 * (i / 64) + i % 16] |= code << (6 - 2 * ((i % 64) / 16));
        }
        bytes[32..36].copy_from_slice(&2.5_f32.to_le_bytes());
        let w = format("I2_S_ARM").decode_ternary(&bytes, 2, 64).expect("valid codes");
        let expected: Vec<i8> = codes.iter().map(|c| *c as i8 - 1).collect();
        prop_assert_eq!((w.trits(), w.scales()), (&expected[..], &Scales::Tensor(2.5)));
    }

    #[test]
    fn q2_0_of_both_sizes(trits in vec(-1_i8..=1, 256), bits in vec(any::<u16>(), 4)) {
        for (name, size) in [("Q2_0", 64), ("PQ2_0", 128)] {
            let mut bytes = Vec::new();
            for (block, bits) in trits.chunks(size).zip(&bits) {
                bytes.extend(finite(*bits).1);
                bytes.extend(block.chunks(4).map(|t| (0..4).fold(0, |byte, j| byte | ((t[j] + 1) as u8) << (2 * j))));
            }
            let w = format(name).decode_ternary(&bytes, 2, 128).expect("valid");
            prop_assert_eq!(w.trits(), &trits[..]);
            prop_assert_eq!(w.granularity(), Granularity::Block(size));
            let values: Vec<f32> = bits[..256 / size].iter().map(|bits| finite(*bits).0).collect();
            prop_assert_eq!(w.scales().values(), &values[..]);
            if format(name).is_written() {
                prop_assert_eq!(format(name).encode_ternary(&w), Ok(bytes));
            }
        }
    }

    #[test]
    fn numbers_decode_as_llama_cpp_loops(mut bytes in vec(any::<u8>(), 210), d in any::<u16>(), dmin in any::<u16>()) {
        let ((d, d_bytes), (dmin, dmin_bytes)) = (finite(d), finite(dmin));
        bytes[208..].copy_from_slice(&d_bytes);
        let mut expected = vec![0.0; 256];
        for n in 0..2 {
            let (ql, qh, sc) = (&bytes[64 * n..], &bytes[128 + 32 * n..], &bytes[192 + 8 * n..]);
            for l in 0..32 {
                let quants = [
                    (ql[l] & 0xf) | ((qh[l] & 3) << 4),
                    (ql[l + 32] & 0xf) | (((qh[l] >> 2) & 3) << 4),
                    (ql[l] >> 4) | (((qh[l] >> 4) & 3) << 4),
                    (ql[l + 32] >> 4) | (((qh[l] >> 6) & 3) << 4),
                ];
                for (at, q) in quants.into_iter().enumerate() {
                    let scale = f32::from(sc[l / 16 + 2 * at] as i8);
                    expected[128 * n + l + 32 * at] = d * scale * f32::from(q as i8 - 32);
                }
            }
        }
        prop_assert_eq!(decode("Q6_K", &bytes, 256), expected);

        bytes[..2].copy_from_slice(&d_bytes);
        bytes[2..4].copy_from_slice(&dmin_bytes);
        for (name, qs, size) in [("Q4_K", 16, 144), ("Q5_K", 48, 176)] {
            let mut expected = Vec::new();
            for j in 0..8 {
                let (scale, min) = scale_min(j, &bytes[4..16]);
                let (scale, min) = (d * scale, dmin * min);
                expected.extend((0..32).map(|l| {
                    let q = bytes[qs + 32 * (j / 2) + l];
                    let q = if j % 2 == 0 { q & 0xf } else { q >> 4 };
                    let fifth = name == "Q5_K" && bytes[16 + l] & (1 << j) != 0;
                    scale * f32::from(q + if fifth { 16 } else { 0 }) - min
                }));
            }
            prop_assert_eq!(decode(name, &bytes[..size], 256), expected, "{}", name);
        }

        let quants = bytes[2..18].iter();
        let expected: Vec<f32> = quants.clone().map(|q| q & 0xf).chain(quants.map(|q| q >> 4))
            .map(|q| f32::from(q as i8 - 8) * d).collect();
        prop_assert_eq!(decode("Q4_0", &bytes[..18], 32), expected);
    }

    #[test]
    fn iq1_s_is_words_times_scales(mut bytes in vec(any::<u8>(), 50), d in any::<u16>()) {
        let (d, d_bytes) = finite(d);
        bytes[..2].copy_from_slice(&d_bytes);
        for (at, group) in decode("IQ1_S", &bytes, 256).chunks(32).enumerate() {
            let high = u16::from_le_bytes([bytes[34 + 2 * at], bytes[35 + 2 * at]]);
            let scale = d * f32::from(2 * ((high >> 12) & 7) + 1);
            let delta = if high & 0x8000 == 0 { 0.125 } else { -0.125 };
            let word = [-1.0, 0.0, 1.0].map(|trit| scale * (trit + delta));
            prop_assert!(group.iter().all(|w| word.contains(w)), "{:?} {:?}", group, word);
        }
    }
}
