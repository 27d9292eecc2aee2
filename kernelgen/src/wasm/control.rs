//! The vocabulary, in WebAssembly: fields, loops, memory. Words for vectors are in [`words`](super::words).

use wasm_encoder::{BlockType, Instruction, MemArg, ValType};

use super::compiler::{Compiler, While};
use crate::vocabulary::{
    Accumulate, Accumulation, Binary, Compare, Emitter, Field, Pointer, Shift, Unary, Vector,
};

impl Emitter for Compiler {
    fn lanes(&self) -> usize {
        4
    }

    fn accumulation(&self) -> Accumulation {
        Accumulation::DirectSmall
    }

    fn reserve_scratch(&mut self, bytes: usize) {
        self.scratch = self.scratch.max(bytes);
    }

    fn vector(&mut self) -> Vector {
        self.fresh()
    }

    fn release(&mut self, vector: Vector) {
        self.give_back(vector);
    }

    fn pointer(&mut self, field: Field) -> Pointer {
        let pointer = Pointer(self.local(ValType::I32));
        self.reload(pointer, field);
        pointer
    }

    fn reload(&mut self, pointer: Pointer, field: Field) {
        self.load_field(field);
        self.push(Instruction::LocalSet(pointer.0));
    }

    fn advance(&mut self, pointer: Pointer, bytes: i64) {
        match i32::try_from(bytes) {
            Ok(0) => {}
            Ok(bytes) => self.push_all([
                Instruction::LocalGet(pointer.0),
                Instruction::I32Const(bytes),
                Instruction::I32Add,
                Instruction::LocalSet(pointer.0),
            ]),
            Err(_) => self.fail("a stride beyond 2 GiB"),
        }
    }

    fn set_field(&mut self, field: Field, value: usize) {
        self.store_field(field, |c| c.number(value));
    }

    fn copy_field(&mut self, to: Field, from: Field) {
        self.store_field(to, |c| c.load_field(from));
    }

    fn add_field(&mut self, field: Field, value: usize) {
        self.store_field(field, |c| {
            c.load_field(field);
            c.number(value);
            c.push(Instruction::I32Add);
        });
    }

    fn begin_while(&mut self, field: Field, step: usize, _: &str) {
        self.push_all([Instruction::Block(BlockType::Empty), Instruction::Loop(BlockType::Empty)]);
        self.load_field(field);
        self.number(step);
        self.push_all([Instruction::I32LtU, Instruction::BrIf(1)]);
        self.whiles.push(While { field, step, portions: false });
    }

    fn begin_portions(&mut self, field: Field, here: Field, most: usize, name: &str) {
        self.begin_while(field, 1, name);
        self.store_field(here, |c| {
            c.load_field(field);
            c.number(most);
            c.load_field(field);
            c.number(most);
            c.push_all([Instruction::I32LtU, Instruction::Select]);
        });
        if let Some(innermost) = self.whiles.last_mut() {
            (innermost.step, innermost.portions) = (most, true);
        }
    }

    fn end_while(&mut self) {
        let Some(While { field, step, portions }) = self.whiles.pop() else {
            return self.fail("end_while without begin_while");
        };
        if portions {
            // Whether there is more than a step, before it is taken off.
            self.load_field(field);
            self.number(step);
            self.push(Instruction::I32GtU);
        }
        self.store_field(field, |c| {
            c.load_field(field);
            c.number(step);
            c.push(Instruction::I32Sub);
        });
        self.push(if portions { Instruction::BrIf(0) } else { Instruction::Br(0) });
        self.push_all([Instruction::End, Instruction::End]);
    }

    fn begin_repeat(&mut self, count: usize, _: &str) {
        if std::mem::replace(&mut self.repeats, true) {
            self.fail("nested repeat");
        }
        let counter = match self.counter {
            Some(counter) => counter,
            None => self.local(ValType::I32),
        };
        self.counter = Some(counter);
        self.number(count);
        self.push_all([Instruction::LocalSet(counter), Instruction::Loop(BlockType::Empty)]);
    }

    fn end_repeat(&mut self) {
        let (true, Some(counter)) = (std::mem::replace(&mut self.repeats, false), self.counter) else {
            return self.fail("end_repeat without begin_repeat");
        };
        self.push_all([
            Instruction::LocalGet(counter),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::LocalTee(counter),
            Instruction::BrIf(0),
            Instruction::End,
        ]);
    }

    fn splat(&mut self, to: Vector, pattern: u32) {
        self.constant(to, &pattern.to_le_bytes().repeat(4));
    }

