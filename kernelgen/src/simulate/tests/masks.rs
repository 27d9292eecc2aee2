//! Mask registers, compares into them, and the memory that a mask protects.

use super::super::fault::FaultKind;
use super::*;

const DATA: u64 = 0x1000;

/// The k register of operand 0 after an instruction without memory operand.
fn mask_of(code: Code, immediate: u8, state: &State, write_mask: Option<Register>) -> u64 {
    let mut instruction = Form { code, memory: false, immediate }.instruction().unwrap();
    if let Some(mask) = write_mask {
        instruction.set_op_mask(mask);
    }
    simulate(&snippet(instruction, Width::Zmm), state).unwrap().mask(MASKS_OUT, 2)
}

/// Bit by bit over lanes of `N` bytes of the two sources.
fn bits<const N: usize>(state: &State, first: usize, holds: impl Fn([u8; N], [u8; N]) -> bool) -> u64 {
    let lanes = |index| {
        let (lanes, _) = state.0[VECTORS_IN + index * 64..][..64].as_chunks::<N>();
        lanes.to_vec()
    };
    let pairs = lanes(first).into_iter().zip(lanes(first + 1));
    pairs.enumerate().map(|(index, (a, b))| u64::from(holds(a, b)) << index).sum()
}

proptest! {
    #[test]
    fn compares_set_a_bit_a_lane(mut state in state(), zeroed in any::<u64>()) {
        // Operand 0 is a mask, so the sources are vectors 2 and 3. Some lanes equal.
        state.0.copy_within(VECTORS_IN + 128..VECTORS_IN + 160, VECTORS_IN + 192);
        state.set_mask(1, zeroed);
        let equal = Code::EVEX_Vpcmpeqb_kr_k1_zmm_zmmm512;
        prop_assert_eq!(mask_of(equal, 0, &state, None), bits(&state, 2, |a: [u8; 1], b| a == b));
        let masked = mask_of(equal, 0, &state, Some(Register::K1));
        prop_assert_eq!(masked, bits(&state, 2, |a: [u8; 1], b| a == b) & zeroed);
        let test = Code::EVEX_Vptestmb_kr_k1_zmm_zmmm512;
        prop_assert_eq!(mask_of(test, 0, &state, None), bits(&state, 2, |[a], [b]: [u8; 1]| a & b != 0));
        let test = Code::EVEX_Vptestnmd_kr_k1_zmm_zmmm512b32;
        let none = |a, b| u32::from_le_bytes(a) & u32::from_le_bytes(b) == 0;
        prop_assert_eq!(mask_of(test, 0, &state, None), bits(&state, 2, none));
    }

    #[test]
    fn predicates_are_the_manuals(mut state in state()) {
        state.0.copy_within(VECTORS_IN + 128..VECTORS_IN + 160, VECTORS_IN + 192);
        let orders: [fn(std::cmp::Ordering) -> bool; 8] = [
            std::cmp::Ordering::is_eq,
            std::cmp::Ordering::is_lt,
            std::cmp::Ordering::is_le,
            |_| false,
            std::cmp::Ordering::is_ne,
            std::cmp::Ordering::is_ge,
            std::cmp::Ordering::is_gt,
            |_| true,
        ];
        for (predicate, holds) in (0..).zip(orders) {
            let signed = bits(&state, 2, |a, b| holds(i16::from_le_bytes(a).cmp(&i16::from_le_bytes(b))));
            prop_assert_eq!(mask_of(Code::EVEX_Vpcmpw_kr_k1_zmm_zmmm512_imm8, predicate, &state, None), signed);
            let unsigned = bits(&state, 2, |a, b| holds(u32::from_le_bytes(a).cmp(&u32::from_le_bytes(b))));
            let code = Code::EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8;
            prop_assert_eq!(mask_of(code, predicate, &state, None), unsigned);
        }
    }

    #[test]
    fn mask_registers_combine(a in any::<u64>(), b in any::<u64>()) {
        let mut state = State([0; SIZE]);
        state.set_mask(3, a);
        state.set_mask(4, b);
        let low = |bits: u32, value: u64| if bits == 64 { value } else { value & ((1 << bits) - 1) };
        for (code, expected) in [
            (Code::VEX_Kandw_kr_kr_kr, low(16, a & b)),
            (Code::VEX_Korq_kr_kr_kr, a | b),
            (Code::VEX_Kxord_kr_kr_kr, low(32, a ^ b)),
            (Code::VEX_Kaddw_kr_kr_kr, low(16, a.wrapping_add(b))),
            (Code::VEX_Kunpckdq_kr_kr_kr, low(32, a) << 32 | low(32, b)),
            (Code::VEX_Kunpckbw_kr_kr_kr, low(8, a) << 8 | low(8, b)),
            (Code::VEX_Kxnorb_kr_kr_kr, low(8, !(a ^ b))),
            (Code::VEX_Knotq_kr_kr, !a),
            (Code::VEX_Kmovw_kr_km16, low(16, a)),
        ] {
            prop_assert_eq!(mask_of(code, 0, &state, None), expected, "{:?}", code);
        }
        // Operands 0 and 1 of a test are k2 and k3.
        state.set_mask(2, b);
        let test = Form { code: Code::VEX_Kortestd_kr_kr, memory: false, immediate: 0 }.instruction().unwrap();
        let out = simulate(&snippet(test, Width::Zmm), &state).unwrap();
        let either = (a | b) as u32;
        prop_assert_eq!(out.0[FLAGS_OUT + 1..FLAGS_OUT + 3].to_vec(), vec![u8::from(either == u32::MAX), u8::from(either == 0)]);
    }

    #[test]
    fn masks_become_lanes_and_lanes_masks(state in state(), mask in any::<u64>()) {
        let mut state = state;
        prop_assert_eq!(mask_of(Code::EVEX_Vpmovw2m_kr_zmm, 0, &state, None), {
            // Operand 1 is vector 2.
            bits(&state, 2, |a: [u8; 2], _| i16::from_le_bytes(a) < 0)
        });
        state.set_mask(3, mask);
        let expand = Form { code: Code::EVEX_Vpmovm2b_zmm_kr, memory: false, immediate: 0 }.instruction().unwrap();
        let lanes = simulate(&snippet(expand, Width::Zmm), &state).unwrap().result();
        prop_assert_eq!(lanes, std::array::from_fn(|index| if mask >> index & 1 == 1 { 0xff } else { 0 }));
    }

    #[test]
    fn a_blend_takes_the_second_source_under_the_mask(state in state(), mask in any::<u64>()) {
        let mut state = state;
        state.set_mask(1, mask);
        for zeroing in [false, true] {
            let form = Form { code: Code::EVEX_Vpblendmb_zmm_k1z_zmm_zmmm512, memory: false, immediate: 0 };
            let mut blend = form.instruction().unwrap();
            blend.set_op_mask(Register::K1);
            blend.set_zeroing_masking(zeroing);
            let result = simulate(&snippet(blend, Width::Zmm), &state).unwrap().result();
            let [a, b] = [2, 3].map(|index| state.vector(VECTORS_IN, index));
            let other = |index: usize| if zeroing { 0 } else { a[index] };
            let expected = std::array::from_fn(|index| if mask >> index & 1 == 1 { b[index] } else { other(index) });
            prop_assert_eq!(result, expected);
        }
    }

    /// A load or store of the first `lanes` lanes touches nothing beyond them: the region ends there.
    #[test]
    fn masked_out_lanes_touch_no_memory(lanes in 0_usize..=16, missing in 1_usize..4) {
        let store = |code| [
            Instruction::with2(Code::VEX_Kmovw_kr_r32, Register::K1, Register::ESI).unwrap(),
            Instruction::with2(code, MemoryOperand::with_base(Register::RDI), Register::ZMM1).unwrap(),
            Instruction::with(Code::Retnq),
        ];
        let load = |code| [
            Instruction::with2(Code::VEX_Kmovw_kr_r32, Register::K1, Register::ESI).unwrap(),
            Instruction::with2(code, Register::ZMM1, MemoryOperand::with_base(Register::RDI)).unwrap(),
            Instruction::with(Code::Retnq),
        ];
        let programs = [
            store(Code::EVEX_Vmovdqu32_zmmm512_k1z_zmm),
            load(Code::EVEX_Vmovdqu32_zmm_k1z_zmmm512),
            load(Code::EVEX_Vpabsd_zmm_k1z_zmmm512b32),
        ];
        for mut program in programs {
            program[1].set_op_mask(Register::K1);
            let code = assemble(&program);
            let mask = (1_u64 << lanes) - 1;
            let run = |bytes: usize| {
                let mut machine = Machine::new();
                machine.map(DATA, vec![0; bytes], Access::ReadWrite).unwrap();
                let outcome = machine.run(&code, CODE_ADDRESS, &[DATA, mask]).map(|_| ());
                (outcome, machine.unmap(DATA).unwrap())
            };
            prop_assert_eq!(run(lanes * 4).0, Ok(()));
            if lanes > 0 {
                let fault = run(lanes * 4 - missing).0.unwrap_err().kind;
                let address = DATA + lanes as u64 * 4 - 4;
                let (read, write) = (FaultKind::UnmappedRead { address, size: 4 }, FaultKind::UnmappedWrite { address, size: 4 });
                prop_assert!(fault == read || fault == write, "{}", fault);
            }
        }
    }
}

