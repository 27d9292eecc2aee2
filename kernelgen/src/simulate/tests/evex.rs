//! What EVEX adds: 512 bits, masks, broadcasts, and the instructions that exist in no other encoding.

use super::*;
use iced_x86::{EncodingKind, Mnemonic as M};

/// An EVEX form of which operand 0 is a vector register.
fn evex_codes() -> impl Iterator<Item = Code> {
    let vector =
        |code: &Code| register(code.op_code().op_kind(0), 0).is_some_and(Register::is_vector_register);
    codes().filter(|code| code.op_code().encoding() == EncodingKind::EVEX).filter(vector)
}

/// Ends of mnemonics and the bytes that one bit of their mask stands for; the first that fits counts.
const GRANULES: &[(&str, usize)] = &[
    ("vpalignr", 1),
    ("ps2dq", 4),
    ("unpcklbw", 1),
    ("unpckhbw", 1),
    ("unpcklwd", 2),
    ("unpckhwd", 2),
    ("unpckldq", 4),
    ("unpckhdq", 4),
    ("movddup", 8),
    ("dup", 4),
    ("64x2", 8),
    ("64x4", 8),
    ("32x2", 4),
    ("32x4", 4),
    ("32x8", 4),
    ("vmovdqu8", 1),
    ("16", 2),
    ("32", 4),
    ("64", 8),
    ("broadcastsd", 8),
    ("pd", 8),
    ("s", 4),
    ("b", 1),
    ("w", 2),
    ("d", 4),
    ("q", 8),
];

fn mask_granule(mnemonic: Mnemonic) -> usize {
    let name = format!("{mnemonic:?}").to_lowercase();
    let row = GRANULES.iter().find(|row| name.ends_with(row.0));
    row.unwrap_or_else(|| panic!("no granule of {name}")).1
}

pub(super) fn execute(instruction: Instruction, state: &State) -> State {
    simulate(&snippet(instruction, Width::Zmm), state).unwrap()
}

/// `differences` of every form, all reported.
pub(super) fn check(names: &[String]) -> Result<(), TestCaseError> {
    prop_assert!(names.is_empty(), "{} differ:\n{}", names.len(), names.join("\n"));
    Ok(())
}

fn operand_kinds(code: Code) -> Vec<Kind> {
    (0..code.op_code().op_count()).map(|operand| code.op_code().op_kind(operand)).collect()
}

pub(super) fn both_forms(code: Code, immediate: u8) -> impl Iterator<Item = (Form, Instruction)> {
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

/// What moves data between blocks of 256 bits, or has bits of its immediate for each (VSHUFPD).
fn crosses(mnemonic: Mnemonic) -> bool {
    const CROSSING: [Mnemonic; 4] = [M::Vpermd, M::Vpermps, M::Vcvtph2ps, M::Vshufpd];
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
    let packed = name.starts_with("Vbroadcast") || name.starts_with("Vpdp");
    name.contains("blendm") || scalar && !packed
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
