//! Object files, by the `object` crate.

use craftsman_isa::Arch;
use object::write::{Object, Relocation, StandardSection, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationEncoding, RelocationFlags, RelocationKind, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope,
};

use super::windows;
use crate::code::EmitError;

/// Where functions begin: constants among the code want as much.
const ALIGNMENT: u64 = 64;

/// An object of all `functions`, which are of architecture `arch`.
pub(super) fn write<'f>(
    functions: impl Iterator<Item = (String, &'f [u8])>,
    arch: Arch,
    format: BinaryFormat,
) -> Result<Vec<u8>, EmitError> {
    let architecture = match arch {
        Arch::X86_64 => Architecture::X86_64,
        _ => Architecture::Aarch64,
    };
    let mut object = Object::new(format, architecture, Endianness::Little);
    for (name, code) in functions {
        if format == BinaryFormat::Coff {
            add_with_entry(&mut object, &name, code)?;
        } else {
            add_function(&mut object, &name, code, SymbolScope::Linkage);
        }
    }
    if format == BinaryFormat::Elf {
        // Says that the stack need not be executable.
        object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
    }
    object.write().map_err(EmitError::new)
}

/// Adds `code` under `name`; returns its symbol and its place in the section.
fn add_function(object: &mut Object<'_>, name: &str, code: &[u8], scope: SymbolScope) -> (SymbolId, u64) {
    let symbol = object.add_symbol(Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: 0,
        kind: SymbolKind::Text,
        scope,
        weak: false,
        section: SymbolSection::Undefined,
        flags: SymbolFlags::None,
    });
    let text = object.section_id(StandardSection::Text);
    let place = object.add_symbol_data(symbol, text, code, ALIGNMENT);
    (symbol, place)
}

/// Windows calls otherwise than kernels expect: the function that is called saves what belongs to the caller, and says in
/// tables how, so that exceptions find their way through it.
fn add_with_entry(object: &mut Object<'_>, name: &str, code: &[u8]) -> Result<(), EmitError> {
    let (kernel, _) = add_function(object, &format!("{name}_body"), code, SymbolScope::Compilation);
    let entry = windows::entry()?;
    let (symbol, place) = add_function(object, name, &entry.code, SymbolScope::Linkage);
    let text = object.section_id(StandardSection::Text);
    relocate(object, text, place + entry.call as u64, kernel, RelocationKind::Relative, -4)?;
    let unwind = object.add_section(Vec::new(), b".xdata".to_vec(), SectionKind::ReadOnlyData);
    let unwind_place = object.append_section_data(unwind, &entry.unwind, 4);
    let unwind_symbol = object.section_symbol(unwind);
    let table = object.add_section(Vec::new(), b".pdata".to_vec(), SectionKind::ReadOnlyData);
    let row = object.append_section_data(table, &[0; 12], 4);
    // Begin and end of the function, and where its table lies, as distances from the image's base.
    let end = entry.code.len() as i64;
    for (at, symbol, addend) in [(0, symbol, 0), (4, symbol, end), (8, unwind_symbol, unwind_place as i64)] {
        relocate(object, table, row + at, symbol, RelocationKind::ImageOffset, addend)?;
    }
    Ok(())
}

fn relocate(
    object: &mut Object<'_>,
    section: object::write::SectionId,
    offset: u64,
    symbol: SymbolId,
    kind: RelocationKind,
    addend: i64,
) -> Result<(), EmitError> {
    let flags = RelocationFlags::Generic { kind, encoding: RelocationEncoding::Generic, size: 32 };
    object.add_relocation(section, Relocation { offset, symbol, addend, flags }).map_err(EmitError::new)
}
