//! What the words of the vocabulary are made of in Cranelift's intermediate representation.

use cranelift_codegen::ir::types::{F32X4, I8X16, I32, I32X4, I64, Type};
use cranelift_codegen::ir::{Block, Endianness, InstBuilder, MemFlagsData, Value};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FuncInstBuilder, FunctionBuilder, Variable};

use crate::code::EmitError;
use crate::vocabulary::{Field, Pointer, Vector};

/// A loop that is open.
pub(super) struct While {
    pub(super) field: Field,
    pub(super) step: usize,
    pub(super) head: Block,
    pub(super) exit: Block,
}

/// Says the vocabulary in Cranelift's IR. Vectors and pointers are variables; Cranelift allocates the registers.
pub(super) struct Compiler<'f> {
    pub(super) builder: FunctionBuilder<'f>,
    arguments: Value,
    pub(super) labels: Vec<String>,
    pub(super) scratch: usize,
    pub(super) whiles: Vec<While>,
    pub(super) repeat: Option<(Variable, Block)>,
    pub(super) error: Option<EmitError>,
}

impl<'f> Compiler<'f> {
    pub(super) fn new(mut builder: FunctionBuilder<'f>) -> Self {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let arguments = builder.block_params(entry)[0];
        Self {
            builder,
            arguments,
            labels: Vec::new(),
            scratch: 0,
            whiles: Vec::new(),
            repeat: None,
            error: None,
        }
    }

    /// The labels, and how much work space was asked for.
    pub(super) fn finish(mut self, target: TargetFrontendConfig) -> Result<(Vec<String>, usize), EmitError> {
        self.builder.ins().return_(&[]);
        self.builder.finalize(target);
        let Self { labels, scratch, error, .. } = self;
        error.map_or(Ok((labels, scratch)), Err)
    }

    pub(super) fn fail(&mut self, what: impl std::fmt::Debug) {
        self.error.get_or_insert_with(|| EmitError::new(format_args!("portable cannot say {what:?}")));
    }

    /// `to = f(a, b)` in lanes of `kind`.
    pub(super) fn lanewise(
        &mut self,
        kind: Type,
        [to, a, b]: [Vector; 3],
        f: impl FnOnce(FuncInstBuilder<'_, 'f>, Value, Value) -> Value,
    ) {
        let (a, b) = (self.lanes_of(a, kind), self.lanes_of(b, kind));
        let value = f(self.builder.ins(), a, b);
        self.set(to, value);
    }

    /// A constant of sixteen bytes.
    pub(super) fn bytes(&mut self, bytes: [u8; 16]) -> Value {
        let constant = self.builder.func.dfg.constants.insert(bytes.as_slice().into());
        self.builder.ins().vconst(I8X16, constant)
    }

    /// Bytes of `a`, then those of `b`, by number.
    pub(super) fn shuffled(&mut self, a: Value, b: Value, order: [u8; 16]) -> Value {
        let order = self.builder.func.dfg.immediates.push(order.as_slice().into());
        self.builder.ins().shuffle(a, b, order)
    }

    /// f32 lanes below 2^22 as i32, rounded to nearest even: the baseline of x86-64 has no vector instruction for it
    /// that Cranelift would use.
    pub(super) fn rounded_to_int(&mut self, a: Value) -> Value {
        let bits = self.builder.ins().iconst(I32, i64::from(ROUND));
        let bits = self.builder.ins().splat(I32X4, bits);
        let magic = self.cast(bits, F32X4);
        let sum = self.builder.ins().fadd(a, magic);
        let sum = self.cast(sum, I32X4);
        self.builder.ins().isub(sum, bits)
    }

    /// Each 32-bit lane of `sum` plus the dot product of four bytes, as a tree that Cranelift knows.
    pub(super) fn dot(&mut self, sum: Vector, w: Vector, x: Vector) {
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

    /// `sum +- a * b`, rounded once.
    pub(super) fn fused(&mut self, sum: Vector, a: Vector, b: Vector, negate: bool) {
        let [old, mut a, b] = [sum, a, b].map(|vector| self.lanes_of(vector, F32X4));
        if negate {
            a = self.builder.ins().fneg(a);
        }
        let value = self.builder.ins().fma(a, b, old);
        self.set(sum, value);
    }

    pub(super) fn get(&mut self, vector: Vector) -> Value {
        self.builder.use_var(Variable::from_u32(vector.0))
    }

    /// The vector's bits as lanes of `kind`.
    pub(super) fn lanes_of(&mut self, vector: Vector, kind: Type) -> Value {
        let value = self.get(vector);
        self.cast(value, kind)
    }

    pub(super) fn cast(&mut self, value: Value, kind: Type) -> Value {
        if self.builder.func.dfg.value_type(value) == kind {
            return value;
        }
        self.builder.ins().bitcast(kind, MemFlagsData::new().with_endianness(Endianness::Little), value)
    }

    pub(super) fn set(&mut self, vector: Vector, value: Value) {
        let bytes = self.cast(value, I8X16);
        self.builder.def_var(Variable::from_u32(vector.0), bytes);
    }

    pub(super) fn at(&mut self, pointer: Pointer, offset: i64) -> (Value, i32) {
        let base = self.builder.use_var(Variable::from_u32(pointer.0));
        match i32::try_from(offset) {
            Ok(offset) => (base, offset),
            Err(_) => (self.builder.ins().iadd_imm_s(base, offset), 0),
        }
    }

    pub(super) fn load_field(&mut self, field: Field) -> Value {
        self.builder.ins().load(I64, flags(), self.arguments, field.offset())
    }

    pub(super) fn store_field(&mut self, field: Field, value: Value) {
        self.builder.ins().store(flags(), value, self.arguments, field.offset());
    }

    /// The low or high eight bytes of `x`, signed, times those of `w`, unsigned, in 16-bit lanes.
    pub(super) fn products(&mut self, x: Value, w: Value, high: bool) -> Value {
        let ins = &mut self.builder;
        let (x, w) = if high {
            (ins.ins().swiden_high(x), ins.ins().uwiden_high(w))
        } else {
            (ins.ins().swiden_low(x), ins.ins().uwiden_low(w))
        };
        self.builder.ins().imul(x, w)
    }

    /// The sums of two neighbouring products of 16-bit lanes, in 32 bits.
    pub(super) fn pairs(&mut self, a: Value, b: Value) -> Value {
        let [a_low, b_low] = [a, b].map(|lanes| self.builder.ins().swiden_low(lanes));
        let [a_high, b_high] = [a, b].map(|lanes| self.builder.ins().swiden_high(lanes));
        let low = self.builder.ins().imul(a_low, b_low);
        let high = self.builder.ins().imul(a_high, b_high);
        self.builder.ins().iadd_pairwise(low, high)
    }

    /// Sums of neighbouring 16-bit lanes, in 32 bits.
    pub(super) fn widened_pairs(&mut self, lanes: Value) -> Value {
        let low = self.builder.ins().swiden_low(lanes);
        let high = self.builder.ins().swiden_high(lanes);
        self.builder.ins().iadd_pairwise(low, high)
    }
}

/// 1.5 * 2^23: adding it leaves an integer below 2^22 in the low bits of a float, rounded to nearest even.
const ROUND: u32 = 0x4B40_0000;

/// Kernel memory is valid by the caller's promise, and not aligned to vectors.
pub(super) fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}
