//! Emitted code as text: the processor's instructions under the labels of the family that said them.

use std::fmt::Write;

use craftsman_isa::Arch;
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, NasmFormatter};

use crate::code::Code;

/// The listing of `code`, one instruction a line with its offset, labels on lines of their own; then its constants.
///
/// Code of architectures other than x86-64 is listed as 32-bit words.
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
    if arch != Arch::X86_64 {
        let words = code.bytes.chunks(4).enumerate();
        return words.map(|(index, word)| (4 * index, format!(".word {word:02x?}"))).collect();
    }
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
    let constants = code.instruction_bytes.next_multiple_of(CONSTANT_LINE).min(code.bytes.len());
    for (index, line) in code.bytes[constants..].chunks(CONSTANT_LINE).enumerate() {
        let bytes: Vec<_> = line.iter().map(|byte| format!("{byte:#04x}")).collect();
        lines.push((constants + index * CONSTANT_LINE, format!("db {}", bytes.join(", "))));
    }
    lines
}
