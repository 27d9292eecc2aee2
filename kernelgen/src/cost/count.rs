//! Counts the operations of an emission, loops multiplied out.
//!
//! A [`Counter`] is an [`Emitter`] that emits nothing. It keeps the fields of the arguments as numbers, so that it knows
//! how often each loop goes round for a given key; what a loop's body does is counted once and multiplied. Innermost
//! loops are regions of their own, because a core overlaps instructions within them and not across.

use std::collections::HashMap;

use crate::backend::Backend;
use crate::vocabulary::tiles::REGISTERS;
use crate::vocabulary::{
    Accumulate, Accumulation, Binary, Compare, Emitter, Field, MatrixEmitter, Pointer, Shift, TileEmitter,
    Unary, Vector, Word,
};

/// Kinds of instructions that compete for the same ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Simple,
    Multiply,
    Shuffle,
    Shift,
    Divide,
    Load,
    Store,
    Scalar,
    Tile,
}

pub(super) const KINDS: usize = 9;

/// What an innermost loop, or everything outside of them, executes.
#[derive(Debug, Clone, Default)]
pub(super) struct Region {
    /// Instructions of each kind.
    pub(super) counts: [f64; KINDS],
    /// The longest chain of products, and of other instructions, that wait for each other from round to round.
    pub(super) chain: [f64; 2],
    /// Bytes of weights that it loads, those loaded before included.
    pub(super) weight_bytes: f64,
    /// Bytes of activations that it loads, alike.
    pub(super) input_bytes: f64,
    /// Where they lie, seen from the weights pointer.
    places: Vec<i64>,
    chains: HashMap<u32, [f64; 2]>,
    broken: Vec<u32>,
}

/// Weights that lie farther apart are of different streams.
const STREAM_GAP: i64 = 2048;

impl Region {
    /// At how many places it reads weights at once.
    pub(super) fn streams(&self) -> usize {
        let mut places = self.places.clone();
        places.sort_unstable();
        1 + places.windows(2).filter(|pair| pair[1] - pair[0] > STREAM_GAP).count()
    }
}

/// Counts. See the module's introduction.
pub(super) struct Counter<'b> {
    backend: &'b dyn Backend,
    fields: HashMap<Field, usize>,
    /// How often the code at hand is executed; what it was before each open loop.
    times: f64,
    outer: Vec<(f64, Field, usize)>,
    pub(super) regions: Vec<Region>,
    open: Region,
    repeat: Option<f64>,
    pointers: Vec<Field>,
    vectors: u32,
    pub(super) tile_rows: [usize; REGISTERS],
}

impl<'b> Counter<'b> {
    /// A counter for code of `backend` that is called with these fields; the others are zero.
    pub(super) fn new(backend: &'b dyn Backend, fields: &[(Field, usize)]) -> Self {
        Self {
            backend,
            fields: fields.iter().copied().collect(),
            times: 1.0,
            outer: Vec::new(),
            regions: Vec::new(),
            open: Region::default(),
            repeat: None,
            pointers: Vec::new(),
            vectors: 0,
            tile_rows: [0; REGISTERS],
        }
    }

    /// What was counted.
    pub(super) fn finish(mut self) -> Vec<Region> {
        self.regions.push(self.open);
        self.regions
    }

    pub(super) fn count(&mut self, kind: Kind, how_many: f64) {
        self.open.counts[kind as usize] += how_many * self.times;
    }

    /// An instruction that writes `to` and reads `from`: one link more if it reads what it writes, and the end of a
    /// chain if not.
    pub(super) fn step(&mut self, kind: Kind, to: Vector, from: &[Vector]) {
        self.count(kind, 1.0);
        if self.repeat.is_some() {
            if from.contains(&to) {
                let links = self.open.chains.entry(to.0).or_default();
                links[usize::from(kind != Kind::Multiply)] += 1.0;
            } else {
                self.open.broken.push(to.0);
            }
        }
    }

    /// The instructions that the backend needs for `word` beside the first.
    fn more(&mut self, word: Word) {
        self.count(Kind::Simple, self.backend.instructions(word) as f64 - 1.0);
    }

