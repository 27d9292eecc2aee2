//! Calls, regions, budgets and faults.

use super::super::fault::FaultKind;
use super::*;

const DATA: u64 = 0x1000;

fn run(machine: &mut Machine, code: &[Instruction], arguments: &[u64]) -> Result<Outcome, Fault> {
    machine.run(&assemble(code), CODE_ADDRESS, arguments)
}

fn ret() -> Instruction {
    Instruction::with(Code::Retnq)
}

fn at(base: Register, offset: i64) -> MemoryOperand {
    MemoryOperand::with_base_displ(base, offset)
}

/// A machine with `size` bytes of ones at `DATA`.
fn machine(size: usize, access: Access) -> Machine {
    let mut machine = Machine::new();
    machine.map(DATA, vec![1; size], access).unwrap();
    machine
}

fn kind(result: Result<Outcome, Fault>) -> FaultKind {
    result.unwrap_err().kind
}

#[test]
fn a_loop_runs_as_often_as_it_says() {
    // eax = sum of rsi, rsi - 1, ... 1
    let mut code = [
        Instruction::with2(Code::Xor_r32_rm32, Register::EAX, Register::EAX).unwrap(),
        Instruction::with2(Code::Add_r64_rm64, Register::RAX, Register::RSI).unwrap(),
        Instruction::with1(Code::Dec_rm64, Register::RSI).unwrap(),
        Instruction::with_branch(Code::Jne_rel8_64, 1).unwrap(),
        ret(),
    ];
    code[1].set_ip(1);
    let outcome = run(&mut Machine::new(), &code, &[0, 1000]).unwrap();
    assert_eq!(outcome.result(), 500_500);
    let expected = [("add", 1000), ("dec", 1000), ("jne", 1000), ("ret", 1), ("xor", 1)];
    assert_eq!(counts(&outcome), expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(outcome.instructions(), 3002);
}

#[test]
fn divisions_leave_quotient_and_remainder() {
    // rdx:rax / rdi, with rdx = rsi; the quotient in rax, or the remainder.
    let quotient = [
        Instruction::with2(Code::Mov_r64_rm64, Register::RDX, Register::RSI).unwrap(),
        Instruction::with2(Code::Mov_r64_imm64, Register::RAX, 1000_u64).unwrap(),
        Instruction::with1(Code::Div_rm64, Register::RDI).unwrap(),
        ret(),
    ];
    let remainder = [
        &quotient[..3],
        &[Instruction::with2(Code::Mov_r64_rm64, Register::RAX, Register::RDX).unwrap(), ret()],
    ]
    .concat();
    let result = |code: &[Instruction], arguments: &[u64]| run(&mut Machine::new(), code, arguments);
    assert_eq!(result(&quotient, &[7, 0]).unwrap().result(), 142);
    assert_eq!(result(&remainder, &[7, 0]).unwrap().result(), 6);
    // (2^64 + 1000) / 2^32
    assert_eq!(result(&quotient, &[1 << 32, 1]).unwrap().result(), 1 << 32);
    for arguments in [[0, 0], [7, 7], [1, 1]] {
        assert_eq!(kind(result(&quotient, &arguments)), FaultKind::Division, "{arguments:?}");
    }
}

#[test]
fn arguments_beyond_six_lie_on_the_stack() {
    let seventh = Instruction::with2(Code::Mov_r64_rm64, Register::RAX, at(Register::RSP, 8)).unwrap();
    for count in 7..10 {
        let arguments: Vec<u64> = (1..=count).collect();
        assert_eq!(run(&mut Machine::new(), &[seventh, ret()], &arguments).unwrap().result(), 7);
    }
    let aligned = Instruction::with2(Code::Lea_r64_m, Register::RAX, at(Register::RSP, 8)).unwrap();
    for count in 0..10 {
        let arguments = vec![0; count];
        assert_eq!(run(&mut Machine::new(), &[aligned, ret()], &arguments).unwrap().result() % 16, 0);
    }
}

#[test]
fn a_called_function_returns_and_a_frame_is_undone() {
    let mut code = [
        Instruction::with1(Code::Push_r64, Register::RBX).unwrap(),
        Instruction::with_branch(Code::Call_rel32_64, 1).unwrap(),
        Instruction::with1(Code::Pop_r64, Register::RBX).unwrap(),
        ret(),
        Instruction::with2(Code::Mov_r32_imm32, Register::EBX, 7).unwrap(),
        Instruction::with2(Code::Mov_r64_rm64, Register::RAX, Register::RBX).unwrap(),
        ret(),
    ];
    code[4].set_ip(1);
    assert_eq!(run(&mut Machine::new(), &code, &[]).unwrap().result(), 7);
}

#[test]
fn a_changed_callee_saved_register_is_named() {
    for (register, name) in [(Register::RBX, "rbx"), (Register::RBP, "rbp"), (Register::R15, "r15")] {
        let code = [Instruction::with1(Code::Inc_rm64, register).unwrap(), ret()];
        let fault = run(&mut Machine::new(), &code, &[]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::CalleeSavedChanged { register: name });
        assert_eq!(fault.instruction, "ret");
    }
    let code = [Instruction::with1(Code::Retnq_imm16, 8).unwrap()];
    assert_eq!(kind(run(&mut Machine::new(), &code, &[])), FaultKind::CalleeSavedChanged { register: "rsp" });
}

/// Loads MXCSR from [rdi] and from [rsi], with `between` in the middle.
fn with_mxcsr(first: u32, between: Instruction, second: u32) -> Result<Outcome, Fault> {
    let mut machine = Machine::new();
    machine.map(DATA, [first.to_le_bytes(), second.to_le_bytes()].concat(), Access::Read).unwrap();
    let load = |offset| Instruction::with1(Code::VEX_Vldmxcsr_m32, at(Register::RDI, offset)).unwrap();
    run(&mut machine, &[load(0), between, load(4), ret()], &[DATA])
}

#[test]
fn modes_are_left_as_they_were_found() {
    const DEFAULT: u32 = 0x1f80;
    let truncating = DEFAULT | 3 << 13;
    let nothing = Instruction::with(Code::Nopd);
    assert!(with_mxcsr(truncating, nothing, DEFAULT).is_ok());
    assert!(with_mxcsr(DEFAULT, nothing, DEFAULT | 0x3f).is_ok(), "flags of what happened are nobody's");
    let changed = with_mxcsr(DEFAULT, nothing, truncating);
    assert_eq!(kind(changed), FaultKind::CalleeSavedChanged { register: "mxcsr" });
    assert_eq!(kind(with_mxcsr(1 << 16, nothing, DEFAULT)), FaultKind::ReservedMode);
    // In another mode nothing is computed rather than something wrong.
    let (to, from) = (Register::YMM0, Register::YMM1);
    let round = Instruction::with2(Code::VEX_Vcvtdq2ps_ymm_ymmm256, to, from).unwrap();
    assert!(with_mxcsr(DEFAULT, round, DEFAULT).is_ok());
    assert_eq!(kind(with_mxcsr(truncating, round, DEFAULT)), FaultKind::Unsupported);

    let [backwards, forwards] = [Code::Std, Code::Cld].map(Instruction::with);
    assert!(run(&mut Machine::new(), &[backwards, forwards, ret()], &[]).is_ok());
    let left = run(&mut Machine::new(), &[backwards, ret()], &[]);
    assert_eq!(kind(left), FaultKind::CalleeSavedChanged { register: "df" });
}

#[test]
fn mxcsr_is_stored() {
    let mut machine = machine(4, Access::ReadWrite);
    let store = Instruction::with1(Code::Stmxcsr_m32, at(Register::RDI, 0)).unwrap();
    run(&mut machine, &[store, ret()], &[DATA]).unwrap();
    assert_eq!(machine.bytes(DATA), Some(0x1f80_u32.to_le_bytes().as_slice()));
}

#[test]
fn every_byte_of_an_access_must_be_mapped() {
    let load =
        Instruction::with2(Code::VEX_Vmovdqu_ymm_ymmm256, Register::YMM0, at(Register::RDI, 0)).unwrap();
    let store =
        Instruction::with2(Code::VEX_Vmovdqu_ymmm256_ymm, at(Register::RDI, 0), Register::YMM0).unwrap();
    for (address, fits) in
        [(DATA - 1, false), (DATA, true), (DATA + 32, true), (DATA + 33, false), (u64::MAX - 8, false)]
    {
        let mut machine = machine(64, Access::ReadWrite);
        let read = FaultKind::UnmappedRead { address, size: 32 };
        let write = FaultKind::UnmappedWrite { address, size: 32 };
        for (code, fault) in [(load, read), (store, write)] {
            let result = run(&mut machine, &[code, ret()], &[address]);
            assert_eq!(
                result.map(|_| ()).map_err(|fault| fault.kind),
                if fits { Ok(()) } else { Err(fault) }
            );
        }
    }
}

#[test]
fn adjoining_regions_are_still_two() {
    let mut machine = machine(64, Access::Read);
    machine.map(DATA + 64, vec![2; 64], Access::Read).unwrap();
    let load = Instruction::with2(Code::Mov_r64_rm64, Register::RAX, at(Register::RDI, 60)).unwrap();
    let fault = FaultKind::UnmappedRead { address: DATA + 60, size: 8 };
    assert_eq!(kind(run(&mut machine, &[load, ret()], &[DATA])), fault);
}

#[test]
fn regions_may_not_overlap() {
    let mut machine = machine(64, Access::Read);
    for address in [DATA - 1, DATA, DATA + 63, u64::MAX] {
        let fault = machine.map(address, vec![0; 2], Access::Read).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Overlap { address, size: 2 });
    }
    assert!(matches!(kind(machine.run(&[0xc3], DATA, &[])), FaultKind::Overlap { .. }));
    assert_eq!(machine.unmap(DATA), Some(vec![1; 64]));
    assert_eq!(machine.bytes(DATA), None);
}

