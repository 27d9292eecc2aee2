//! The vocabulary in Cranelift's intermediate representation.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32X4, I8X16, I16X8, I32, I32X4, I64, Type};
use cranelift_codegen::ir::{Block, Endianness, InstBuilder, MemFlagsData, SourceLoc, Value};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, Variable};

use super::Portable;
use crate::backend::Backend;
use crate::code::EmitError;
use crate::vocabulary::{Accumulation, Emitter, Field, Pointer, Vector};

struct While {
    field: Field,
    step: usize,
    head: Block,
    exit: Block,
}

/// Says the vocabulary in Cranelift's IR. Vectors and pointers are variables; Cranelift allocates the registers.
pub(super) struct Compiler<'f> {
    builder: FunctionBuilder<'f>,
    arguments: Value,
    labels: Vec<String>,
    whiles: Vec<While>,
    repeat: Option<(Variable, Block)>,
    error: Option<EmitError>,
}

impl<'f> Compiler<'f> {
    pub(super) fn new(mut builder: FunctionBuilder<'f>) -> Self {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let arguments = builder.block_params(entry)[0];
        Self { builder, arguments, labels: Vec::new(), whiles: Vec::new(), repeat: None, error: None }
    }

    pub(super) fn finish(mut self, target: TargetFrontendConfig) -> Result<Vec<String>, EmitError> {
        self.builder.ins().return_(&[]);
        self.builder.finalize(target);
        self.error.map_or(Ok(self.labels), Err)
    }

    fn get(&mut self, vector: Vector) -> Value {
        self.builder.use_var(Variable::from_u32(vector.0))
    }

    /// The vector's bits as lanes of `kind`.
    fn lanes_of(&mut self, vector: Vector, kind: Type) -> Value {
        let value = self.get(vector);
        self.cast(value, kind)
    }

    fn cast(&mut self, value: Value, kind: Type) -> Value {
        if self.builder.func.dfg.value_type(value) == kind {
            return value;
        }
        self.builder.ins().bitcast(kind, MemFlagsData::new().with_endianness(Endianness::Little), value)
    }

    fn set(&mut self, vector: Vector, value: Value) {
        let bytes = self.cast(value, I8X16);
        self.builder.def_var(Variable::from_u32(vector.0), bytes);
    }

    fn at(&mut self, pointer: Pointer, offset: i64) -> (Value, i32) {
        let base = self.builder.use_var(Variable::from_u32(pointer.0));
        match i32::try_from(offset) {
            Ok(offset) => (base, offset),
            Err(_) => (self.builder.ins().iadd_imm_s(base, offset), 0),
        }
    }

    fn load_field(&mut self, field: Field) -> Value {
        self.builder.ins().load(I64, flags(), self.arguments, field.offset())
    }

    fn store_field(&mut self, field: Field, value: Value) {
        self.builder.ins().store(flags(), value, self.arguments, field.offset());
    }

    /// The low or high eight bytes of `x`, signed, times those of `w`, unsigned, in 16-bit lanes.
    fn products(&mut self, x: Value, w: Value, high: bool) -> Value {
        let ins = &mut self.builder;
        let (x, w) = if high {
            (ins.ins().swiden_high(x), ins.ins().uwiden_high(w))
        } else {
            (ins.ins().swiden_low(x), ins.ins().uwiden_low(w))
        };
        self.builder.ins().imul(x, w)
    }

    /// Sums of neighbouring 16-bit lanes, in 32 bits.
    fn widened_pairs(&mut self, lanes: Value) -> Value {
        let low = self.builder.ins().swiden_low(lanes);
        let high = self.builder.ins().swiden_high(lanes);
        self.builder.ins().iadd_pairwise(low, high)
    }
}

