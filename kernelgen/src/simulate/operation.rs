//! From an instruction to what executes it.

use super::core::Core;
use super::fault::FaultKind;
use super::{masks, modes, moves, scalar, tiles, vertical, whole};
use iced_x86::{Instruction, Mnemonic};

/// Executes one instruction; `Core::ip` already points past it.
pub(super) type Execute = fn(&mut Core, &Instruction) -> Result<(), FaultKind>;

/// Mnemonics and the function that executes them.
pub(super) type Row = (&'static [Mnemonic], Execute);

/// The tables of functions.
const FUNCTIONS: &[&[Row]] = &[scalar::TABLE, moves::TABLE, masks::TABLE, modes::TABLE, tiles::TABLE];

/// How a decoded instruction is executed.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Function(Execute),
    Vertical(&'static vertical::Row),
    Whole(&'static whole::Row),
}

impl Operation {
    /// Looks `instruction` up in the tables.
    pub(super) fn of(instruction: &Instruction) -> Option<Self> {
        let mnemonic = instruction.mnemonic();
        let function = FUNCTIONS.iter().copied().flatten().find(|row| row.0.contains(&mnemonic));
        let vertical = || vertical::TABLE.iter().find(|row| row.names.contains(&mnemonic));
        let whole = || whole::TABLE.iter().find(|row| row.names.contains(&mnemonic));
        function
            .map(|row| Self::Function(row.1))
            .or_else(|| vertical().map(Self::Vertical))
            .or_else(|| whole().map(Self::Whole))
    }

    pub(super) fn execute(self, core: &mut Core, instruction: &Instruction) -> Result<(), FaultKind> {
        match self {
            Self::Function(function) => function(core, instruction),
            Self::Vertical(row) => row.execute(core, instruction),
            Self::Whole(row) => row.execute(core, instruction),
        }
    }
}

/// Every mnemonic that some table has, for tests that must cover them all.
#[cfg(test)]
pub(super) fn mnemonics() -> Vec<Mnemonic> {
    let functions = FUNCTIONS.iter().copied().flatten().flat_map(|row| row.0);
    let vertical = vertical::TABLE.iter().flat_map(|row| row.names);
    let whole = whole::TABLE.iter().flat_map(|row| row.names);
    functions.chain(vertical).chain(whole).copied().collect()
}