    fn constant(&mut self, to: Vector, bytes: &[u8]) {
        match bytes.try_into() {
            Ok(bytes) => self.push(Instruction::V128Const(i128::from_le_bytes(bytes))),
            Err(_) => self.fail("a constant of another length"),
        }
        self.put(to);
    }

    fn load(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.load_by(Instruction::V128Load, to, from, offset);
    }

    fn load_lanes(&mut self, to: Vector, from: Pointer, offset: i64, lanes: usize) {
        match lanes {
            0 => self.splat(to, 0),
            1 => self.load_by(Instruction::V128Load32Zero, to, from, offset),
            2 => self.load_by(Instruction::V128Load64Zero, to, from, offset),
            3 => {
                self.load_by(Instruction::V128Load64Zero, to, from, offset);
                let memarg = self.at(from, offset + 8);
                self.get(to);
                self.push(Instruction::V128Load32Lane { memarg, lane: 2 });
                self.put(to);
            }
            _ => self.load(to, from, offset),
        }
    }

    fn broadcast(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.load_by(Instruction::V128Load32Splat, to, from, offset);
    }

    fn broadcast_block(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.load(to, from, offset);
    }

    fn store(&mut self, to: Pointer, offset: i64, from: Vector) {
        let memarg = self.at(to, offset);
        self.get(from);
        self.push(Instruction::V128Store(memarg));
    }

    fn store_lanes(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize) {
        if lanes >= 4 {
            return self.store(to, offset, from);
        }
        if lanes >= 2 {
            let memarg = self.at(to, offset);
            self.get(from);
            self.push(Instruction::V128Store64Lane { memarg, lane: 0 });
        }
        if lanes % 2 == 1 {
            let memarg = self.at(to, offset + 4 * (lanes as i64 - 1));
            self.get(from);
            self.push(Instruction::V128Store32Lane { memarg, lane: lanes as u8 - 1 });
        }
    }

    fn store_narrow(&mut self, to: Pointer, offset: i64, from: Vector) {
        let memarg = self.at(to, offset);
        for narrow in [Instruction::I16x8NarrowI32x4S, Instruction::I8x16NarrowI16x8S] {
            self.get(from);
            self.get(from);
            self.push_all([narrow, Instruction::LocalSet(from.0)]);
        }
        self.get(from);
        self.push(Instruction::V128Store32Lane { memarg, lane: 0 });
    }

    fn store_sign_bits(&mut self, to: Pointer, offset: i64, from: Vector) {
        let memarg = self.at(to, offset);
        self.get(from);
        self.push_all([Instruction::I8x16Bitmask, Instruction::I32Store16(memarg)]);
    }

    fn prefetch(&mut self, _: Pointer, _: i64) {}

    fn unary(&mut self, word: Unary, to: Vector, a: Vector) {
        self.one(word, to, a);
    }

    fn binary(&mut self, word: Binary, to: Vector, a: Vector, b: Vector) {
        self.two(word, to, a, b);
    }

    fn shift(&mut self, word: Shift, to: Vector, a: Vector, bits: u8) {
        self.shifted(word, to, a, bits);
    }

    fn accumulate(&mut self, word: Accumulate, sum: Vector, a: Vector, b: Vector) {
        match word {
            Accumulate::Dot => self.dot(sum, a, b),
            Accumulate::MulAddFloat => self.fused(sum, a, b, false),
            Accumulate::MulSubFloat => self.fused(sum, a, b, true),
        }
    }

    fn compare(&mut self, word: Compare, to: Vector, a: Vector, b: Vector) {
        let instruction = match word {
            Compare::Less => Instruction::F32x4Lt,
            Compare::LessOrEqual => Instruction::F32x4Le,
        };
        self.simple(instruction, to, a, b);
    }

    fn ternary_logic(&mut self, _: u8, _: Vector, _: Vector, _: Vector) {
        self.fail("no instruction for a function of three bits");
    }

    fn rotate_lanes(&mut self, to: Vector, a: Vector, by: usize) {
        let order = std::array::from_fn(|byte| ((byte + 4 * by) % 16) as u8);
        self.simple(Instruction::I8x16Shuffle(order), to, a, a);
    }

    fn label(&mut self, _: &str) {}
}

impl Compiler {
    /// `to` = what `instruction` makes of the memory at `from + offset`.
    fn load_by(
        &mut self,
        instruction: fn(MemArg) -> Instruction<'static>,
        to: Vector,
        from: Pointer,
        offset: i64,
    ) {
        let memarg = self.at(from, offset);
        self.push(instruction(memarg));
        self.put(to);
    }
}