#[test]
fn what_may_only_be_read_cannot_be_written() {
    let store = Instruction::with2(Code::Mov_rm8_r8, at(Register::RDI, 0), Register::AL).unwrap();
    let mut machine = machine(64, Access::Read);
    for address in [DATA, CODE_ADDRESS] {
        let fault = FaultKind::ReadOnly { address, size: 1 };
        assert_eq!(kind(run(&mut machine, &[store, ret()], &[address])), fault);
    }
}

#[test]
fn code_reads_its_own_constants() {
    // mov rax, [rip + 1]; ret; then the constant.
    let mut code = vec![0x48, 0x8b, 0x05, 1, 0, 0, 0, 0xc3];
    code.extend(0x0123_4567_89ab_cdef_u64.to_le_bytes());
    assert_eq!(Machine::new().run(&code, CODE_ADDRESS, &[]).unwrap().result(), 0x0123_4567_89ab_cdef);
}

#[test]
fn an_aligned_move_wants_its_address_aligned() {
    let load =
        Instruction::with2(Code::VEX_Vmovdqa_ymm_ymmm256, Register::YMM0, at(Register::RDI, 16)).unwrap();
    let fault = FaultKind::Misaligned { address: DATA + 16, size: 32 };
    assert_eq!(kind(run(&mut machine(64, Access::Read), &[load, ret()], &[DATA])), fault);
}

