//! What objects are written for: one row each.

use craftsman_isa::{Arch, HardwareCaps, recorded};
use object::BinaryFormat;

use crate::key::NameError;

/// An operating system on an architecture.
#[derive(Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// The architecture of its code.
    pub arch: Arch,
    /// The recorded processor that is meant where none is named.
    machine: &'static str,
    pub(super) format: Format,
}

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// An object file for a linker.
    Object(BinaryFormat),
    /// A WebAssembly module that imports its memory.
    Module,
}

/// Every target.
static ALL: [Target; 5] = [
    Target {
        name: "x86_64-linux",
        arch: Arch::X86_64,
        machine: "haswell",
        format: Format::Object(BinaryFormat::Elf),
    },
    Target {
        name: "x86_64-windows",
        arch: Arch::X86_64,
        machine: "haswell",
        format: Format::Object(BinaryFormat::Coff),
    },
    Target {
        name: "aarch64-linux",
        arch: Arch::Aarch64,
        machine: "raspberry-pi-4",
        format: Format::Object(BinaryFormat::Elf),
    },
    Target {
        name: "aarch64-macos",
        arch: Arch::Aarch64,
        machine: "apple-m1",
        format: Format::Object(BinaryFormat::MachO),
    },
    Target { name: "wasm", arch: Arch::Wasm32, machine: "browser", format: Format::Module },
];

impl Target {
    /// Every target.
    pub fn all() -> &'static [Target] {
        &ALL
    }

    /// The target called `name`.
    ///
    /// # Errors
    /// Names the targets there are.
    pub fn by_name(name: &str) -> Result<&'static Target, NameError> {
        let names: Vec<_> = ALL.iter().map(|target| target.name).collect();
        let found = ALL.iter().find(|target| target.name == name);
        found.ok_or_else(|| NameError::new(&format!("a target is one of {names:?}"), name))
    }

    /// A processor that most machines of this kind have at least.
    pub fn usual(&self) -> HardwareCaps {
        // The table names recorded machines only: a test asks for each.
        recorded::by_name(self.machine).unwrap_or_else(HardwareCaps::detect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_processors_are_recorded_and_of_the_target() {
        for target in Target::all() {
            assert_eq!(recorded::by_name(target.machine).unwrap().arch, target.arch, "{}", target.name);
        }
    }
}
