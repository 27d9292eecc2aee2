//! Instructions of 512 bits beside their formulas, transcribed from the Intel SDM without the tables' help.

use super::evex::{both_forms, check, execute};
use super::*;

/// One instruction of 512 bits and its formula, transcribed from the Intel SDM.
struct Formula {
    code: Code,
    /// Bytes of a lane of the destination.
    lane: usize,
    /// Lane `index` of the result.
    value: fn(&Case, usize) -> u64,
}

/// The operands of a formula.
struct Case {
    old: [u8; 64],
    a: [u8; 64],
    b: [u8; 64],
    immediate: usize,
}

/// Number `index` in lanes of `size` bytes, unsigned.
fn u(bytes: &[u8; 64], size: usize, index: usize) -> u64 {
    (0..size).rev().fold(0, |value, byte| value << 8 | u64::from(bytes[index * size + byte]))
}

/// Number `index` in lanes of `size` bytes, signed.
fn s(bytes: &[u8; 64], size: usize, index: usize) -> i64 {
    let value = i128::from(u(bytes, size, index));
    let range = 1_i128 << (8 * size);
    (if value >= range / 2 { value - range } else { value }) as i64
}

fn dot_bytes(case: &Case, lane: usize) -> i64 {
    (4 * lane..4 * lane + 4).map(|byte| i64::from(case.a[byte]) * s(&case.b, 1, byte)).sum()
}

fn dot_words(case: &Case, lane: usize) -> i64 {
    (2 * lane..2 * lane + 2).map(|word| s(&case.a, 2, word) * s(&case.b, 2, word)).sum()
}

fn ternary(case: &Case, size: usize, lane: usize) -> u64 {
    (0..8 * size).fold(0, |value, bit| {
        let at = |bytes| u(bytes, size, lane) >> bit & 1;
        let row = at(&case.old) << 2 | at(&case.a) << 1 | at(&case.b);
        value | ((case.immediate as u64 >> row & 1) << bit)
    })
}

/// Lane `chosen` of `first` followed by `second`.
fn of_two(size: usize, first: &[u8; 64], second: &[u8; 64], chosen: u64) -> u64 {
    let lanes = 64 / size;
    let chosen = chosen as usize % (2 * lanes);
    if chosen < lanes { u(first, size, chosen) } else { u(second, size, chosen - lanes) }
}

fn saturated(value: i64) -> u64 {
    value.clamp(i32::MIN.into(), i32::MAX.into()) as u64
}

