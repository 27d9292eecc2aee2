//! Instructions, branches, and constants behind the code. Every instruction is four bytes, so places are known at once.

use crate::code::{Code, EmitError};

/// A place in the code: the index of the instruction that follows it.
pub(crate) type Place = usize;

/// Bytes of a constant: one vector.
const CONSTANT: usize = 16;

/// Where the distance to a target lies in an instruction, in instructions: bits from `first` on.
#[derive(Debug, Clone, Copy)]
struct Distance {
    first: u32,
    bits: u32,
}

const NEAR: Distance = Distance { first: 5, bits: 19 };
const FAR: Distance = Distance { first: 0, bits: 26 };

#[derive(Debug, Clone, Copy)]
enum Target {
    Place(Place),
    /// Index among the constants.
    Constant(usize),
}

/// Instructions, labels and constants of one kernel.
#[derive(Debug, Default)]
pub(crate) struct Program {
    words: Vec<u32>,
    /// (instruction, the field to fill in, what it leads to)
    targets: Vec<(Place, Distance, Target)>,
    labels: Vec<(Place, String)>,
    constants: Vec<[u8; CONSTANT]>,
}

impl Program {
    /// Where the next instruction will be.
    pub(crate) fn here(&self) -> Place {
        self.words.len()
    }

    pub(crate) fn push(&mut self, word: u32) {
        self.words.push(word);
    }

    pub(crate) fn label(&mut self, name: &str) {
        self.labels.push((self.here(), name.to_owned()));
    }

    /// A conditional branch to `target`.
    pub(crate) fn branch_if(&mut self, word: u32, target: Place) {
        self.targets.push((self.here(), NEAR, Target::Place(target)));
        self.push(word);
    }

    /// A branch to `target`.
    pub(crate) fn branch(&mut self, word: u32, target: Place) {
        self.targets.push((self.here(), FAR, Target::Place(target)));
        self.push(word);
    }

    /// Puts `words` before everything.
    pub(crate) fn begin_with(&mut self, name: &str, words: impl Iterator<Item = u32>) {
        let before = self.words.len();
        self.words.splice(0..0, words);
        let moved = self.words.len() - before;
        for (place, _, target) in &mut self.targets {
            *place += moved;
            if let Target::Place(place) = target {
                *place += moved;
            }
        }
        self.labels.iter_mut().for_each(|(place, _)| *place += moved);
        self.labels.insert(0, (0, name.to_owned()));
    }

    /// Points the branch at `branch` here.
    pub(crate) fn land(&mut self, branch: Place) {
        let here = self.here();
        if let Some((_, _, target)) = self.targets.iter_mut().rev().find(|(place, ..)| *place == branch) {
            *target = Target::Place(here);
        }
    }

    /// An instruction that loads `bytes` from behind the code, where equal constants lie once.
    pub(crate) fn load_constant(&mut self, word: u32, bytes: [u8; CONSTANT]) {
        let known = self.constants.iter().position(|known| *known == bytes);
        let index = known.unwrap_or_else(|| {
            self.constants.push(bytes);
            self.constants.len() - 1
        });
        self.targets.push((self.here(), NEAR, Target::Constant(index)));
        self.push(word);
    }

    /// Fills in all distances.
    pub(crate) fn encode(mut self, scratch: usize) -> Result<Code, EmitError> {
        let instruction_bytes = 4 * self.words.len();
        let constants = instruction_bytes.next_multiple_of(CONSTANT) / 4;
        for (place, field, target) in self.targets {
            let to = match target {
                Target::Place(place) => place,
                Target::Constant(index) => constants + index * CONSTANT / 4,
            };
            let distance = to as i64 - place as i64;
            if distance.unsigned_abs() >= 1 << (field.bits - 1) {
                return Err(EmitError::new("a branch or constant beyond 1 MiB"));
            }
            let mask = (1_u32 << field.bits) - 1;
            self.words[place] |= (distance as u32 & mask) << field.first;
        }
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        if !self.constants.is_empty() {
            bytes.resize(4 * constants, 0);
        }
        bytes.extend(self.constants.iter().flatten());
        let labels = self.labels.into_iter().map(|(place, name)| (4 * place, name)).collect();
        Ok(Code { bytes, instruction_bytes, labels, scratch })
    }
}
