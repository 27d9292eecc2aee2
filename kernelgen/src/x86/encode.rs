//! From instructions to bytes: branches, and constants behind the code.
//!
//! Every branch has a 32-bit distance and every constant a 32-bit one, so lengths are known at once: one pass encodes,
//! and the distances are written in when all places are known. (The general block encoder of iced-x86 searches for
//! shorter branches in several passes; emission took three times as long with it.)

use iced_x86::{Code as Op, Encoder, Instruction};

use crate::code::{Code, EmitError};

/// A place in the code: the index of the instruction that follows it.
pub(super) type Place = usize;

/// Constants begin at a multiple of this, as the widest vector wants it.
const ALIGNMENT: usize = 64;

/// What the last four bytes, or the displacement, of an instruction lead to.
#[derive(Debug, Clone, Copy)]
enum Target {
    Place(Place),
    /// Offset among the constants.
    Constant(usize),
}

/// Instructions, labels and constants of one kernel.
#[derive(Debug, Default)]
pub(super) struct Program {
    instructions: Vec<Instruction>,
    /// By instruction, ascending.
    targets: Vec<(Place, Target)>,
    labels: Vec<(Place, String)>,
    constants: Vec<u8>,
}

impl Program {
    /// Where the next instruction will be.
    pub(super) fn here(&self) -> Place {
        self.instructions.len()
    }

    pub(super) fn push(&mut self, instruction: Instruction) {
        self.instructions.push(instruction);
    }

    pub(super) fn label(&mut self, name: &str) {
        self.labels.push((self.here(), name.to_owned()));
    }

    /// A branch to `target`, one of the forms with a 32-bit distance.
    pub(super) fn branch(&mut self, op: Op, target: Place) {
        if let Ok(branch) = Instruction::with_branch(op, 0) {
            self.targets.push((self.here(), Target::Place(target)));
            self.push(branch);
        }
    }

    /// Points the branch at `branch` here.
    pub(super) fn land(&mut self, branch: Place) {
        let here = self.here();
        if let Some((_, target)) = self.targets.iter_mut().rev().find(|(place, _)| *place == branch) {
            *target = Target::Place(here);
        }
    }

    /// Keeps a vector of bytes behind the code, once, and says where.
    pub(super) fn constant(&mut self, bytes: &[u8]) -> usize {
        let known = self.constants.chunks(ALIGNMENT).position(|known| known.starts_with(bytes));
        known.map_or_else(
            || {
                let place = self.constants.len();
                self.constants.extend_from_slice(bytes);
                self.constants.resize(place + ALIGNMENT, 0);
                place
            },
            |index| index * ALIGNMENT,
        )
    }

    /// An instruction whose memory operand, relative to `rip`, is the constant at `offset`.
    pub(super) fn push_with_constant(&mut self, instruction: Instruction, offset: usize) {
        self.targets.push((self.here(), Target::Constant(offset)));
        self.push(instruction);
    }

    /// Encodes everything.
    pub(super) fn encode(self, scratch: usize) -> Result<Code, EmitError> {
        let mut encoder = Encoder::new(64);
        let mut offsets = Vec::with_capacity(self.instructions.len() + 1);
        // (where the distance is written, where it counts from, target)
        let mut distances = Vec::with_capacity(self.targets.len());
        let mut targets = self.targets.into_iter().peekable();
        let mut end = 0;
        for (place, instruction) in self.instructions.iter().enumerate() {
            offsets.push(end);
            let begin = end;
            end += encoder.encode(instruction, begin as u64).map_err(EmitError::new)?;
            if let Some((_, target)) = targets.next_if(|(at, _)| *at == place) {
                let displacement = encoder.get_constant_offsets().displacement_offset();
                let field = match target {
                    Target::Place(_) => end - 4,
                    Target::Constant(_) => begin + displacement,
                };
                distances.push((field, end, target));
            }
        }
        offsets.push(end);
        let mut bytes = encoder.take_buffer();
        let instruction_bytes = bytes.len();
        if !self.constants.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        }
        let constants = bytes.len();
        bytes.extend(self.constants);
        for (field, from, target) in distances {
            let to = match target {
                Target::Place(place) => offsets[place],
                Target::Constant(offset) => constants + offset,
            };
            let distance = i32::try_from(to as i64 - from as i64).map_err(EmitError::new)?;
            bytes[field..field + 4].copy_from_slice(&distance.to_le_bytes());
        }
        let labels = self.labels.into_iter().map(|(place, name)| (offsets[place], name)).collect();
        Ok(Code { bytes, instruction_bytes, labels, scratch })
    }
}