#[rustfmt::skip]
const FORMULAS: &[Formula] = &[
    Formula { code: Code::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32, lane: 4, value: |c, i| (s(&c.old, 4, i) + dot_bytes(c, i)) as u64 },
    Formula { code: Code::EVEX_Vpdpbusds_zmm_k1z_zmm_zmmm512b32, lane: 4, value: |c, i| saturated(s(&c.old, 4, i) + dot_bytes(c, i)) },
    Formula { code: Code::EVEX_Vpdpwssd_zmm_k1z_zmm_zmmm512b32, lane: 4, value: |c, i| (s(&c.old, 4, i) + dot_words(c, i)) as u64 },
    Formula { code: Code::EVEX_Vpdpwssds_zmm_k1z_zmm_zmmm512b32, lane: 4, value: |c, i| saturated(s(&c.old, 4, i) + dot_words(c, i)) },
    Formula { code: Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8, lane: 4, value: |c, i| ternary(c, 4, i) },
    Formula { code: Code::EVEX_Vpternlogq_zmm_k1z_zmm_zmmm512b64_imm8, lane: 8, value: |c, i| ternary(c, 8, i) },
    Formula { code: Code::EVEX_Vshufpd_zmm_k1z_zmm_zmmm512b64_imm8, lane: 8, value: |c, i| u(if i % 2 == 0 { &c.a } else { &c.b }, 8, i / 2 * 2 + (c.immediate >> i & 1)) },
    Formula { code: Code::EVEX_Vpermb_zmm_k1z_zmm_zmmm512, lane: 1, value: |c, i| c.b[usize::from(c.a[i] & 63)].into() },
    Formula { code: Code::EVEX_Vpermw_zmm_k1z_zmm_zmmm512, lane: 2, value: |c, i| u(&c.b, 2, u(&c.a, 2, i) as usize & 31) },
    Formula { code: Code::EVEX_Vpermd_zmm_k1z_zmm_zmmm512b32, lane: 4, value: |c, i| u(&c.b, 4, u(&c.a, 4, i) as usize & 15) },
    Formula { code: Code::EVEX_Vpermq_zmm_k1z_zmm_zmmm512b64, lane: 8, value: |c, i| u(&c.b, 8, u(&c.a, 8, i) as usize & 7) },
    Formula { code: Code::EVEX_Vpermi2b_zmm_k1z_zmm_zmmm512, lane: 1, value: |c, i| of_two(1, &c.a, &c.b, u(&c.old, 1, i)) },
    Formula { code: Code::EVEX_Vpermi2w_zmm_k1z_zmm_zmmm512, lane: 2, value: |c, i| of_two(2, &c.a, &c.b, u(&c.old, 2, i)) },
    Formula { code: Code::EVEX_Vpermi2d_zmm_k1z_zmm_zmmm512b32, lane: 4, value: |c, i| of_two(4, &c.a, &c.b, u(&c.old, 4, i)) },
    Formula { code: Code::EVEX_Vpermt2b_zmm_k1z_zmm_zmmm512, lane: 1, value: |c, i| of_two(1, &c.old, &c.b, u(&c.a, 1, i)) },
    Formula { code: Code::EVEX_Vpermt2w_zmm_k1z_zmm_zmmm512, lane: 2, value: |c, i| of_two(2, &c.old, &c.b, u(&c.a, 2, i)) },
    Formula { code: Code::EVEX_Vpmultishiftqb_zmm_k1z_zmm_zmmm512b64, lane: 1, value: |c, i| {
        (0..8).map(|bit| (u(&c.b, 8, i / 8) >> ((u64::from(c.a[i]) + bit) & 63) & 1) << bit).sum()
    } },
    Formula { code: Code::EVEX_Vgf2p8affineqb_zmm_k1z_zmm_zmmm512b64_imm8, lane: 1, value: |c, i| {
        let row = |bit: usize| c.b[i / 8 * 8 + (7 - bit)];
        let sum = |bit: usize| (0..8).fold(c.immediate as u8 >> bit & 1, |sum, j| sum ^ (row(bit) >> j & c.a[i] >> j & 1));
        (0..8).map(|bit| u64::from(sum(bit)) << bit).sum()
    } },
    Formula { code: Code::EVEX_Vpsravw_zmm_k1z_zmm_zmmm512, lane: 2, value: |c, i| (s(&c.a, 2, i) >> u(&c.b, 2, i).min(15)) as u64 },
    Formula { code: Code::EVEX_Vpsravq_zmm_k1z_zmm_zmmm512b64, lane: 8, value: |c, i| (s(&c.a, 8, i) >> u(&c.b, 8, i).min(63)) as u64 },
    Formula { code: Code::EVEX_Vpsllvw_zmm_k1z_zmm_zmmm512, lane: 2, value: |c, i| if u(&c.b, 2, i) < 16 { u(&c.a, 2, i) << u(&c.b, 2, i) } else { 0 } },
    Formula { code: Code::EVEX_Vpsrlvw_zmm_k1z_zmm_zmmm512, lane: 2, value: |c, i| if u(&c.b, 2, i) < 16 { u(&c.a, 2, i) >> u(&c.b, 2, i) } else { 0 } },
    Formula { code: Code::EVEX_Vprolvd_zmm_k1z_zmm_zmmm512b32, lane: 4, value: |c, i| (u(&c.a, 4, i) as u32).rotate_left(u(&c.b, 4, i) as u32 % 32).into() },
    Formula { code: Code::EVEX_Vprorvq_zmm_k1z_zmm_zmmm512b64, lane: 8, value: |c, i| u(&c.a, 8, i).rotate_right(u(&c.b, 8, i) as u32 % 64) },
    Formula { code: Code::EVEX_Vpmullq_zmm_k1z_zmm_zmmm512b64, lane: 8, value: |c, i| u(&c.a, 8, i).wrapping_mul(u(&c.b, 8, i)) },
    Formula { code: Code::EVEX_Vpminsq_zmm_k1z_zmm_zmmm512b64, lane: 8, value: |c, i| s(&c.a, 8, i).min(s(&c.b, 8, i)) as u64 },
    Formula { code: Code::EVEX_Vpmaxuq_zmm_k1z_zmm_zmmm512b64, lane: 8, value: |c, i| u(&c.a, 8, i).max(u(&c.b, 8, i)) },
    Formula { code: Code::EVEX_Valignd_zmm_k1z_zmm_zmmm512b32_imm8, lane: 4, value: |c, i| of_two(4, &c.b, &c.a, (i + c.immediate % 16) as u64) },
    Formula { code: Code::EVEX_Valignq_zmm_k1z_zmm_zmmm512b64_imm8, lane: 8, value: |c, i| of_two(8, &c.b, &c.a, (i + c.immediate % 8) as u64) },
    Formula { code: Code::EVEX_Vshufi32x4_zmm_k1z_zmm_zmmm512b32_imm8, lane: 4, value: |c, i| {
        u(if i < 8 { &c.a } else { &c.b }, 4, (c.immediate >> (2 * (i / 4)) & 3) * 4 + i % 4)
    } },
    Formula { code: Code::EVEX_Vinserti32x4_zmm_k1z_zmm_xmmm128_imm8, lane: 4, value: |c, i| {
        if i / 4 == c.immediate % 4 { u(&c.b, 4, i % 4) } else { u(&c.a, 4, i) }
    } },
    Formula { code: Code::EVEX_Vinserti64x4_zmm_k1z_zmm_ymmm256_imm8, lane: 8, value: |c, i| {
        if i / 4 == c.immediate % 2 { u(&c.b, 8, i % 4) } else { u(&c.a, 8, i) }
    } },
];

