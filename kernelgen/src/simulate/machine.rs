//! The machine that code is run on: memory, calls, counts.

use super::core::{Core, STACK_POINTER};
use super::fault::{Fault, FaultKind};
use super::memory::{Access, Memory};
use super::operation::Operation;
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, Mnemonic, NasmFormatter};
use std::collections::BTreeMap;

/// Where integer arguments go, by register number: rdi, rsi, rdx, rcx, r8, r9.
const ARGUMENTS: [usize; 6] = [7, 6, 2, 1, 8, 9];
/// What a function must preserve, by register number.
const CALLEE_SAVED: [(usize, &str); 6] =
    [(3, "rbx"), (5, "rbp"), (12, "r12"), (13, "r13"), (14, "r14"), (15, "r15")];
/// Where the stack lies: nowhere near what tests map.
const STACK_BASE: u64 = 0x7ffc_0000_0000;
const STACK_BYTES: usize = 1 << 16;
/// The return address of the outermost call: not canonical, so it can only be reached by returning.
const RETURN_ADDRESS: u64 = 0x5afe_0000_0000_5afe;
const DEFAULT_BUDGET: u64 = 1 << 32;

/// Memory, and the ability to run code on it.
///
/// Registers do not survive from one [`run`](Self::run) to the next; memory does.
#[derive(Debug)]
pub struct Machine {
    memory: Memory,
    budget: u64,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine without memory.
    pub fn new() -> Self {
        Self { memory: Memory::default(), budget: DEFAULT_BUDGET }
    }

    /// Limits how many instructions one [`run`](Self::run) may execute (2^32 unless set).
    pub fn set_budget(&mut self, instructions: u64) {
        self.budget = instructions;
    }

    /// Maps `bytes` at `address`. An access must lie wholly inside one region, even where two adjoin.
    pub fn map(&mut self, address: u64, bytes: Vec<u8>, access: Access) -> Result<(), Fault> {
        self.memory.map(address, bytes, access).map_err(|kind| Fault {
            address,
            instruction: String::new(),
            kind,
        })
    }

    /// Takes the region that begins at `address` back.
    pub fn unmap(&mut self, address: u64) -> Option<Vec<u8>> {
        self.memory.unmap(address)
    }

    /// The content of the region that begins at `address`.
    pub fn bytes(&self, address: u64) -> Option<&[u8]> {
        self.memory.bytes(address)
    }

    /// The content of the region that begins at `address`, to be changed.
    pub fn bytes_mut(&mut self, address: u64) -> Option<&mut [u8]> {
        self.memory.bytes_mut(address)
    }

    /// Calls `code`, which lies at `code_address` and can read itself, as a System V function of integers and
    /// pointers, and runs it until it returns.
    pub fn run(&mut self, code: &[u8], code_address: u64, arguments: &[u64]) -> Result<Outcome, Fault> {
        let nowhere = |kind| Fault { address: code_address, instruction: String::new(), kind };
        self.memory.map(code_address, code.to_vec(), Access::Read).map_err(nowhere)?;
        if let Err(kind) = self.memory.map(STACK_BASE, vec![0xa5; STACK_BYTES], Access::ReadWrite) {
            self.memory.unmap(code_address);
            return Err(nowhere(kind));
        }
        let mut core = Core::new(code_address, std::mem::take(&mut self.memory));
        let outcome = enter(&mut core, arguments)
            .map_err(nowhere)
            .and_then(|()| execute(&mut core, Program::new(code, code_address), self.budget));
        self.memory = core.memory;
        self.memory.unmap(STACK_BASE);
        self.memory.unmap(code_address);
        outcome
    }
}

/// Lays the arguments out and pushes the return address, as a caller does.
fn enter(core: &mut Core, arguments: &[u64]) -> Result<(), FaultKind> {
    let (in_registers, on_stack) = arguments.split_at(arguments.len().min(ARGUMENTS.len()));
    for (&number, &value) in ARGUMENTS.iter().zip(in_registers) {
        core.general[number] = value;
    }
    // rsp is a multiple of 16 before the call (System V ABI, 3.2.2).
    let padding = on_stack.len() % 2 * 8;
    core.general[STACK_POINTER] = STACK_BASE + (STACK_BYTES - padding) as u64;
    for &value in on_stack.iter().rev() {
        core.push(value)?;
    }
    core.push(RETURN_ADDRESS)
}

