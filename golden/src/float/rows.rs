//! Rows of a key/value cache in fewer bits: half precision (rounded to nearest, ties to even), or bytes in blocks.
//!
//! What is computed with such a row is what would be computed with the numbers that it stands for: a row is widened
//! first, exactly from half precision, and by one multiplication a number from bytes.

/// Numbers of a row of bytes under one scale; the last block of a row may be shorter.
pub const ROW_BLOCK: usize = 32;

/// Rounds one block to bytes, as Q8_0 does but with a scale that keeps all its bits: the scale is `max|x| / 127`, a code
/// `round_ties_even(x * (1 / scale))`. A block that is not finite gets the scale NaN, so that no damage is hidden.
///
/// # Panics
/// When there are not as many codes as numbers.
pub fn round_block(x: &[f32], codes: &mut [i8]) -> f32 {
    assert_eq!(x.len(), codes.len(), "a code for each number");
    if x.iter().any(|x| !x.is_finite()) {
        codes.fill(0);
        return f32::NAN;
    }
    let scale = x.iter().fold(0.0_f32, |max, x| max.max(x.abs())) / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    for (code, x) in codes.iter_mut().zip(x) {
        // Saturates where 1 / scale overflows.
        *code = (x * inverse).round_ties_even() as i8;
    }
    scale
}

/// The numbers that the codes of one block stand for: `scale * code`.
///
/// # Panics
/// When there are not as many numbers as codes.
pub fn widen_block(scale: f32, codes: &[i8], out: &mut [f32]) {
    assert_eq!(codes.len(), out.len(), "a number for each code");
    for (out, &code) in out.iter_mut().zip(codes) {
        *out = f32::from(code) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extremes_do_not_panic() {
        for x in [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), 0.0] {
            let mut codes = [9; 3];
            let scale = round_block(&[x, -x, 0.0], &mut codes);
            assert!(scale.is_finite() && codes[2] == 0 && codes[0] == -codes[1].max(-127), "{x:e} {codes:?}");
        }
        let mut codes = [9; 2];
        assert!(round_block(&[f32::INFINITY, 1.0], &mut codes).is_nan());
        assert!(round_block(&[1.0, f32::NAN], &mut codes).is_nan());
    }

    proptest! {
        #[test]
        fn a_number_is_off_by_half_a_step_at_most(x in prop::collection::vec(-1e3_f32..1e3, 1..=ROW_BLOCK)) {
            let (mut codes, mut back) = (vec![0; x.len()], vec![0.0; x.len()]);
            let scale = round_block(&x, &mut codes);
            widen_block(scale, &codes, &mut back);
            for (x, back) in x.iter().zip(back) {
                prop_assert!((x - back).abs() <= 0.501 * scale, "{} {} {}", x, back, scale);
            }
        }
    }
}
