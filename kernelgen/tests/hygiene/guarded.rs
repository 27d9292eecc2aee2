//! Buffers between pages that nobody may touch, and calls that see what becomes of the registers.

use std::ptr;

use craftsman_kernelgen::vocabulary::Arguments;
use craftsman_kernelgen::{Code, ExecutableMemory};
use iced_x86::{Code as Op, Encoder, Instruction, MemoryOperand, Register};

/// Which end of a buffer lies at a page that nobody may touch.
#[derive(Debug, Clone, Copy)]
pub enum Edge {
    Front,
    Back,
}

/// A buffer of which not one byte beyond its edge can be touched without the process being ended.
pub struct Guarded {
    pages: *mut libc::c_void,
    mapped: usize,
    start: *mut u8,
    length: usize,
}

impl Guarded {
    /// A writable copy of `contents`.
    pub fn new(contents: &[u8], edge: Edge) -> Self {
        // SAFETY: asks for a number and touches no memory.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let inner = contents.len().next_multiple_of(page).max(page);
        let mapped = inner + 2 * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        // SAFETY: a new mapping at an address that the operating system chooses replaces nothing.
        let pages = unsafe { libc::mmap(ptr::null_mut(), mapped, libc::PROT_NONE, flags, -1, 0) };
        assert!(pages != libc::MAP_FAILED, "no memory for {mapped} bytes");
        let first = pages.wrapping_byte_add(page);
        // SAFETY: these pages are the inner ones of the mapping that was just made.
        let opened = unsafe { libc::mprotect(first, inner, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(opened, 0, "cannot open {inner} bytes");
        let skipped = match edge {
            Edge::Front => 0,
            Edge::Back => inner - contents.len(),
        };
        let start = first.cast::<u8>().wrapping_add(skipped);
        // SAFETY: `start` is followed by contents.len() bytes of the inner pages, which were opened for writing.
        unsafe { ptr::copy_nonoverlapping(contents.as_ptr(), start, contents.len()) };
        Self { pages, mapped, start, length: contents.len() }
    }

    pub fn address(&self) -> *mut u8 {
        self.start
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `length` bytes from `start` are readable (`new`), and written by calls only, which borrow nothing.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing points into it any more.
        unsafe { libc::munmap(self.pages, self.mapped) };
    }
}

/// What a call left behind, in the order in which the wrapper writes it.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct Left {
    stack_before: u64,
    modes_before: u64,
    saved: [u64; SAVED.len()],
    stack: u64,
    modes: u64,
    flags: u64,
}

/// The registers that a function of the System V convention leaves as they were.
const SAVED: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];
/// MXCSR without what has happened, which nobody preserves.
const CONTROL: u64 = 0xFFC0;
/// DF among the flags.
const DIRECTION: u64 = 1 << 10;

/// What a saved register holds during the call.
fn pattern(index: usize) -> u64 {
    0x5EED_0000_0000_0000 + index as u64
}

impl Left {
    /// What was not as it had been.
    pub fn changed(&self) -> Vec<String> {
        let saved = SAVED.iter().enumerate().filter(|&(index, _)| self.saved[index] != pattern(index));
        let mut changed: Vec<String> = saved.map(|(_, register)| format!("{register:?}")).collect();
        let others = [
            ("RSP", self.stack != self.stack_before),
            ("MXCSR", (self.modes ^ self.modes_before) & CONTROL != 0),
            ("the direction flag", self.flags & DIRECTION != 0),
        ];
        changed.extend(others.iter().filter(|(_, is)| *is).map(|(name, _)| (*name).to_owned()));
        changed
    }
}

/// Code, of this calling convention, that fills the saved registers, calls `kernel` with `arguments`, and writes down
/// what is left.
fn wrapper(kernel: u64, arguments: u64, left: *mut Left) -> Code {
    let at = |offset: usize| MemoryOperand::with_base_displ(Register::RAX, offset as i64);
    let wide = |register, value: u64| Instruction::with2(Op::Mov_r64_imm64, register, value);
    let store = |offset, register| Instruction::with2(Op::Mov_rm64_r64, at(offset), register);
    let saved_at = std::mem::offset_of!(Left, saved);
    let mut code: Vec<_> = SAVED.iter().map(|&register| Instruction::with1(Op::Push_r64, register)).collect();
    code.extend([
        Instruction::with2(Op::Sub_rm64_imm8, Register::RSP, 8),
        wide(Register::RAX, left as u64),
        store(std::mem::offset_of!(Left, stack_before), Register::RSP),
        Instruction::with1(Op::Stmxcsr_m32, at(std::mem::offset_of!(Left, modes_before))),
    ]);
    code.extend(SAVED.iter().enumerate().map(|(index, &register)| wide(register, pattern(index))));
    code.extend([
        wide(Register::RDI, arguments),
        wide(Register::RAX, kernel),
        Instruction::with1(Op::Call_rm64, Register::RAX),
        wide(Register::RAX, left as u64),
    ]);
    code.extend(SAVED.iter().enumerate().map(|(index, &register)| store(saved_at + 8 * index, register)));
    code.extend([
        store(std::mem::offset_of!(Left, stack), Register::RSP),
        Instruction::with1(Op::Stmxcsr_m32, at(std::mem::offset_of!(Left, modes))),
        Instruction::with2(Op::Mov_r64_rm64, Register::RSP, at(std::mem::offset_of!(Left, stack_before))),
        Ok(Instruction::with(Op::Pushfq)),
        Instruction::with1(Op::Pop_r64, Register::RCX),
        store(std::mem::offset_of!(Left, flags), Register::RCX),
        Ok(Instruction::with(Op::Cld)),
        Instruction::with2(Op::Add_rm64_imm8, Register::RSP, 8),
    ]);
    code.extend(SAVED.iter().rev().map(|&register| Instruction::with1(Op::Pop_r64, register)));
    code.push(Ok(Instruction::with(Op::Retnq)));
    let mut encoder = Encoder::new(64);
    for instruction in code {
        encoder.encode(&instruction.unwrap(), 0).unwrap();
    }
    let bytes = encoder.take_buffer();
    Code { instruction_bytes: bytes.len(), bytes, labels: Vec::new(), scratch: 0 }
}

/// Calls `kernel` with `arguments`, copied between guards, and tells what it left.
pub fn call(kernel: &ExecutableMemory, arguments: &Arguments, edge: Edge) -> Left {
    // SAFETY: `Arguments` is pointers and integers without padding, so all of its bytes are initialised.
    let bytes =
        unsafe { std::slice::from_raw_parts(ptr::from_ref(arguments).cast::<u8>(), size_of::<Arguments>()) };
    let arguments = Guarded::new(bytes, edge);
    let mut left = Left::default();
    let entry = kernel.code().as_ptr() as u64;
    let wrapper = ExecutableMemory::new(&wrapper(entry, arguments.address() as u64, &raw mut left)).unwrap();
    // SAFETY: the wrapper is a function of the convention that `call` asks for, and reads nothing of its own
    // arguments. It writes `left`, which lives here, and calls the kernel with buffers as long as its key says.
    unsafe { wrapper.call(&mut Arguments::default()) };
    left
}