#[test]
fn a_prefetch_goes_anywhere() {
    let prefetch = Instruction::with1(Code::Prefetcht0_m8, at(Register::RDI, -4096)).unwrap();
    assert!(run(&mut Machine::new(), &[prefetch, ret()], &[0]).is_ok());
}

#[test]
fn endless_code_ends() {
    let mut machine = Machine::new();
    machine.set_budget(1000);
    // jmp to itself
    let fault = machine.run(&[0xeb, 0xfe], CODE_ADDRESS, &[]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::BudgetExhausted { budget: 1000 });
    // And the machine is as usable as before.
    assert!(machine.run(&[0xc3], CODE_ADDRESS, &[]).is_ok());
}

#[test]
fn what_is_no_code_is_a_fault() {
    let mut machine = Machine::new();
    assert_eq!(kind(machine.run(&[], CODE_ADDRESS, &[])), FaultKind::OutsideCode);
    assert_eq!(kind(machine.run(&[0x90], CODE_ADDRESS, &[])), FaultKind::OutsideCode);
    assert_eq!(kind(machine.run(&[0x06], CODE_ADDRESS, &[])), FaultKind::Undecodable);
    let fault = machine.run(&[0x0f, 0xa2], CODE_ADDRESS, &[]).unwrap_err();
    assert_eq!((fault.kind, fault.instruction.as_str()), (FaultKind::Unsupported, "cpuid"));
}

#[test]
fn nothing_but_arguments_can_be_relied_on() {
    let code = [Instruction::with2(Code::Mov_r64_rm64, Register::RAX, Register::RCX).unwrap(), ret()];
    assert_ne!(run(&mut Machine::new(), &code, &[]).unwrap().result(), 0);
    let sum = Instruction::with2(Code::VEX_Vmovq_rm64_xmm, Register::RAX, Register::XMM3).unwrap();
    assert_eq!(run(&mut Machine::new(), &[sum, ret()], &[]).unwrap().result(), u64::from_le_bytes([0xa5; 8]));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(code in prop::collection::vec(any::<u8>(), 0..64), seed in any::<u64>()) {
        let mut machine = machine(4096, Access::ReadWrite);
        machine.set_budget(500);
        let _ = machine.run(&code, CODE_ADDRESS, &[DATA, DATA + (seed & 0xfff), seed]);
    }
}
