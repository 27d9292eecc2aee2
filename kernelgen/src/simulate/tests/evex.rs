//! What EVEX adds: 512 bits, masks, broadcasts, and the instructions that exist in no other encoding.

use super::*;
use iced_x86::{EncodingKind, Mnemonic as M};

/// An EVEX form of which operand 0 is a vector register.
fn evex_codes() -> impl Iterator<Item = Code> {
    let vector =
        |code: &Code| register(code.op_code().op_kind(0), 0).is_some_and(Register::is_vector_register);
    codes().filter(|code| code.op_code().encoding() == EncodingKind::EVEX).filter(vector)
}

/// Bytes that one bit of the mask stands for, read off the mnemonic: the type it ends with, but for those that end
/// with two types, of which an interleave works on the first.
fn mask_granule(mnemonic: Mnemonic) -> usize {
    let name = format!("{mnemonic:?}").to_lowercase();
    let name = name.as_str();
    match name {
        "vpalignr" => 1,
        "vcvtps2dq" | "vcvttps2dq" => 4,
        _ if name.starts_with("vpunpck") => match &name[8..] {
            "bw" => 1,
            "wd" => 2,
            "dq" => 4,
            _ => 8,
        },
        _ if name.ends_with("64x2") || name.ends_with("64x4") => 8,
        _ if name.ends_with("32x2") || name.ends_with("32x4") || name.ends_with("32x8") => 4,
        _ => match name.trim_end_matches(|c: char| c.is_ascii_digit()).chars().last() {
            _ if name.ends_with('8') => 1,
            _ if name.ends_with("16") => 2,
            _ if name.ends_with("32") => 4,
            _ if name.ends_with("64") || name.ends_with("pd") || name.ends_with("sd") => 8,
            Some('b') => 1,
            Some('w') => 2,
            _ if name.ends_with("ps") || name.ends_with("ds") || name.ends_with("ss") => 4,
            Some('d' | 'p') => {
                if name.ends_with("dup") && name.starts_with("vmovdd") {
                    8
                } else {
                    4
                }
            }
            Some('q') => 8,
            _ => panic!("{name}"),
        },
    }
}

fn execute(instruction: Instruction, state: &State) -> State {
    simulate(&snippet(instruction, Width::Zmm), state).unwrap()
}

/// `differences` of every form, all reported.
fn check(names: &[String]) -> Result<(), TestCaseError> {
    prop_assert!(names.is_empty(), "{} differ:\n{}", names.len(), names.join("\n"));
    Ok(())
}

fn operand_kinds(code: Code) -> Vec<Kind> {
    (0..code.op_code().op_count()).map(|operand| code.op_code().op_kind(operand)).collect()
}

fn both_forms(code: Code, immediate: u8) -> impl Iterator<Item = (Form, Instruction)> {
    [false, true].into_iter().filter_map(move |memory| {
        let form = Form { code, memory, immediate };
        Some((form, form.instruction()?))
    })
}

/// The VEX code of the same operation on vectors of 128 or 256 bits.
fn vex_twin(mnemonic: Mnemonic, kinds: &[Kind]) -> Option<Code> {
    let mut twins = codes().filter(|code| code.mnemonic() == mnemonic);
    twins.find(|code| code.op_code().encoding() == EncodingKind::VEX && operand_kinds(*code) == kinds)
}

/// VEX twins of EVEX codes, with the EVEX code first.
fn twins(change: impl Fn(Kind) -> Kind) -> Vec<(Code, Code)> {
    let pair = |code: Code| {
        let kinds: Vec<_> = operand_kinds(code).into_iter().map(&change).collect();
        Some((code, vex_twin(code.mnemonic(), &kinds)?))
    };
    evex_codes().filter_map(pair).collect()
}

/// What moves data between blocks of 256 bits.
fn crosses(mnemonic: Mnemonic) -> bool {
    const CROSSING: [Mnemonic; 3] = [M::Vpermd, M::Vpermps, M::Vcvtph2ps];
    let name = format!("{mnemonic:?}");
    CROSSING.contains(&mnemonic)
        || ["Vpmovsx", "Vpmovzx", "Vpbroadcast", "Vbroadcast"].iter().any(|prefix| name.starts_with(prefix))
}

fn halved(kind: Kind) -> Kind {
    match kind {
        Kind::zmm_reg => Kind::ymm_reg,
        Kind::zmm_rm => Kind::ymm_rm,
        Kind::zmm_vvvv => Kind::ymm_vvvv,
        Kind::zmm_or_mem => Kind::ymm_or_mem,
        other => other,
    }
}