/// As [`FORMULAS`], of one source, which is `a`.
#[rustfmt::skip]
const UNARY_FORMULAS: &[Formula] = &[
    Formula { code: Code::EVEX_Vpopcntb_zmm_k1z_zmmm512, lane: 1, value: |c, i| (0..8).map(|bit| u(&c.a, 1, i) >> bit & 1).sum() },
    Formula { code: Code::EVEX_Vpopcntw_zmm_k1z_zmmm512, lane: 2, value: |c, i| (0..16).map(|bit| u(&c.a, 2, i) >> bit & 1).sum() },
    Formula { code: Code::EVEX_Vpopcntd_zmm_k1z_zmmm512b32, lane: 4, value: |c, i| (0..32).map(|bit| u(&c.a, 4, i) >> bit & 1).sum() },
    Formula { code: Code::EVEX_Vpopcntq_zmm_k1z_zmmm512b64, lane: 8, value: |c, i| (0..64).map(|bit| u(&c.a, 8, i) >> bit & 1).sum() },
    Formula { code: Code::EVEX_Vplzcntd_zmm_k1z_zmmm512b32, lane: 4, value: |c, i| (u(&c.a, 4, i) as u32).leading_zeros().into() },
    Formula { code: Code::EVEX_Vpabsq_zmm_k1z_zmmm512b64, lane: 8, value: |c, i| s(&c.a, 8, i).unsigned_abs() },
    Formula { code: Code::EVEX_Vpsraq_zmm_k1z_zmmm512b64_imm8, lane: 8, value: |c, i| (s(&c.a, 8, i) >> c.immediate.min(63)) as u64 },
    Formula { code: Code::EVEX_Vprold_zmm_k1z_zmmm512b32_imm8, lane: 4, value: |c, i| (u(&c.a, 4, i) as u32).rotate_left(c.immediate as u32 % 32).into() },
    Formula { code: Code::EVEX_Vpmovsxbd_zmm_k1z_xmmm128, lane: 4, value: |c, i| s(&c.a, 1, i) as u64 },
    Formula { code: Code::EVEX_Vpmovzxbw_zmm_k1z_ymmm256, lane: 2, value: |c, i| u(&c.a, 1, i) },
    Formula { code: Code::EVEX_Vpmovdb_xmmm128_k1z_zmm, lane: 1, value: |c, i| if i < 16 { u(&c.a, 4, i) } else { 0 } },
    Formula { code: Code::EVEX_Vpmovdw_ymmm256_k1z_zmm, lane: 2, value: |c, i| if i < 16 { u(&c.a, 4, i) } else { 0 } },
    Formula { code: Code::EVEX_Vpmovwb_ymmm256_k1z_zmm, lane: 1, value: |c, i| if i < 32 { u(&c.a, 2, i) } else { 0 } },
    Formula { code: Code::EVEX_Vpmovsdb_xmmm128_k1z_zmm, lane: 1, value: |c, i| if i < 16 { s(&c.a, 4, i).clamp(-128, 127) as u64 } else { 0 } },
    Formula { code: Code::EVEX_Vpmovusdb_xmmm128_k1z_zmm, lane: 1, value: |c, i| if i < 16 { u(&c.a, 4, i).min(255) } else { 0 } },
    Formula { code: Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae, lane: 4, value: |c, i| {
        let (value, bits) = (f32::from_bits(u(&c.a, 4, i) as u32), c.immediate >> 4);
        if value.is_nan() {
            return u64::from(value.to_bits() | 1 << 22);
        }
        let round = [f64::round_ties_even, f64::floor, f64::ceil, f64::trunc];
        let round = round[if c.immediate & 4 == 0 { c.immediate & 3 } else { 0 }];
        let rounded = round(f64::from(value) * 2_f64.powi(bits as i32)) * 2_f64.powi(-(bits as i32));
        u64::from((rounded as f32).to_bits())
    } },
    Formula { code: Code::EVEX_Vbroadcasti32x4_zmm_k1z_m128, lane: 4, value: |c, i| u(&c.a, 4, i % 4) },
    Formula { code: Code::EVEX_Vbroadcasti64x4_zmm_k1z_m256, lane: 8, value: |c, i| u(&c.a, 8, i % 4) },
    Formula { code: Code::EVEX_Vpbroadcastd_zmm_k1z_xmmm32, lane: 4, value: |c, _| u(&c.a, 4, 0) },
    Formula { code: Code::EVEX_Vpbroadcastb_zmm_k1z_xmmm8, lane: 1, value: |c, _| u(&c.a, 1, 0) },
    Formula { code: Code::EVEX_Vextracti32x4_xmmm128_k1z_zmm_imm8, lane: 4, value: |c, i| if i < 4 { u(&c.a, 4, c.immediate % 4 * 4 + i) } else { 0 } },
    Formula { code: Code::EVEX_Vextracti64x4_ymmm256_k1z_zmm_imm8, lane: 8, value: |c, i| if i < 4 { u(&c.a, 8, c.immediate % 2 * 4 + i) } else { 0 } },
];

