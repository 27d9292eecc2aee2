//! Code for aarch64, run by QEMU's user mode where the processor is another one.
//!
//! Every buffer lies at the end of a page that no other follows, so that a read or write beyond it ends the program; a
//! register that was not restored is found too. What it takes is `qemu-aarch64-static` or `qemu-aarch64` (Debian:
//! `qemu-user-static`), found on the search path.
//!
//! One emulated program serves many calls. Memory goes to it and back as a file that both map.

mod elf;
mod process;
mod start;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use craftsman_isa::{Arch, Feature, HardwareCaps};

use crate::code::{Code, EmitError};
use crate::simulate::Access;
use crate::verify::{Buffer, Runner};
use crate::vocabulary::{Arguments, Field};
use elf::PAGE;
use process::Process;
use start::{kernel_call, system_call};

/// Names of the emulator, the one that needs no libraries first.
const PROGRAMS: [&str; 2] = ["qemu-aarch64-static", "qemu-aarch64"];

/// Where the program, the record it works on, and the kernel lie; buffers end at multiples of [`APART`] behind them.
const START: u64 = 0x4000_0000;
const RECORD: u64 = 0x4800_0000;
const CODE: u64 = 0x5000_0000;
const APART: u64 = 1 << 30;
/// What work space is aligned to.
const SCRATCH: u64 = 64;

/// What is emulated for a processor with a feature, the most capable first.
const PROCESSORS: [(Feature, &str); 3] =
    [(Feature::I8mm, "max"), (Feature::Dotprod, "cortex-a76"), (Feature::Neon, "cortex-a53")];

/// Linux's constants.
const CURRENT_FOLDER: u64 = -100_i64 as u64;
const OPEN_READ_WRITE: u64 = 2;
const MAP_SHARED_FIXED: u64 = 0x01 | 0x10;

/// What a program may do with memory, as `mmap` counts it.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
enum Rights {
    Read = 0b001,
    ReadWrite = 0b011,
    Execute = 0b101,
}

/// Memory of a call: whole pages at an address, and where they lie in the file.
#[derive(Debug)]
struct Segment {
    address: u64,
    length: u64,
    offset: u64,
    rights: Rights,
}

/// The emulator, set up for one kind of processor.
#[derive(Debug)]
pub struct Emulator {
    program: &'static str,
    /// QEMU's name for a processor that has what the code may use and, where there is one, no more.
    processor: &'static str,
    folder: tempfile::TempDir,
    /// The emulated program, until a call ends it, and the number of the memory file in it.
    process: Option<(Process, u64)>,
    calls: usize,
}

impl Emulator {
    /// The emulator for processors with `caps`.
    ///
    /// # Errors
    /// When they are not aarch64, or QEMU is not installed.
    pub fn new(caps: &HardwareCaps) -> Result<Self, EmitError> {
        let processor =
            PROCESSORS.iter().find(|(feature, _)| caps.arch == Arch::Aarch64 && caps.has(*feature));
        let Some((_, processor)) = processor else {
            return Err(EmitError::new("only aarch64 code can be emulated"));
        };
        let answers = |program: &&&str| {
            let mut version = Command::new(program);
            version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        };
        let program = PROGRAMS.iter().find(answers).ok_or_else(|| {
            EmitError::new(
                "aarch64 code is run by qemu-aarch64-static, which is not here; install qemu-user-static",
            )
        })?;
        let folder = tempfile::tempdir()
            .map_err(|error| EmitError::new(format_args!("no folder for programs to emulate: {error}")))?;
        Ok(Self { program, processor, folder, process: None, calls: 0 })
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// QEMU's name of the processor.
    pub fn processor(&self) -> &'static str {
        self.processor
    }

    fn memory_path(&self) -> PathBuf {
        self.folder.path().join("memory")
    }

    /// The emulated program, started if it does not run, and the number of the memory file, which is there, in it.
    fn process(&mut self) -> Result<&mut (Process, u64), String> {
        let running = match self.process.take() {
            Some(process) => process,
            None => self.start().map_err(|error| format!("{}: {error}", self.program))?,
        };
        Ok(self.process.insert(running))
    }

