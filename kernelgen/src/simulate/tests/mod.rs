//! One instruction at a time: a snippet loads every register from a state, executes the instruction and stores every
//! register back, so that the simulator can be compared with the processor and with the manual's formulas.

mod evex;
mod machine;
mod manual;
mod masks;
mod native;
mod tiles;

use super::{Access, Fault, Machine, Outcome, operation};
use crate::vocabulary::{Arguments, Field};
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Instruction, InstructionBlock, MemoryOperand, Mnemonic,
    OpCodeOperandKind as Kind, OpKind, Register,
};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Bytes of a state.
const SIZE: usize = 2048;
/// Eight vectors before the instruction.
const VECTORS_IN: usize = 0;
/// rax, rcx, rdx, r8, then two numbers whose comparison sets the flags.
const GENERAL_IN: usize = 512;
/// k1 to k7.
const MASKS_IN: usize = 576;
/// What a memory operand means.
const MEMORY: usize = 640;
const VECTORS_OUT: usize = 1024;
const GENERAL_OUT: usize = 1536;
const MASKS_OUT: usize = 1600;
/// OF, CF, ZF, SF, PF, a byte each.
const FLAGS_OUT: usize = 1664;

const FLAG_STORES: [Code; 5] =
    [Code::Seto_rm8, Code::Setb_rm8, Code::Sete_rm8, Code::Sets_rm8, Code::Setp_rm8];
const GENERAL: [Register; 4] = [Register::RAX, Register::RCX, Register::RDX, Register::R8];

/// Where a simulated state lies.
const STATE_ADDRESS: u64 = 0x2000_0000;
const ARGUMENTS_ADDRESS: u64 = 0x1000_0000;
const CODE_ADDRESS: u64 = 0x40_0000;

/// Everything that goes into an instruction and comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
struct State([u8; SIZE]);

impl State {
    fn vector(&self, at: usize, index: usize) -> [u8; 64] {
        self.0[at + index * 64..][..64].try_into().unwrap()
    }

    /// Destination of the instruction under test, before and after.
    fn old(&self) -> [u8; 64] {
        self.vector(VECTORS_IN, 1)
    }

    fn result(&self) -> [u8; 64] {
        self.vector(VECTORS_OUT, 1)
    }

    fn mask(&self, at: usize, index: usize) -> u64 {
        u64::from_le_bytes(self.0[at + (index - 1) * 8..][..8].try_into().unwrap())
    }

    fn set_mask(&mut self, index: usize, mask: u64) {
        self.0[MASKS_IN + (index - 1) * 8..][..8].copy_from_slice(&mask.to_le_bytes());
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..][..bytes.len()].copy_from_slice(bytes);
    }
}

/// States of random bytes, of edges, of floats and of small counts.
fn state() -> impl Strategy<Value = State> {
    let edges = prop::sample::select(vec![0_u8, 1, 0x7f, 0x80, 0x81, 0xff]);
    let floats = prop_oneof![
        any::<f32>(),
        (-70_000_i32..70_000).prop_map(|x| x as f32 / 2.0),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f32::INFINITY,
            -f32::INFINITY,
            f32::NAN,
            1e30,
            f32::MIN_POSITIVE
        ]),
    ];
    let half = SIZE / 2;
    let counts = prop::collection::vec(0_u8..70, half).prop_map(|counts| {
        counts.into_iter().enumerate().map(|(index, count)| if index % 8 == 0 { count } else { 0 }).collect()
    });
    let input = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), half),
        2 => prop::collection::vec(edges, half),
        2 => prop::collection::vec(floats, half / 4)
            .prop_map(|floats| floats.iter().flat_map(|value| value.to_le_bytes()).collect()),
        1 => counts,
    ];
    input.prop_map(move |input: Vec<u8>| {
        let mut state = State([0; SIZE]);
        state.set(0, &input);
        state
    })
}

/// Which registers a snippet loads and stores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Ymm,
    Zmm,
}