/// The formula's result.
fn expected(formula: &Formula, case: &Case) -> [u8; 64] {
    let lane = |index: usize| (formula.value)(case, index).to_le_bytes();
    std::array::from_fn(|byte| lane(byte / formula.lane)[byte % formula.lane])
}

proptest! {
    #[test]
    fn instructions_do_what_the_manual_says(state in state(), immediate in any::<u8>()) {
        let mut differences = Vec::new();
        let memory: [u8; 64] = state.0[MEMORY..MEMORY + 64].try_into().unwrap();
        for (formula, sources) in
            FORMULAS.iter().map(|row| (row, 2)).chain(UNARY_FORMULAS.iter().map(|row| (row, 1)))
        {
            for (form, instruction) in both_forms(formula.code, immediate) {
                if instruction.op0_kind() == OpKind::Memory {
                    continue;
                }
                let [a, b] = [2, 3].map(|index| state.vector(VECTORS_IN, index));
                let (a, b) = match (form.memory, sources) {
                    (false, _) => (a, b),
                    (true, 1) => (memory, b),
                    (true, _) => (a, memory),
                };
                let case = Case { old: state.old(), a, b, immediate: immediate.into() };
                if execute(instruction, &state).result() != expected(formula, &case) {
                    differences.push(format!("{:?} memory {}", formula.code, form.memory));
                }
            }
        }
        check(&differences)?;
    }

    #[test]
    fn vex_dot_products_equal_the_evex_ones(state in state()) {
        let pairs = [
            (Code::VEX_Vpdpbusd_ymm_ymm_ymmm256, Code::EVEX_Vpdpbusd_ymm_k1z_ymm_ymmm256b32),
            (Code::VEX_Vpdpbusds_ymm_ymm_ymmm256, Code::EVEX_Vpdpbusds_ymm_k1z_ymm_ymmm256b32),
            (Code::VEX_Vpdpwssd_xmm_xmm_xmmm128, Code::EVEX_Vpdpwssd_xmm_k1z_xmm_xmmm128b32),
        ];
        for (vex, evex) in pairs {
            for ((_, vex), (_, evex)) in both_forms(vex, 0).zip(both_forms(evex, 0)) {
                prop_assert_eq!(execute(vex, &state), execute(evex, &state));
            }
        }
    }
}

