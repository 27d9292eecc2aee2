use super::*;
use proptest::prelude::*;

/// Numbers as weights are: most of them small.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| (random() + random() + random()) * 0.04).collect()
}

#[test]
fn more_bits_lose_less() {
    let values = numbers(4 * 512, 3);
    let power: f32 = values.iter().map(|x| x * x).sum();
    for (kind, limit) in ALL.iter().zip([4e-5, 4e-4, 6e-3]) {
        let matrix = QuantMatrix::quantize(kind, 4, 512, &values).unwrap();
        let back: Vec<f32> = (0..4).flat_map(|row| matrix.row_f32(row)).collect();
        let error: f32 = values.iter().zip(&back).map(|(x, y)| (x - y).powi(2)).sum();
        assert!(error / power < limit, "{}: {}", kind.name, error / power);
    }
}

#[test]
fn zeros_stay_zeros_and_shapes_are_checked() {
    for kind in ALL {
        let matrix = QuantMatrix::quantize(kind, 2, 256, &[0.0; 512]).unwrap();
        assert_eq!(matrix.row_f32(1), [0.0; 256]);
        assert!(QuantMatrix::quantize(kind, 1, 255, &[0.0; 255]).is_err());
        assert!(QuantMatrix::quantize(kind, 2, 256, &[0.0; 256]).is_err());
        assert!(QuantMatrix::from_bytes(kind, 2, 256, vec![0; 7]).is_err());
        assert!(QuantMatrix::from_bytes(kind, 2, 256, vec![0xFF; matrix.bytes().len()]).is_err());
        let mut values = vec![0.0; 512];
        values[300] = f32::NAN;
        let error = QuantMatrix::quantize(kind, 2, 256, &values).unwrap_err();
        assert_eq!(error, QuantError::Value { kind: kind.name, superblock: 300 / kind.columns });
    }
}

proptest! {
    #[test]
    fn any_bytes_with_finite_scales_are_a_matrix(seed in any::<u64>(), which in 0..ALL.len()) {
        let kind = ALL[which];
        let random = |at: usize| (seed.wrapping_mul(2 * at as u64 + 1) >> 33) as u8;
        let bytes: Vec<u8> = (0..512 / kind.columns * kind.bytes).map(random).collect();
        if let Ok(matrix) = QuantMatrix::from_bytes(kind, 1, 512, bytes) {
            prop_assert!(matrix.row_f32(0).iter().all(|x| x.is_finite()));
            // The product with one at a column and zero elsewhere is the column's weight, but for roundings.
            let mut q = vec![0; 512];
            q[seed as usize % 512] = 1;
            let y = quantized_gemm(&matrix, &q, &[1.0])[0];
            let weight = matrix.row_f32(0)[seed as usize % 512];
            prop_assert!((y - weight).abs() <= weight.abs() * 1e-5 + 1e-2, "{y} {weight}");
        }
    }

    #[test]
    fn numbers_are_those_that_the_format_decodes(seed in any::<u64>(), which in 0..ALL.len()) {
        let values = numbers(512, seed);
        let once = QuantMatrix::quantize(ALL[which], 1, 512, &values).unwrap();
        let format = crate::format::by_name(once.kind().name).unwrap();
        prop_assert_eq!(once.row_f32(0), format.decode_f32(once.bytes(), 1, 512).unwrap());
        if let Ok(bytes) = format.encode_f32(&values) {
            prop_assert_eq!(once.bytes(), &bytes[..]);
        }
    }
}