    fn start(&self) -> Result<(Process, u64), String> {
        let mut code = start::start(RECORD).map_err(|error| error.to_string())?;
        let name = START + code.len() as u64;
        code.extend(self.memory_path().into_os_string().into_encoded_bytes());
        code.push(0);
        let (path, program) = (self.folder.path().join("program"), elf::program(START, &code, RECORD));
        let process = Process::start(self.program, self.processor, &path, &program);
        let mut process = process.map_err(|error| error.to_string())?;
        let open = system_call(start::OPEN_AT, [CURRENT_FOLDER, name, OPEN_READ_WRITE, 0, 0, 0]);
        let file = process.ask(&[open]).map_err(|fault| format!("{fault}; {}", process.end()))?;
        Ok((process, file[0]))
    }

    /// Has the program map `segments` of the memory file, call the kernel, and forget them.
    fn map_and_call(&mut self, segments: &[Segment], arguments: u64) -> Result<(), String> {
        let (process, file) = self.process()?;
        let maps = segments.iter().map(|segment| {
            let Segment { address, length, offset, rights } = *segment;
            system_call(start::MAP, [address, length, rights as u64, MAP_SHARED_FIXED, *file, offset])
        });
        let unmaps = segments
            .iter()
            .map(|segment| system_call(start::UNMAP, [segment.address, segment.length, 0, 0, 0, 0]));
        let records: Vec<_> = maps.chain([kernel_call(CODE, arguments)]).chain(unmaps).collect();
        let answers = process.ask(&records)?;
        let mapped = answers.iter().zip(segments).all(|(answer, segment)| *answer == segment.address);
        match answers.get(segments.len()) {
            _ if !mapped => Err("the emulator cannot map memory where it should be".to_owned()),
            Some(0) => Ok(()),
            _ => Err("a register that belongs to the caller was not restored".to_owned()),
        }
    }
}

/// The memory of a call as it grows: a file, and where its parts are to be mapped.
#[derive(Debug, Default)]
struct Memory {
    file: Vec<u8>,
    segments: Vec<Segment>,
}

impl Memory {
    /// Adds `bytes` that begin at `address`; returns where they lie in the file.
    fn add(&mut self, address: u64, bytes: &[u8], rights: Rights) -> usize {
        let (offset, within) = (self.file.len(), (address % PAGE) as usize);
        self.file.resize(offset + within, 0);
        self.file.extend(bytes);
        self.file.resize(self.file.len().next_multiple_of(PAGE as usize), 0);
        let length = (self.file.len() - offset) as u64;
        if length > 0 {
            let address = address - within as u64;
            self.segments.push(Segment { address, length, offset: offset as u64, rights });
        }
        offset + within
    }
}

/// Where `bytes` bytes begin that end where memory ends; `place` counts buffers.
fn begin(place: usize, bytes: usize, alignment: u64) -> u64 {
    let end = APART * (place as u64 + 2);
    (end - bytes as u64) / alignment * alignment
}

impl Runner for Emulator {
    fn call(&mut self, code: &Code, buffers: &mut [Buffer], counts: &[(Field, usize)]) -> Result<(), String> {
        let mut memory = Memory::default();
        let mut values: Vec<_> = counts.iter().map(|&(field, count)| (field, count as u64)).collect();
        let mut places = Vec::new();
        for (place, Buffer { field, bytes, access }) in buffers.iter().enumerate() {
            let address = begin(place, bytes.len(), 1);
            values.push((*field, address));
            let rights = if *access == Access::ReadWrite { Rights::ReadWrite } else { Rights::Read };
            places.push(memory.add(address, bytes, rights));
        }
        let scratch = begin(buffers.len(), code.scratch, SCRATCH);
        values.push((Field::Scratch, scratch));
        memory.add(scratch, &vec![0xA5; code.scratch], Rights::ReadWrite);
        let arguments = Arguments::encode(values);
        let place = begin(buffers.len() + 1, arguments.len(), 8);
        memory.add(place, &arguments, Rights::ReadWrite);
        memory.add(CODE, &code.bytes, Rights::Execute);
        let path = self.memory_path();
        std::fs::write(&path, &memory.file).map_err(|error| error.to_string())?;
        self.calls += 1;
        if let Err(fault) = self.map_and_call(&memory.segments, place) {
            let ended = self.process.take().map(|(mut process, _)| process.end());
            return Err(ended.into_iter().fold(fault, |fault, ended| format!("{fault}; {ended}")));
        }
        let after = std::fs::read(&path).map_err(|error| error.to_string())?;
        for (buffer, place) in buffers.iter_mut().zip(places) {
            let length = buffer.bytes.len();
            buffer.bytes.copy_from_slice(&after[place..place + length]);
        }
        Ok(())
    }
}

const _: () = assert!(PAGE.is_multiple_of(SCRATCH) && APART.is_multiple_of(PAGE));