    fn read(&mut self, to: Vector, from: Pointer, offset: i64, bytes: usize) {
        self.step(Kind::Load, to, &[]);
        self.loaded(from, offset, bytes);
    }

    /// Notes a load of `bytes`, if it is one of weights or activations.
    pub(super) fn loaded(&mut self, from: Pointer, offset: i64, bytes: usize) {
        let bytes = bytes as f64 * self.times;
        match self.pointers.get(from.0 as usize) {
            Some(Field::Weights) => {
                self.open.weight_bytes += bytes;
                self.open.places.push(offset);
            }
            Some(Field::Activations) => self.open.input_bytes += bytes,
            _ => {}
        }
    }

    fn value(&self, field: Field) -> usize {
        self.fields.get(&field).copied().unwrap_or(0)
    }

    fn set(&mut self, field: Field, value: usize) {
        self.count(Kind::Scalar, 1.0);
        // What is never executed changes nothing.
        if self.times > 0.0 {
            self.fields.insert(field, value);
        }
    }
}

/// Cycles that a vector of divisions keeps its unit busy, about the same everywhere.
const DIVISION: f64 = 8.0;

impl Emitter for Counter<'_> {
    fn lanes(&self) -> usize {
        self.backend.lanes()
    }

    fn accumulation(&self) -> Accumulation {
        self.backend.accumulation()
    }

    fn reserve_scratch(&mut self, _: usize) {}

    fn tiles(&mut self) -> Option<&mut dyn TileEmitter> {
        if self.backend.says(Word::Tiles) { Some(self) } else { None }
    }

    fn matrices(&mut self) -> Option<&mut dyn MatrixEmitter> {
        if self.backend.says(Word::Matrices) { Some(self) } else { None }
    }

    fn vector(&mut self) -> Vector {
        self.vectors += 1;
        Vector(self.vectors)
    }

    fn release(&mut self, _: Vector) {}

    fn pointer(&mut self, field: Field) -> Pointer {
        self.count(Kind::Scalar, 1.0);
        self.pointers.push(field);
        Pointer(self.pointers.len() as u32 - 1)
    }

    fn reload(&mut self, _: Pointer, _: Field) {
        self.count(Kind::Scalar, 1.0);
    }

    fn advance(&mut self, _: Pointer, _: i64) {
        self.count(Kind::Scalar, 1.0);
    }

    fn set_field(&mut self, field: Field, value: usize) {
        self.set(field, value);
    }

    fn copy_field(&mut self, to: Field, from: Field) {
        self.set(to, self.value(from));
    }

    fn add_field(&mut self, _: Field, _: usize) {
        // Only addresses are moved on, which nothing here depends on.
        self.count(Kind::Scalar, 1.0);
    }

    fn begin_while(&mut self, field: Field, step: usize, _: &str) {
        let rounds = self.value(field) / step.max(1);
        self.outer.push((self.times, field, step));
        self.times *= rounds as f64;
        self.count(Kind::Scalar, 3.0);
    }

    fn begin_portions(&mut self, field: Field, here: Field, most: usize, _: &str) {
        let value = self.value(field);
        let rounds = value.div_ceil(most.max(1));
        self.outer.push((self.times, field, value.div_ceil(rounds.max(1)).max(1)));
        self.times *= rounds as f64;
        self.set(here, value.div_ceil(rounds.max(1)));
        self.count(Kind::Scalar, 4.0);
    }

    fn end_while(&mut self) {
        let Some((times, field, step)) = self.outer.pop() else { return };
        self.times = times;
        self.set(field, self.value(field) % step.max(1));
    }

    fn begin_repeat(&mut self, count: usize, _: &str) {
        self.regions.push(std::mem::take(&mut self.open));
        self.repeat = Some(self.times);
        self.times *= count as f64;
    }

    fn end_repeat(&mut self) {
        self.count(Kind::Scalar, 1.0);
        let rounds = self.times;
        self.times = self.repeat.take().unwrap_or(1.0);
        let mut region = std::mem::take(&mut self.open);
        for (register, links) in std::mem::take(&mut region.chains) {
            if !region.broken.contains(&register) {
                let longest = links[0] + links[1] > region.chain[0] + region.chain[1];
                region.chain = if longest { links } else { region.chain };
            }
        }
        region.chain = region.chain.map(|links| links * rounds);
        self.regions.push(region);
    }

    fn splat(&mut self, to: Vector, _: u32) {
        self.step(Kind::Simple, to, &[]);
    }

    fn constant(&mut self, to: Vector, _: &[u8]) {
        self.step(Kind::Load, to, &[]);
    }

    fn load(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.read(to, from, offset, 4 * self.backend.lanes());
    }

    fn load_lanes(&mut self, to: Vector, from: Pointer, offset: i64, lanes: usize) {
        self.read(to, from, offset, 4 * lanes);
    }

    fn broadcast(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.read(to, from, offset, 4);
    }

    fn broadcast_block(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.read(to, from, offset, 16);
    }

    fn store(&mut self, _: Pointer, _: i64, _: Vector) {
        self.count(Kind::Store, 1.0);
    }

    fn store_lanes(&mut self, _: Pointer, _: i64, _: Vector, _: usize) {
        self.count(Kind::Store, 1.0);
    }

    fn store_narrow(&mut self, _: Pointer, _: i64, _: Vector) {
        self.count(Kind::Shuffle, 2.0);
        self.count(Kind::Store, 1.0);
    }

    fn store_sign_bits(&mut self, _: Pointer, _: i64, _: Vector) {
        self.count(Kind::Simple, 1.0);
        self.count(Kind::Store, 1.0);
    }

    fn prefetch(&mut self, _: Pointer, _: i64) {
        self.count(Kind::Load, 1.0);
    }

    fn unary(&mut self, word: Unary, to: Vector, a: Vector) {
        let kind = match word {
            Unary::ToFloat | Unary::ToInt => Kind::Multiply,
            // One a cycle, as shuffles are.
            Unary::PopCount8 => Kind::Shuffle,
        };
        self.step(kind, to, &[a]);
    }

    fn binary(&mut self, word: Binary, to: Vector, a: Vector, b: Vector) {
        self.step(kind_of(word), to, &[a, b]);
        self.more(Word::Binary(word));
        if word == Binary::DivFloat {
            self.count(Kind::Divide, DIVISION);
        }
    }

    fn shift(&mut self, _: Shift, to: Vector, a: Vector, _: u8) {
        self.step(Kind::Shift, to, &[a]);
    }

    fn accumulate(&mut self, word: Accumulate, sum: Vector, a: Vector, b: Vector) {
        self.step(Kind::Multiply, sum, &[sum, a, b]);
        self.more(Word::Accumulate(word));
    }

    fn compare(&mut self, _: Compare, to: Vector, a: Vector, b: Vector) {
        self.step(Kind::Simple, to, &[a, b]);
    }

    fn ternary_logic(&mut self, _: u8, to: Vector, a: Vector, b: Vector) {
        self.step(Kind::Simple, to, &[to, a, b]);
    }

    fn rotate_lanes(&mut self, to: Vector, a: Vector, _: usize) {
        self.step(Kind::Shuffle, to, &[a]);
    }

    fn label(&mut self, _: &str) {}
}

fn kind_of(word: Binary) -> Kind {
    match word {
        Binary::MulPairs | Binary::AddPairs | Binary::MulFloat | Binary::AddFloat | Binary::SubFloat => {
            Kind::Multiply
        }
        Binary::Shuffle8 | Binary::InterleaveLow8 | Binary::InterleaveHigh8 | Binary::Pack16 => Kind::Shuffle,
        // One a cycle on the wide tiers, as shifts are.
        Binary::Average8 | Binary::SubSaturate8 => Kind::Shift,
        Binary::And
        | Binary::AndNot
        | Binary::Or
        | Binary::Xor
        | Binary::Add8
        | Binary::Sub8
        | Binary::Add16
        | Binary::Sub16
        | Binary::Add32
        | Binary::Sub32
        | Binary::Max32
        | Binary::DivFloat
        | Binary::MaxFloat => Kind::Simple,
    }
}
