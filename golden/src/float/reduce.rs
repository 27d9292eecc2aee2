//! Sixteen-lane reductions.

/// Lanes of every reduction.
pub const LANES: usize = 16;

/// The sum of sixteen lanes: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
#[inline(always)]
pub fn fold16(mut lanes: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// Up to sixteen values, padded with zeros.
fn padded(chunk: &[f32]) -> [f32; LANES] {
    std::array::from_fn(|i| chunk.get(i).copied().unwrap_or(0.0))
}

/// The sum of `x` in sixteen lanes; 0 for nothing.
pub fn sum16(x: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for chunk in x.chunks(LANES) {
        let x = padded(chunk);
        for i in 0..LANES {
            lanes[i] += x[i];
        }
    }
    fold16(lanes)
}

/// The dot product of `a` and `b` in sixteen lanes, each lane accumulating by fused multiply-add; 0 for
/// nothing.
///
/// # Panics
/// When the lengths differ.
pub fn dot16(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "a dot product of unequal lengths");
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        let (a, b) = (padded(a), padded(b));
        for i in 0..LANES {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    fold16(lanes)
}