/// Conversions to shorter lanes write as many bytes as these have, all lanes in a row.
#[test]
fn a_narrowing_store_writes_what_is_left() {
    let lanes: Vec<u8> = [-1_i32, 300, -200, 100].repeat(4).iter().flat_map(|x| x.to_le_bytes()).collect();
    let expected: [(Code, [u8; 4]); 3] = [
        (Code::EVEX_Vpmovdb_xmmm128_k1z_zmm, [255, 44, 56, 100]),
        (Code::EVEX_Vpmovsdb_xmmm128_k1z_zmm, [255, 127, 128, 100]),
        (Code::EVEX_Vpmovusdb_xmmm128_k1z_zmm, [255, 255, 255, 100]),
    ];
    for (code, bytes) in expected {
        let load = Instruction::with2(
            Code::EVEX_Vmovdqu32_zmm_k1z_zmmm512,
            Register::ZMM1,
            MemoryOperand::with_base(Register::RDI),
        );
        let store = Instruction::with2(code, MemoryOperand::with_base(Register::RSI), Register::ZMM1);
        let mut machine = Machine::new();
        machine.map(DATA, lanes.clone(), Access::Read).unwrap();
        machine.map(2 * DATA, vec![0; 16], Access::ReadWrite).unwrap();
        let program = [load.unwrap(), store.unwrap(), Instruction::with(Code::Retnq)];
        machine.run(&assemble(&program), CODE_ADDRESS, &[DATA, 2 * DATA]).unwrap();
        assert_eq!(machine.bytes(2 * DATA), Some(bytes.repeat(4).as_slice()), "{code:?}");
    }
}

#[test]
fn a_broadcast_under_an_empty_mask_reads_nothing() {
    let mut add = Instruction::with3(
        Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32,
        Register::ZMM1,
        Register::ZMM2,
        MemoryOperand::with_base(Register::RDI),
    )
    .unwrap();
    add.set_is_broadcast(true);
    add.set_op_mask(Register::K1);
    let set_mask = Instruction::with2(Code::VEX_Kmovw_kr_r32, Register::K1, Register::ESI).unwrap();
    let code = assemble(&[set_mask, add, Instruction::with(Code::Retnq)]);
    assert!(Machine::new().run(&code, CODE_ADDRESS, &[DATA, 0]).is_ok());
    let fault = Machine::new().run(&code, CODE_ADDRESS, &[DATA, 1]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::UnmappedRead { address: DATA, size: 4 });
}