/// The instruction between loads of every register and stores of them.
fn snippet(instruction: Instruction, width: Width) -> Vec<u8> {
    let at = |offset: usize| MemoryOperand::with_base_displ(Register::R10, offset as i64);
    let arguments = MemoryOperand::with_base_displ(Register::RDI, Field::Output.offset().into());
    let (load, store, first) = match width {
        Width::Ymm => (Code::VEX_Vmovdqu_ymm_ymmm256, Code::VEX_Vmovdqu_ymmm256_ymm, Register::YMM0),
        Width::Zmm => {
            (Code::EVEX_Vmovdqu64_zmm_k1z_zmmm512, Code::EVEX_Vmovdqu64_zmmm512_k1z_zmm, Register::ZMM0)
        }
    };
    let masks = 1..=if width == Width::Zmm { 7 } else { 0 };
    let mut code = vec![Instruction::with2(Code::Mov_r64_rm64, Register::R10, arguments)];
    code.extend((0..8_usize).map(|i| Instruction::with2(load, first + i as u32, at(VECTORS_IN + i * 64))));
    code.extend(masks.clone().map(|i| {
        Instruction::with2(Code::VEX_Kmovq_kr_km64, Register::K0 + i as u32, at(MASKS_IN + (i - 1) * 8))
    }));
    code.extend(
        GENERAL
            .iter()
            .enumerate()
            .map(|(i, &to)| Instruction::with2(Code::Mov_r64_rm64, to, at(GENERAL_IN + i * 8))),
    );
    code.push(Instruction::with2(Code::Mov_r64_rm64, Register::R11, at(GENERAL_IN + 32)));
    code.push(Instruction::with2(Code::Cmp_r64_rm64, Register::R11, at(GENERAL_IN + 40)));
    code.push(Ok(instruction));
    code.extend(FLAG_STORES.iter().enumerate().map(|(i, &op)| Instruction::with1(op, at(FLAGS_OUT + i))));
    code.extend((0..8_usize).map(|i| Instruction::with2(store, at(VECTORS_OUT + i * 64), first + i as u32)));
    code.extend(masks.map(|i| {
        Instruction::with2(Code::VEX_Kmovq_m64_kr, at(MASKS_OUT + (i - 1) * 8), Register::K0 + i as u32)
    }));
    code.extend(
        GENERAL
            .iter()
            .enumerate()
            .map(|(i, &from)| Instruction::with2(Code::Mov_rm64_r64, at(GENERAL_OUT + i * 8), from)),
    );
    code.push(Ok(Instruction::with(Code::VEX_Vzeroupper)));
    code.push(Ok(Instruction::with(Code::Retnq)));
    assemble(&code.into_iter().collect::<Result<Vec<_>, _>>().unwrap())
}

fn assemble(code: &[Instruction]) -> Vec<u8> {
    let block = InstructionBlock::new(code, CODE_ADDRESS);
    BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).unwrap().code_buffer
}

/// Runs a snippet in the simulator.
fn simulate(code: &[u8], state: &State) -> Result<State, Fault> {
    let mut machine = Machine::new();
    let mut arguments = vec![0; size_of::<Arguments>()];
    arguments[Field::Output.offset() as usize..][..8].copy_from_slice(&STATE_ADDRESS.to_le_bytes());
    machine.map(ARGUMENTS_ADDRESS, arguments, Access::Read)?;
    machine.map(STATE_ADDRESS, state.0.to_vec(), Access::ReadWrite)?;
    machine.run(code, CODE_ADDRESS, &[ARGUMENTS_ADDRESS])?;
    Ok(State(machine.unmap(STATE_ADDRESS).unwrap().try_into().unwrap()))
}

/// One form of an instruction: destination in register 1, sources in 2, 3 and 4, or the last in memory.
#[derive(Clone, Copy)]
struct Form {
    code: Code,
    memory: bool,
    immediate: u8,
}

impl Form {
    /// The instruction, if `code` has this form.
    fn instruction(self) -> Option<Instruction> {
        let mut instruction = Instruction::new();
        instruction.set_code(self.code);
        let mut memory_used = false;
        for operand in 0..self.code.op_code().op_count() {
            memory_used |= self.set_operand(&mut instruction, operand)?;
        }
        (memory_used == self.memory).then_some(instruction)
    }

    /// Sets one operand; says whether it became memory.
    fn set_operand(self, instruction: &mut Instruction, operand: u32) -> Option<bool> {
        let kind = self.code.op_code().op_kind(operand);
        if let Some(immediate) = immediate_kind(kind) {
            instruction.set_op_kind(operand, immediate);
            let value = if kind == Kind::imm8_const_1 { 1 } else { i64::from(self.immediate as i8) };
            match immediate {
                OpKind::Immediate8 => instruction.set_immediate8(value as u8),
                OpKind::Immediate16 => instruction.set_immediate16(value as u16),
                OpKind::Immediate32 => instruction.set_immediate32(value as u32),
                _ => instruction.set_immediate_i64(operand, value),
            }
            return Some(false);
        }
        if is_memory(kind) && (self.memory || kind == Kind::mem) {
            instruction.set_op_kind(operand, OpKind::Memory);
            instruction.set_memory_base(Register::R10);
            instruction.set_memory_displ_size(8);
            instruction.set_memory_displacement64(MEMORY as u64);
            return Some(true);
        }
        instruction.set_op_kind(operand, OpKind::Register);
        instruction.set_op_register(operand, register(kind, operand)?);
        Some(false)
    }
}