/// VPMADDUBSW and VPDPBUSDS saturate, VPDPBUSD and VPMADDWD wrap: each at its only edges.
#[test]
fn sums_saturate_or_wrap_at_their_edges() {
    let state = |old: u32, a: u32, b: u32| {
        let mut state = State([0; SIZE]);
        for (index, value) in [(1, old), (2, a), (3, b)] {
            state.set(VECTORS_IN + index * 64, &value.to_le_bytes().repeat(16));
        }
        state
    };
    let lane = |code, old, a, b| {
        let instruction = Form { code, memory: false, immediate: 0 }.instruction().unwrap();
        u(&execute(instruction, &state(old, a, b)).result(), 4, 15) as u32
    };
    let bytes = |value: i8| u32::from_le_bytes([value as u8; 4]);
    let pairs = Code::EVEX_Vpmaddubsw_zmm_k1z_zmm_zmmm512;
    assert_eq!(lane(pairs, 0, bytes(-1), bytes(127)), 0x7fff_7fff);
    assert_eq!(lane(pairs, 0, bytes(-1), bytes(-128)), 0x8000_8000);
    let words = Code::EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512;
    assert_eq!(lane(words, 0, 0x8000_8000, 0x8000_8000), 0x8000_0000);
    let dot = Code::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32;
    assert_eq!(lane(dot, i32::MAX as u32, bytes(1), bytes(1)), (i32::MAX as u32).wrapping_add(4));
    let saturating = Code::EVEX_Vpdpbusds_zmm_k1z_zmm_zmmm512b32;
    assert_eq!(lane(saturating, i32::MAX as u32, bytes(1), bytes(1)), i32::MAX as u32);
    assert_eq!(lane(saturating, i32::MIN as u32, bytes(1), bytes(-1)), i32::MIN as u32);
    assert_eq!(lane(dot, 0, bytes(-1), bytes(-128)), (-4 * 255 * 128_i32) as u32);
}
