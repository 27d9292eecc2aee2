//! `TL1` and `TL2` (Microsoft bitnet.cpp): look-up-table layouts whose tiles depend on the shape, by tables that the
//! files do not carry.
//!
//! Known are the shapes of bitnet_b1_58-large, bitnet_b1_58-3B and Llama3-8B-1.58 with the tables of
//! microsoft/BitNet `setup_env.py`; the order of bytes is that of `utils/convert-hf-to-gguf-bitnet.py`,
//! `process_tl1` and `preprocess_weights_tl2`. Both end with codes padded to 32 bytes and an f32 scale in 32 bytes.

use super::{Coding, Format};

/// 4-bit codes `3 a + b + 4` of two neighbouring weights, two to a byte, the first in the high half; 16 rows by 4
/// columns in 16 bytes, in tiles of `[bm, 256 / bm]` within tiles of `[BM, BK]`.
pub static TL1: Format = Format {
    name: "TL1",
    type_id: 38,
    weights: 1,
    bytes: 1,
    coding: Coding::Preset { codes: codes_1, read: read_1 },
};

/// Of each row the first `k3` weights, a multiple of BK, stand in threes: in one plane the absolute value of
/// `9 a + 3 b + c` as 4-bit codes, two to a byte, in tiles of 32 rows by 6 columns; in a second plane the signs, in
/// tiles of 32 rows by 24 columns. The rest stands in a third plane in twos as in [`TL1`], in tiles of 32 by 4.
pub static TL2: Format = Format {
    name: "TL2",
    type_id: 39,
    weights: 1,
    bytes: 1,
    coding: Coding::Preset { codes: codes_2, read: read_2 },
};

/// The tiles of one shape.
struct Preset {
    shape: [usize; 2],
    /// `[BM, BK]`
    outer: [usize; 2],
    /// `bm`
    inner: usize,
}

const fn preset(shape: [usize; 2], outer: [usize; 2], inner: usize) -> Preset {
    Preset { shape, outer, inner }
}

/// The tables of `codegen_tl1.py`.
const PRESETS_1: [Preset; 10] = [
    preset([1536, 4096], [256, 128], 32),
    preset([1536, 1536], [128, 64], 64),
    preset([4096, 1536], [256, 128], 32),
    preset([3200, 8640], [160, 64], 32),
    preset([3200, 3200], [320, 128], 64),
    preset([8640, 3200], [320, 64], 32),
    preset([14336, 4096], [256, 128], 32),
    preset([4096, 14336], [128, 64], 64),
    preset([1024, 4096], [256, 128], 32),
    preset([4096, 4096], [128, 64], 64),
];

/// The tables of `codegen_tl2.py`.
const PRESETS_2: [Preset; 10] = [
    preset([1536, 4096], [256, 96], 32),
    preset([1536, 1536], [128, 192], 32),
    preset([4096, 1536], [256, 96], 32),
    preset([3200, 8640], [160, 96], 32),
    preset([3200, 3200], [320, 96], 32),
    preset([8640, 3200], [320, 96], 32),
    preset([14336, 4096], [256, 96], 32),
    preset([4096, 14336], [128, 96], 32),
    preset([1024, 4096], [256, 96], 32),
    preset([4096, 4096], [128, 96], 32),
];

/// Which of the four groups of eight rows stands where in a tile of 32 rows.
const GROUPS: [usize; 4] = [0, 2, 1, 3];