fn immediate_kind(kind: Kind) -> Option<OpKind> {
    Some(match kind {
        Kind::imm8 | Kind::imm8_const_1 => OpKind::Immediate8,
        Kind::imm8sex16 => OpKind::Immediate8to16,
        Kind::imm8sex32 => OpKind::Immediate8to32,
        Kind::imm8sex64 => OpKind::Immediate8to64,
        Kind::imm16 => OpKind::Immediate16,
        Kind::imm32 => OpKind::Immediate32,
        Kind::imm32sex64 => OpKind::Immediate32to64,
        Kind::imm64 => OpKind::Immediate64,
        _ => return None,
    })
}

fn is_memory(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::mem
            | Kind::r8_or_mem
            | Kind::r16_or_mem
            | Kind::r32_or_mem
            | Kind::r64_or_mem
            | Kind::xmm_or_mem
            | Kind::ymm_or_mem
            | Kind::zmm_or_mem
            | Kind::k_or_mem
    )
}

/// The register that stands at an operand.
fn register(kind: Kind, operand: u32) -> Option<Register> {
    let general = |registers: [Register; 4]| registers.get(operand as usize).copied();
    match kind {
        Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 | Kind::xmm_or_mem => {
            Some(Register::XMM1 + operand)
        }
        Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 | Kind::ymm_or_mem => {
            Some(Register::YMM1 + operand)
        }
        Kind::zmm_reg | Kind::zmm_rm | Kind::zmm_vvvv | Kind::zmm_or_mem => Some(Register::ZMM1 + operand),
        Kind::k_reg | Kind::k_rm | Kind::k_vvvv | Kind::k_or_mem => Some(Register::K2 + operand),
        Kind::r8_reg | Kind::r8_or_mem | Kind::r8_opcode => {
            general([Register::AL, Register::CL, Register::DL, Register::R8L])
        }
        Kind::r16_reg | Kind::r16_rm | Kind::r16_or_mem | Kind::r16_opcode => {
            general([Register::AX, Register::CX, Register::DX, Register::R8W])
        }
        Kind::r32_reg | Kind::r32_rm | Kind::r32_vvvv | Kind::r32_or_mem | Kind::r32_opcode => {
            general([Register::EAX, Register::ECX, Register::EDX, Register::R8D])
        }
        Kind::r64_reg | Kind::r64_rm | Kind::r64_vvvv | Kind::r64_or_mem | Kind::r64_opcode => {
            general(GENERAL)
        }
        Kind::al => Some(Register::AL),
        Kind::cl => Some(Register::CL),
        Kind::ax => Some(Register::AX),
        Kind::eax => Some(Register::EAX),
        Kind::rax => Some(Register::RAX),
        _ => None,
    }
}

/// Whether a form has an immediate that makes a difference.
fn has_immediate(code: Code) -> bool {
    let mut kinds = (0..code.op_code().op_count()).map(|operand| code.op_code().op_kind(operand));
    kinds.any(|kind| immediate_kind(kind).is_some_and(|_| kind != Kind::imm8_const_1))
}

/// What a straight line cannot hold, would show where the state lies (LEA), or change or show modes of the processor.
const ELSEWHERE: [Mnemonic; 12] = [
    Mnemonic::Push,
    Mnemonic::Pop,
    Mnemonic::Leave,
    Mnemonic::Ret,
    Mnemonic::Call,
    Mnemonic::Jmp,
    Mnemonic::Lea,
    Mnemonic::Std,
    Mnemonic::Ldmxcsr,
    Mnemonic::Vldmxcsr,
    Mnemonic::Stmxcsr,
    Mnemonic::Vstmxcsr,
];

/// Forms that the simulator refuses: products and quotients of 8 and 16 bits, in ax and dx:ax.
const REFUSED: [Code; 6] =
    [Code::Mul_rm8, Code::Imul_rm8, Code::Mul_rm16, Code::Imul_rm16, Code::Div_rm8, Code::Div_rm16];

/// Every code of 64-bit mode that the tables have.
fn codes() -> impl Iterator<Item = Code> {
    static CODES: LazyLock<Vec<Code>> = LazyLock::new(|| {
        let known = operation::mnemonics();
        let tested = |code: &Code| {
            known.contains(&code.mnemonic())
                && !ELSEWHERE.contains(&code.mnemonic())
                && !REFUSED.contains(code)
        };
        Code::values().filter(|code| code.op_code().mode64()).filter(tested).collect()
    });
    CODES.iter().copied()
}

#[test]
fn no_instruction_stands_in_two_rows() {
    let mut known = operation::mnemonics();
    known.sort_unstable();
    assert!(known.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(known.len() > 400, "{}", known.len());
}

/// The counts of a run, for tests about calls.
fn counts(outcome: &Outcome) -> Vec<(String, u64)> {
    outcome.counts().collect()
}