/// The upper halves of the operands of 512 bits in place of the lower ones.
fn upper_half(code: Code, state: &State) -> State {
    let mut upper = state.clone();
    for (operand, kind) in operand_kinds(code).into_iter().enumerate() {
        let at = VECTORS_IN + (operand + 1) * 64;
        if halved(kind) != kind {
            upper.0.copy_within(at + 32..at + 64, at);
        }
        if matches!(kind, Kind::zmm_or_mem | Kind::mem) {
            upper.0.copy_within(MEMORY + 32..MEMORY + 64, MEMORY);
        }
    }
    upper
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn short_forms_equal_their_vex_twins(state in state()) {
        let twins = twins(|kind| kind);
        prop_assert!(twins.len() > 150, "{}", twins.len());
        let mut differences = Vec::new();
        for (evex, vex) in twins {
            for ((form, instruction), (_, twin)) in both_forms(evex, 0x4e).zip(both_forms(vex, 0x4e)) {
                if execute(instruction, &state) != execute(twin, &state) {
                    differences.push(format!("{evex:?} memory {}", form.memory));
                }
            }
        }
        check(&differences)?;
    }

    #[test]
    fn long_forms_are_two_vex_forms_side_by_side(state in state()) {
        let mut twins = twins(halved);
        twins.retain(|(evex, vex)| operand_kinds(*evex) != operand_kinds(*vex) && !crosses(evex.mnemonic()));
        prop_assert!(twins.len() > 80, "{}", twins.len());
        let mut differences = Vec::new();
        for (evex, vex) in twins {
            for ((form, instruction), (_, twin)) in both_forms(evex, 0x4e).zip(both_forms(vex, 0x4e)) {
                let whole = execute(instruction, &state).result();
                let halves = [state.clone(), upper_half(evex, &state)].map(|half| execute(twin, &half).result());
                if whole[..32] != halves[0][..32] || whole[32..] != halves[1][..32] {
                    differences.push(format!("{evex:?} memory {}", form.memory));
                }
            }
        }
        check(&differences)?;
    }

    #[test]
    fn a_mask_merges_or_zeroes(state in state(), bits in any::<u64>()) {
        let mut masked = state.clone();
        masked.set_mask(1, bits);
        let mut differences = Vec::new();
        let codes: Vec<_> = evex_codes().filter(|code| code.op_code().can_use_op_mask_register()).collect();
        prop_assert!(codes.len() > 400, "{}", codes.len());
        for code in codes.into_iter().filter(|code| !masked_otherwise(code.mnemonic())) {
            let granule = mask_granule(code.mnemonic());
            for (form, mut instruction) in both_forms(code, 0x9c) {
                let Some(full) = unmasked(form, instruction, &state) else { continue };
                for zeroing in [false, true] {
                    instruction.set_op_mask(Register::K1);
                    instruction.set_zeroing_masking(zeroing);
                    let width = if is_narrowing(code) { 64 } else { instruction.op0_register().size() };
                    let expected: [u8; 64] = std::array::from_fn(|byte| match bits >> (byte / granule) & 1 {
                        _ if byte >= width || beyond_narrowed(&instruction, byte) => 0,
                        1 => full[byte],
                        _ if zeroing => 0,
                        _ => state.old()[byte],
                    });
                    if execute(instruction, &masked).result() != expected {
                        differences.push(format!("{code:?} memory {} zeroing {zeroing}", form.memory));
                    }
                }
            }
        }
        check(&differences)?;
    }

    #[test]
    fn a_broadcast_is_memory_full_of_one_element(state in state()) {
        let mut differences = Vec::new();
        let codes: Vec<_> = codes().filter(|code| code.op_code().can_broadcast()).collect();
        prop_assert!(codes.len() > 200, "{}", codes.len());
        for code in codes {
            let mut instruction = Form { code, memory: true, immediate: 0x9c }.instruction().unwrap();
            instruction.set_is_broadcast(true);
            let element = instruction.memory_size().size();
            let broadcast = execute(instruction, &state);
            let mut filled = state.clone();
            let repeated: Vec<u8> = (0..64).map(|byte| state.0[MEMORY + byte % element]).collect();
            filled.set(MEMORY, &repeated);
            instruction.set_is_broadcast(false);
            let full = execute(instruction, &filled);
            if broadcast.0[VECTORS_OUT..] != full.0[VECTORS_OUT..] {
                differences.push(format!("{code:?}"));
            }
        }
        check(&differences)?;
    }
}

/// Blends, which have no use for the old destination (`masks.rs` tests them), and scalars, whose masks the simulator
/// refuses.
fn masked_otherwise(mnemonic: Mnemonic) -> bool {
    let name = format!("{mnemonic:?}");
    let scalar = name.ends_with("ss") || name.ends_with("sd");
    name.contains("blendm") || scalar && !name.starts_with("Vbroadcast")
}

/// Conversions to shorter lanes, whose destination holds fewer bytes than its register.
fn is_narrowing(code: Code) -> bool {
    let name = format!("{:?}", code.mnemonic());
    name.starts_with("Vpmov") && !name.starts_with("Vpmovsx") && !name.starts_with("Vpmovzx")
}

/// Whether `byte` lies beyond what a conversion to shorter lanes produces.
fn beyond_narrowed(instruction: &Instruction, byte: usize) -> bool {
    let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
    let ratio = if name.ends_with("db") { 4 } else { 2 };
    is_narrowing(instruction.code()) && byte >= instruction.op1_register().size() / ratio
}

/// The result without a mask; none where the destination is memory, which `masks.rs` tests.
fn unmasked(form: Form, instruction: Instruction, state: &State) -> Option<[u8; 64]> {
    let writes_memory = form.memory && instruction.op0_kind() == OpKind::Memory;
    (!writes_memory).then(|| execute(instruction, state).result())
}

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