/// Runs until the outermost return.
fn execute(core: &mut Core, mut program: Program, budget: u64) -> Result<Outcome, Fault> {
    let before = core.general;
    for _ in 0..budget {
        let address = core.ip;
        let decoded = program.at(address)?;
        decoded.executed += 1;
        let Decoded { instruction, operation, .. } = *decoded;
        let fault = |kind| Fault { address, instruction: text(&instruction), kind };
        let operation = operation.ok_or_else(|| fault(FaultKind::Unsupported))?;
        core.ip = instruction.next_ip();
        operation.execute(core, &instruction).map_err(fault)?;
        if core.ip == RETURN_ADDRESS {
            check_convention(&before, core).map_err(fault)?;
            return Ok(Outcome { result: core.general[0], counts: program.counts() });
        }
    }
    Err(Fault { address: core.ip, instruction: String::new(), kind: FaultKind::BudgetExhausted { budget } })
}

/// After the final return, what a function must preserve is as it was, the return address is popped, and no tile is
/// configured.
fn check_convention(before: &[u64; 16], core: &Core) -> Result<(), FaultKind> {
    if core.tiles.is_some() {
        return Err(FaultKind::TilesConfigured);
    }
    let changed = CALLEE_SAVED.iter().find(|(number, _)| core.general[*number] != before[*number]);
    let stack = core.general[STACK_POINTER] != before[STACK_POINTER] + 8;
    match changed.map(|row| row.1).or(stack.then_some("rsp")).or(core.modes.changed()) {
        Some(register) => Err(FaultKind::CalleeSavedChanged { register }),
        None => Ok(()),
    }
}

fn text(instruction: &Instruction) -> String {
    let mut text = String::new();
    NasmFormatter::new().format(instruction, &mut text);
    text
}

#[derive(Clone, Copy)]
struct Decoded {
    instruction: Instruction,
    operation: Option<Operation>,
    executed: u64,
}

/// Code, decoded as execution reaches it.
struct Program<'a> {
    code: &'a [u8],
    address: u64,
    /// By offset, the number in `decoded` of the instruction that begins there, plus one. Four zero bytes an offset
    /// cost nothing until they are touched, so that `code` may be a whole program.
    numbers: Vec<u32>,
    decoded: Vec<Decoded>,
}

impl<'a> Program<'a> {
    fn new(code: &'a [u8], address: u64) -> Self {
        Self { code, address, numbers: vec![0; code.len()], decoded: Vec::new() }
    }

    /// The instruction at `address`.
    fn at(&mut self, address: u64) -> Result<&mut Decoded, Fault> {
        let fault = |kind| Fault { address, instruction: String::new(), kind };
        let offset = address.checked_sub(self.address).filter(|&offset| offset < self.code.len() as u64);
        let offset = offset.ok_or_else(|| fault(FaultKind::OutsideCode))? as usize;
        if self.numbers[offset] == 0 {
            let mut decoder = Decoder::with_ip(64, &self.code[offset..], address, DecoderOptions::NONE);
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return Err(fault(FaultKind::Undecodable));
            }
            self.decoded.push(Decoded { instruction, operation: Operation::of(&instruction), executed: 0 });
            self.numbers[offset] = self.decoded.len() as u32;
        }
        Ok(&mut self.decoded[self.numbers[offset] as usize - 1])
    }

    fn counts(&self) -> BTreeMap<Mnemonic, u64> {
        let mut counts = BTreeMap::new();
        for decoded in &self.decoded {
            *counts.entry(decoded.instruction.mnemonic()).or_default() += decoded.executed;
        }
        counts
    }
}

/// What a run that returned has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    result: u64,
    counts: BTreeMap<Mnemonic, u64>,
}

impl Outcome {
    /// rax at the return.
    pub fn result(&self) -> u64 {
        self.result
    }

    /// How many instructions were executed, the final `ret` included.
    pub fn instructions(&self) -> u64 {
        self.counts.values().sum()
    }

    /// How many of one kind, by its lower-case mnemonic (`vpdpbusd`).
    pub fn count(&self, mnemonic: &str) -> u64 {
        self.counts().find(|(name, _)| name == mnemonic).map_or(0, |(_, count)| count)
    }

    /// Executed instructions by lower-case mnemonic.
    pub fn counts(&self) -> impl Iterator<Item = (String, u64)> {
        self.counts.iter().map(|(mnemonic, &count)| (format!("{mnemonic:?}").to_lowercase(), count))
    }
}
