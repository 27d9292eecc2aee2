//! Emitted code as text: the processor's instructions under the labels of the family that said them.

use std::fmt::Write;

use craftsman_isa::Arch;
use disarm64::decoder::decode;
use disarm64::format_insn::format_insn_pc;
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, NasmFormatter};

use crate::code::Code;
use crate::wasm;

/// The listing of `code`, one instruction a line with its offset, labels on lines of their own; then its constants.
///
/// Code for WebAssembly is listed as the text form of a module, with the numbers of its lines; code for other architectures
/// than that, x86-64 and aarch64 as 32-bit words.
///
/// ```
/// use craftsman_isa::recorded;
/// use craftsman_kernelgen::{candidates, emit, listing};
/// let caps = recorded::by_name("haswell").unwrap();
/// let key = "64x256-decode-tensor-a8".parse()?;
/// let text = listing(&emit(&key, &candidates(&caps, &key)[0], &caps)?.product, caps.arch);
/// assert!(text.contains("vpmaddubsw") && text.contains("; scale and store"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn listing(code: &Code, arch: Arch) -> String {
    // Writing to a string cannot fail.
    let mut text = String::new();
    let mut labels = code.labels.iter().peekable();
    for (offset, line) in lines(code, arch) {
        while let Some((_, name)) = labels.next_if(|(place, _)| *place <= offset) {
            let _ = writeln!(text, "; {name}");
        }
        let _ = writeln!(text, "{offset:6x}  {line}");
    }
    text
}

/// Bytes of constants a line.
const CONSTANT_LINE: usize = 16;

fn lines(code: &Code, arch: Arch) -> Vec<(usize, String)> {
    let instructions = match arch {
        Arch::X86_64 => x86_64(code),
        Arch::Aarch64 => words(code, aarch64),
        Arch::Wasm32 => return webassembly(code),
        Arch::Riscv64 | Arch::Other => words(code, |_, _| None),
    };
    instructions.into_iter().chain(constants(code)).collect()
}

fn x86_64(code: &Code) -> Vec<(usize, String)> {
    let mut formatter = NasmFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_space_after_operand_separator(true);
    let mut decoder = Decoder::with_ip(64, &code.bytes[..code.instruction_bytes], 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut lines = Vec::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let mut line = String::new();
        formatter.format(&instruction, &mut line);
        lines.push((instruction.ip() as usize, line));
    }
    lines
}

/// Instructions of 32 bits, as `name` says them, or as they are.
fn words(code: &Code, name: impl Fn(usize, u32) -> Option<String>) -> Vec<(usize, String)> {
    let words = code.bytes[..code.instruction_bytes].as_chunks().0.iter().enumerate();
    let line = |(index, word): (usize, &[u8; 4])| {
        let (place, word) = (4 * index, u32::from_le_bytes(*word));
        (place, name(place, word).unwrap_or_else(|| format!(".word {word:#010x}")))
    };
    words.map(line).collect()
}

/// The instruction at `place`; distances are said as the places they lead to.
fn aarch64(place: usize, word: u32) -> Option<String> {
    let mut text = String::new();
    format_insn_pc(place as u64, &mut text, &decode(word)?).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text form of a module with this function, line by line, with the numbers of lines.
fn webassembly(code: &Code) -> Vec<(usize, String)> {
    let module = wasm::module([("kernel", &code.bytes[..])].into_iter());
    let text = wasmprinter::print_bytes(&module).unwrap_or_else(|error| format!("(unreadable: {error})"));
    text.lines().map(str::to_owned).enumerate().collect()
}

/// What lies behind the instructions.
fn constants(code: &Code) -> impl Iterator<Item = (usize, String)> {
    let first = code.instruction_bytes.next_multiple_of(CONSTANT_LINE).min(code.bytes.len());
    code.bytes[first..].chunks(CONSTANT_LINE).enumerate().map(move |(index, line)| {
        let bytes: Vec<_> = line.iter().map(|byte| format!("{byte:#04x}")).collect();
        (first + index * CONSTANT_LINE, format!("db {}", bytes.join(", ")))
    })
}