fn find(presets: &'static [Preset], shape: [usize; 2]) -> Option<&'static Preset> {
    presets.iter().find(|preset| preset.shape == shape)
}

/// The corners of tiles of `tile`, row by row of tiles, that fill `area`.
fn tiles(area: [usize; 2], tile: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    let columns = move |row| (0..area[1]).step_by(tile[1]).map(move |column| [row, column]);
    (0..area[0]).step_by(tile[0]).flat_map(columns)
}

/// The corners of tiles of `inner` in tiles of `outer`, from the corner of `area`.
fn nested(area: [usize; 2], outer: [usize; 2], inner: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    tiles(area, outer).flat_map(move |a| tiles(outer, inner).map(move |b| [a[0] + b[0], a[1] + b[1]]))
}

fn codes_1(m: usize, k: usize) -> Option<usize> {
    find(&PRESETS_1, [m, k]).map(|_| m * k / 4)
}

/// As ggml counts them: as if 256 weights of each row stood in twos.
fn codes_2(m: usize, k: usize) -> Option<usize> {
    find(&PRESETS_2, [m, k]).map(|_| (k - 256) * m / 3 * 5 / 8 + 256 * m / 2 * 4 / 8)
}

fn read_1(codes: &[u8], [m, k]: [usize; 2], trits: &mut [i8]) -> Result<(), (usize, u8)> {
    let Some(&Preset { outer, inner, .. }) = find(&PRESETS_1, [m, k]) else { return Ok(()) };
    let inner = [inner, 256 / inner];
    let corners = nested([m, k], outer, inner);
    let corners = corners.flat_map(|a| tiles(inner, [16, 4]).map(move |b| [a[0] + b[0], a[1] + b[1]]));
    for ([row, column], codes) in corners.zip(codes.chunks_exact(16)) {
        for (at, code) in codes.iter().enumerate() {
            pairs(*code, (row + at) * k + column, trits)?;
        }
    }
    Ok(())
}

/// The four weights from `at` on, of a byte of two pairs.
fn pairs(byte: u8, at: usize, trits: &mut [i8]) -> Result<(), (usize, u8)> {
    for (pair, code) in [byte >> 4, byte & 15].into_iter().enumerate() {
        let at = at + 2 * pair;
        if code > 8 {
            return Err((at, code));
        }
        trits[at] = (code / 3) as i8 - 1;
        trits[at + 1] = (code % 3) as i8 - 1;
    }
    Ok(())
}

fn read_2(codes: &[u8], [m, k]: [usize; 2], trits: &mut [i8]) -> Result<(), (usize, u8)> {
    let Some(&Preset { outer, .. }) = find(&PRESETS_2, [m, k]) else { return Ok(()) };
    let threes = k - k % outer[1];
    let (values, rest) = codes.split_at(m * threes / 6);
    let (signs, twos) = rest.split_at(m * threes / 24);
    for ([row, column], codes) in nested([m, threes], outer, [32, 6]).zip(values.chunks_exact(32)) {
        for (at, code) in codes.iter().enumerate() {
            triples(*code, (row + stored_row(at)) * k + column, trits)?;
        }
    }
    for ([row, column], words) in nested([m, threes], outer, [32, 24]).zip(signs.chunks_exact(32)) {
        for (at, word) in words.as_chunks::<2>().0.iter().enumerate() {
            negate(u16::from_le_bytes(*word), [row + at, column], k, trits);
        }
    }
    let rest = nested([m, k - threes], [outer[0], 32], [32, 4]);
    for ([row, column], codes) in rest.zip(twos.chunks_exact(32)) {
        for (at, code) in codes.iter().enumerate() {
            pairs(*code, (row + stored_row(at)) * k + threes + column, trits)?;
        }
    }
    Ok(())
}

/// The row within its tile of 32 that byte `at` of the tile belongs to.
fn stored_row(at: usize) -> usize {
    8 * GROUPS[at / 8] + at % 8
}

/// The six weights from `at` on, of a byte of two triples, before signs.
fn triples(byte: u8, at: usize, trits: &mut [i8]) -> Result<(), (usize, u8)> {
    for (triple, value) in [byte >> 4, byte & 15].into_iter().enumerate() {
        let at = at + 3 * triple;
        if value > 13 {
            return Err((at, value));
        }
        let digits = value + 13;
        for (trit, digit) in trits[at..at + 3].iter_mut().zip([digits / 9, digits / 3 % 3, digits % 3]) {
            *trit = digit as i8 - 1;
        }
    }
    Ok(())
}

/// The signs of eight triples of two rows, 16 apart: bit `15 - 2 t` is that of triple `t` of the row, the bit below it
/// that of the row further down.
fn negate(word: u16, [row, column]: [usize; 2], k: usize, trits: &mut [i8]) {
    for at in (0..16).filter(|at| word >> (15 - at) & 1 == 1) {
        let start = (row + at % 2 * 16) * k + column + at / 2 * 3;
        trits[start..start + 3].iter_mut().for_each(|trit| *trit = -*trit);
    }
}