/// Kernel memory is valid by the caller's promise, and not aligned to vectors.
fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Emitter for Compiler<'_> {
    fn lanes(&self) -> usize {
        Portable.lanes()
    }

    fn accumulation(&self) -> Accumulation {
        Portable.accumulation()
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

    fn end_while(&mut self) {
        let Some(While { field, step, head, exit }) = self.whiles.pop() else {
            self.error = Some(EmitError::new("portable: end_while without begin_while"));
            return;
        };
        let left = self.load_field(field);
        let rest = self.builder.ins().iadd_imm_s(left, -(step as i64));
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

    fn zero(&mut self, to: Vector) {
        self.splat(to, 0);
    }

    fn load(&mut self, to: Vector, from: Pointer, offset: i64) {
        let (base, offset) = self.at(from, offset);
        let value = self.builder.ins().load(I8X16, flags(), base, offset);
        self.set(to, value);
    }

    fn broadcast(&mut self, to: Vector, from: Pointer, offset: i64) {
        let (base, offset) = self.at(from, offset);
        let lane = self.builder.ins().load(I32, flags(), base, offset);
        let value = self.builder.ins().splat(I32X4, lane);
        self.set(to, value);
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

    fn prefetch(&mut self, _: Pointer, _: i64) {}

    fn and(&mut self, to: Vector, a: Vector, b: Vector) {
        let (a, b) = (self.get(a), self.get(b));
        let value = self.builder.ins().band(a, b);
        self.set(to, value);
    }

    fn shift_right_16(&mut self, to: Vector, a: Vector, bits: u8) {
        let a = self.lanes_of(a, I16X8);
        let value = self.builder.ins().ushr_imm_u(a, i64::from(bits));
        self.set(to, value);
    }

    fn shift_right_32(&mut self, to: Vector, a: Vector, bits: u8) {
        let a = self.lanes_of(a, I32X4);
        let value = self.builder.ins().sshr_imm_u(a, i64::from(bits));
        self.set(to, value);
    }

    fn add(&mut self, to: Vector, a: Vector, b: Vector) {
        let (a, b) = (self.lanes_of(a, I32X4), self.lanes_of(b, I32X4));
        let value = self.builder.ins().iadd(a, b);
        self.set(to, value);
    }

    fn sub(&mut self, to: Vector, a: Vector, b: Vector) {
        let (a, b) = (self.lanes_of(a, I32X4), self.lanes_of(b, I32X4));
        let value = self.builder.ins().isub(a, b);
        self.set(to, value);
    }

    fn dot(&mut self, sum: Vector, w: Vector, x: Vector) {
        let (w, x) = (self.get(w), self.get(x));
        let [low, high] = [false, true].map(|high| {
            let products = self.products(x, w, high);
            self.widened_pairs(products)
        });
        let dots = self.builder.ins().iadd_pairwise(low, high);
        let old = self.lanes_of(sum, I32X4);
        let value = self.builder.ins().iadd(dots, old);
        self.set(sum, value);
    }

    fn dot_pairs(&mut self, _: Vector, _: Vector, _: Vector) {
        self.error.get_or_insert_with(|| EmitError::new("portable: sums in 32 bits only"));
    }

    fn widen_pairs(&mut self, _: Vector, _: Vector, _: Vector) {
        self.error.get_or_insert_with(|| EmitError::new("portable: sums in 32 bits only"));
    }

    fn to_float(&mut self, to: Vector, a: Vector) {
        let a = self.lanes_of(a, I32X4);
        let value = self.builder.ins().fcvt_from_sint(F32X4, a);
        self.set(to, value);
    }

    fn mul_float(&mut self, to: Vector, a: Vector, b: Vector) {
        let (a, b) = (self.lanes_of(a, F32X4), self.lanes_of(b, F32X4));
        let value = self.builder.ins().fmul(a, b);
        self.set(to, value);
    }

    fn div_float(&mut self, to: Vector, a: Vector, b: Vector) {
        let (a, b) = (self.lanes_of(a, F32X4), self.lanes_of(b, F32X4));
        let value = self.builder.ins().fdiv(a, b);
        self.set(to, value);
    }

    fn fused_add(&mut self, sum: Vector, a: Vector, b: Vector) {
        let [sum_before, a, b] = [sum, a, b].map(|vector| self.lanes_of(vector, F32X4));
        let value = self.builder.ins().fma(a, b, sum_before);
        self.set(sum, value);
    }

    fn label(&mut self, name: &str) {
        self.labels.push(name.to_owned());
        self.builder.set_srcloc(SourceLoc::new(self.labels.len() as u32));
    }
}
