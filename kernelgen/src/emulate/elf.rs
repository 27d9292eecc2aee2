//! A program file that is nothing but memory.
//!
//! Layout: the ELF-64 object file format, System V ABI, chapters 4 and 5.

/// Bytes of a page, on the host and under the emulator.
pub(super) const PAGE: u64 = 4096;

const HEADER: usize = 64;
const SEGMENT_HEADER: usize = 56;
/// `ET_EXEC`: lies where it says.
const EXECUTABLE: u16 = 2;
/// `EM_AARCH64`
const AARCH64: u16 = 183;
/// `PT_LOAD`
const LOAD: u32 = 1;
/// To be read and executed, and to be read and written.
const CODE: u32 = 0b101;
const DATA: u32 = 0b110;

/// The file of an aarch64 program: `code`, not longer than a page, which begins at `start`, and a page of zeros at
/// `data`, a page or more behind it.
pub(super) fn program(start: u64, code: &[u8], data: u64) -> Vec<u8> {
    let mut file = Vec::new();
    // 64-bit, little-endian, version 1.
    file.extend(*b"\x7fELF\x02\x01\x01");
    file.resize(16, 0);
    file.extend(EXECUTABLE.to_le_bytes());
    file.extend(AARCH64.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend((HEADER as u64).to_le_bytes());
    file.extend([0; 12]);
    let counts = [HEADER, SEGMENT_HEADER, 2, 0, 0, 0];
    file.extend(counts.iter().flat_map(|&count| (count as u16).to_le_bytes()));
    let length = code.len() as u64;
    for (rights, address, length, memory) in [(CODE, start, length, length), (DATA, data, 0, PAGE)] {
        file.extend(LOAD.to_le_bytes());
        file.extend(rights.to_le_bytes());
        let words = [PAGE, address, address, length, memory, PAGE];
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    file.resize(PAGE as usize, 0);
    file.extend(code);
    file
}
