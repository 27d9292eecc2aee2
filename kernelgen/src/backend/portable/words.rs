//! The vocabulary in Cranelift's intermediate representation.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, I8X16, I16, I16X8, I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, SourceLoc};
use cranelift_frontend::Variable;

use super::Portable;
use super::compiler::{Compiler, While, flags};
use crate::backend::Backend;
use crate::code::EmitError;
use crate::vocabulary::{
    Accumulate, Accumulation, Binary, Compare, Emitter, Field, Pointer, Shift, Unary, Vector,
};

impl Emitter for Compiler<'_> {
    fn lanes(&self) -> usize {
        Portable.lanes()
    }

    fn accumulation(&self) -> Accumulation {
        Portable.accumulation()
    }

    fn reserve_scratch(&mut self, bytes: usize) {
        self.scratch = self.scratch.max(bytes);
    }

    fn vector(&mut self) -> Vector {
        let variable = self.builder.declare_var(I8X16);
        Vector(variable.as_u32())
    }

    fn release(&mut self, _: Vector) {}

    fn pointer(&mut self, field: Field) -> Pointer {
        let pointer = Pointer(self.builder.declare_var(I64).as_u32());
        self.reload(pointer, field);
        pointer
    }

    fn reload(&mut self, pointer: Pointer, field: Field) {
        let value = self.load_field(field);
        self.builder.def_var(Variable::from_u32(pointer.0), value);
    }

    fn advance(&mut self, pointer: Pointer, bytes: i64) {
        let variable = Variable::from_u32(pointer.0);
        let value = self.builder.use_var(variable);
        let moved = self.builder.ins().iadd_imm_s(value, bytes);
        self.builder.def_var(variable, moved);
    }

    fn set_field(&mut self, field: Field, value: usize) {
        let value = self.builder.ins().iconst(I64, value as i64);
        self.store_field(field, value);
    }

    fn copy_field(&mut self, to: Field, from: Field) {
        let value = self.load_field(from);
        self.store_field(to, value);
    }

    fn add_field(&mut self, field: Field, value: usize) {
        let old = self.load_field(field);
        let new = self.builder.ins().iadd_imm_s(old, value as i64);
        self.store_field(field, new);
    }

    fn begin_while(&mut self, field: Field, step: usize, name: &str) {
        let [head, body, exit] = [(); 3].map(|()| self.builder.create_block());
        self.builder.ins().jump(head, &[]);
        self.builder.switch_to_block(head);
        self.label(name);
        let left = self.load_field(field);
        let enough = self.builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, left, step as i64);
        self.builder.ins().brif(enough, body, &[], exit, &[]);
        self.builder.seal_block(body);
        self.builder.switch_to_block(body);
        self.whiles.push(While { field, step, head, exit });
    }

    fn begin_portions(&mut self, field: Field, here: Field, most: usize, name: &str) {
        self.begin_while(field, 1, name);
        let left = self.load_field(field);
        let most_value = self.builder.ins().iconst(I64, most as i64);
        let portion = self.builder.ins().umin(left, most_value);
        self.store_field(here, portion);
        if let Some(innermost) = self.whiles.last_mut() {
            innermost.step = most;
        }
    }

    fn end_while(&mut self) {
        let Some(While { field, step, head, exit }) = self.whiles.pop() else {
            self.error = Some(EmitError::new("portable: end_while without begin_while"));
            return;
        };
        let left = self.load_field(field);
        // The last of portions may be smaller than a step; elsewhere a whole step is left.
        let step = self.builder.ins().iconst(I64, step as i64);
        let enough = self.builder.ins().umax(left, step);
        let rest = self.builder.ins().isub(enough, step);
        self.store_field(field, rest);
        self.builder.ins().jump(head, &[]);
        self.builder.seal_block(head);
        self.builder.seal_block(exit);
        self.builder.switch_to_block(exit);
    }

    fn begin_repeat(&mut self, count: usize, name: &str) {
        let counter = self.builder.declare_var(I64);
        let start = self.builder.ins().iconst(I64, count as i64);
        self.builder.def_var(counter, start);
        let head = self.builder.create_block();
        self.builder.ins().jump(head, &[]);
        self.builder.switch_to_block(head);
        self.label(name);
        self.repeat = Some((counter, head));
    }

    fn end_repeat(&mut self) {
        let Some((counter, head)) = self.repeat.take() else {
            self.error = Some(EmitError::new("portable: end_repeat without begin_repeat"));
            return;
        };
        let left = self.builder.use_var(counter);
        let rest = self.builder.ins().iadd_imm_s(left, -1);
        self.builder.def_var(counter, rest);
        let exit = self.builder.create_block();
        self.builder.ins().brif(rest, head, &[], exit, &[]);
        self.builder.seal_block(head);
        self.builder.seal_block(exit);
        self.builder.switch_to_block(exit);
    }

    fn splat(&mut self, to: Vector, pattern: u32) {
        let lane = self.builder.ins().iconst(I32, i64::from(pattern));
        let value = self.builder.ins().splat(I32X4, lane);
        self.set(to, value);
    }

    fn constant(&mut self, to: Vector, bytes: &[u8]) {
        match bytes.try_into() {
            Ok(bytes) => {
                let value = self.bytes(bytes);
                self.set(to, value);
            }
            Err(_) => self.fail("a constant of another length"),
        }
    }

    fn load(&mut self, to: Vector, from: Pointer, offset: i64) {
        let (base, offset) = self.at(from, offset);
        let value = self.builder.ins().load(I8X16, flags(), base, offset);
        self.set(to, value);
    }

    fn load_lanes(&mut self, to: Vector, from: Pointer, offset: i64, lanes: usize) {
        let zero = self.builder.ins().iconst(I32, 0);
        let mut value = self.builder.ins().splat(I32X4, zero);
        for lane in 0..lanes {
            let (base, offset) = self.at(from, offset + 4 * lane as i64);
            let loaded = self.builder.ins().load(I32, flags(), base, offset);
            value = self.builder.ins().insertlane(value, loaded, lane as u8);
        }
        self.set(to, value);
    }

    fn broadcast(&mut self, to: Vector, from: Pointer, offset: i64) {
        let (base, offset) = self.at(from, offset);
        let lane = self.builder.ins().load(I32, flags(), base, offset);
        let value = self.builder.ins().splat(I32X4, lane);
        self.set(to, value);
    }

    fn broadcast_block(&mut self, to: Vector, from: Pointer, offset: i64) {
        self.load(to, from, offset);
    }

    fn store(&mut self, to: Pointer, offset: i64, from: Vector) {
        let value = self.get(from);
        let (base, offset) = self.at(to, offset);
        self.builder.ins().store(flags(), value, base, offset);
    }

    fn store_lanes(&mut self, to: Pointer, offset: i64, from: Vector, lanes: usize) {
        let value = self.lanes_of(from, I32X4);
        for lane in 0..lanes {
            let (base, offset) = self.at(to, offset + 4 * lane as i64);
            let value = self.builder.ins().extractlane(value, lane as u8);
            self.builder.ins().store(flags(), value, base, offset);
        }
    }

    fn store_narrow(&mut self, to: Pointer, offset: i64, from: Vector) {
        let value = self.lanes_of(from, I32X4);
        let words = self.builder.ins().snarrow(value, value);
        let bytes = self.builder.ins().snarrow(words, words);
        let lanes = self.cast(bytes, I32X4);
        let lane = self.builder.ins().extractlane(lanes, 0);
        let (base, offset) = self.at(to, offset);
        self.builder.ins().store(flags(), lane, base, offset);
    }

    fn store_sign_bits(&mut self, to: Pointer, offset: i64, from: Vector) {
        let value = self.get(from);
        let bits = self.builder.ins().vhigh_bits(I16, value);
        let (base, offset) = self.at(to, offset);
        self.builder.ins().store(flags(), bits, base, offset);
    }

    fn prefetch(&mut self, _: Pointer, _: i64) {}

    fn unary(&mut self, word: Unary, to: Vector, a: Vector) {
        let value = match word {
            Unary::ToFloat => {
                let a = self.lanes_of(a, I32X4);
                self.builder.ins().fcvt_from_sint(F32X4, a)
            }
            Unary::ToInt => {
                let a = self.lanes_of(a, F32X4);
                self.rounded_to_int(a)
            }
            Unary::PopCount8 => {
                let a = self.get(a);
                self.builder.ins().popcnt(a)
            }
        };
        self.set(to, value);
    }

    fn binary(&mut self, word: Binary, to: Vector, a: Vector, b: Vector) {
        let all = [to, a, b];
        match word {
            Binary::And => self.lanewise(I8X16, all, |i, a, b| i.band(a, b)),
            Binary::AndNot => self.lanewise(I8X16, all, |i, a, b| i.band_not(b, a)),
            Binary::Or => self.lanewise(I8X16, all, |i, a, b| i.bor(a, b)),
            Binary::Xor => self.lanewise(I8X16, all, |i, a, b| i.bxor(a, b)),
            Binary::Add8 => self.lanewise(I8X16, all, |i, a, b| i.iadd(a, b)),
            Binary::Sub8 => self.lanewise(I8X16, all, |i, a, b| i.isub(a, b)),
            Binary::SubSaturate8 => self.lanewise(I8X16, all, |i, a, b| i.usub_sat(a, b)),
            Binary::Average8 => self.lanewise(I8X16, all, |i, a, b| i.avg_round(a, b)),
            Binary::Add16 => self.lanewise(I16X8, all, |i, a, b| i.iadd(a, b)),
            Binary::Sub16 => self.lanewise(I16X8, all, |i, a, b| i.isub(a, b)),
            Binary::Add32 => self.lanewise(I32X4, all, |i, a, b| i.iadd(a, b)),
            Binary::Sub32 => self.lanewise(I32X4, all, |i, a, b| i.isub(a, b)),
            Binary::Max32 => self.lanewise(I32X4, all, |i, a, b| i.smax(a, b)),
            Binary::Shuffle8 => self.lanewise(I8X16, all, |i, a, b| i.swizzle(a, b)),
            Binary::Pack16 => self.lanewise(I16X8, all, |i, a, b| i.unarrow(a, b)),
            Binary::AddFloat => self.lanewise(F32X4, all, |i, a, b| i.fadd(a, b)),
            Binary::SubFloat => self.lanewise(F32X4, all, |i, a, b| i.fsub(a, b)),
            Binary::MulFloat => self.lanewise(F32X4, all, |i, a, b| i.fmul(a, b)),
            Binary::DivFloat => self.lanewise(F32X4, all, |i, a, b| i.fdiv(a, b)),
            Binary::InterleaveLow8 | Binary::InterleaveHigh8 => {
                let first = if word == Binary::InterleaveLow8 { 0 } else { 8 };
                let order = std::array::from_fn(|byte| first + (byte / 2 + byte % 2 * 16) as u8);
                let (a, b) = (self.get(a), self.get(b));
                let value = self.shuffled(a, b, order);
                self.set(to, value);
            }
            Binary::MaxFloat => {
                let (a, b) = (self.lanes_of(a, F32X4), self.lanes_of(b, F32X4));
                let greater = self.builder.ins().fcmp(FloatCC::GreaterThan, a, b);
                let [greater, a, b] = [greater, a, b].map(|value| self.cast(value, I8X16));
                let value = self.builder.ins().bitselect(greater, a, b);
                self.set(to, value);
            }
            Binary::MulPairs => {
                let (a, b) = (self.get(a), self.get(b));
                let [low, high] = [false, true].map(|high| self.products(b, a, high));
                let value = self.builder.ins().iadd_pairwise(low, high);
                self.set(to, value);
            }
            Binary::AddPairs => {
                let (a, b) = (self.lanes_of(a, I16X8), self.lanes_of(b, I16X8));
                let value = self.pairs(a, b);
                self.set(to, value);
            }
        }
    }

    fn shift(&mut self, word: Shift, to: Vector, a: Vector, bits: u8) {
        let kind = if word == Shift::Right16 { I16X8 } else { I32X4 };
        let a = self.lanes_of(a, kind);
        let (ins, bits) = (self.builder.ins(), i64::from(bits));
        let value = match word {
            Shift::Right16 => ins.ushr_imm_u(a, bits),
            Shift::Right32 => ins.sshr_imm_u(a, bits),
            Shift::Left32 => ins.ishl_imm_u(a, bits),
        };
        self.set(to, value);
    }

    fn accumulate(&mut self, word: Accumulate, sum: Vector, a: Vector, b: Vector) {
        match word {
            Accumulate::Dot => self.dot(sum, a, b),
            Accumulate::MulAddFloat => self.fused(sum, a, b, false),
            Accumulate::MulSubFloat => self.fused(sum, a, b, true),
        }
    }

    fn compare(&mut self, word: Compare, to: Vector, a: Vector, b: Vector) {
        let condition = match word {
            Compare::Less => FloatCC::LessThan,
            Compare::LessOrEqual => FloatCC::LessThanOrEqual,
        };
        self.lanewise(F32X4, [to, a, b], |ins, a, b| ins.fcmp(condition, a, b));
    }

    fn ternary_logic(&mut self, table: u8, _: Vector, _: Vector, _: Vector) {
        self.fail(format_args!("function {table:#x} of three bits"));
    }

    fn rotate_lanes(&mut self, to: Vector, a: Vector, by: usize) {
        let value = self.get(a);
        let order = std::array::from_fn(|byte| ((byte + 4 * by) % 16) as u8);
        let value = self.shuffled(value, value, order);
        self.set(to, value);
    }

    fn label(&mut self, name: &str) {
        self.labels.push(name.to_owned());
        self.builder.set_srcloc(SourceLoc::new(self.labels.len() as u32));
    }
}
