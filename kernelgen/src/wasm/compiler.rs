//! The body of a function as it grows: local 0 is the address of the arguments, whose fields are the low halves of their
//! eight bytes; vectors and pointers are locals of their own.

use wasm_encoder::{Function, Instruction, MemArg, ValType};

use crate::code::{Code, EmitError};
use crate::vocabulary::{Field, Pointer, Vector};

/// The parameter.
pub(super) const ARGUMENTS: u32 = 0;

/// An open `while`.
#[derive(Debug)]
pub(super) struct While {
    pub(super) field: Field,
    pub(super) step: usize,
    /// Whether the last round may take less than a step.
    pub(super) portions: bool,
}

/// See the module's introduction.
#[derive(Debug)]
pub(super) struct Compiler {
    pub(super) relaxed: bool,
    instructions: Vec<Instruction<'static>>,
    /// Types of the locals behind the parameter.
    locals: Vec<ValType>,
    /// Vectors that were given back.
    free: Vec<Vector>,
    pub(super) scratch: usize,
    pub(super) whiles: Vec<While>,
    /// The counter of the open repeat, and of those before, which it takes over.
    pub(super) counter: Option<u32>,
    pub(super) repeats: bool,
    error: Option<EmitError>,
}

impl Compiler {
    pub(super) fn new(relaxed: bool) -> Self {
        Self {
            relaxed,
            instructions: Vec::new(),
            locals: Vec::new(),
            free: Vec::new(),
            scratch: 0,
            whiles: Vec::new(),
            counter: None,
            repeats: false,
            error: None,
        }
    }

    /// The encoded body: locals and instructions, without its length.
    pub(super) fn finish(mut self) -> Result<Code, EmitError> {
        self.push(Instruction::End);
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut function = Function::new_with_locals_types(self.locals);
        for instruction in &self.instructions {
            function.instruction(instruction);
        }
        let bytes = function.into_raw_body();
        Ok(Code { instruction_bytes: bytes.len(), bytes, labels: Vec::new(), scratch: self.scratch })
    }

    pub(super) fn fail(&mut self, what: &str) {
        self.error.get_or_insert_with(|| EmitError::new(what));
    }

    pub(super) fn push(&mut self, instruction: Instruction<'static>) {
        self.instructions.push(instruction);
    }

    pub(super) fn push_all(&mut self, instructions: impl IntoIterator<Item = Instruction<'static>>) {
        self.instructions.extend(instructions);
    }

    pub(super) fn local(&mut self, kind: ValType) -> u32 {
        self.locals.push(kind);
        self.locals.len() as u32
    }

    pub(super) fn fresh(&mut self) -> Vector {
        self.free.pop().unwrap_or_else(|| Vector(self.local(ValType::V128)))
    }

    pub(super) fn give_back(&mut self, vector: Vector) {
        self.free.push(vector);
    }

    pub(super) fn give_all_back<const N: usize>(&mut self, vectors: [Vector; N]) {
        self.free.extend(vectors);
    }

    /// Onto the stack.
    pub(super) fn get(&mut self, vector: Vector) {
        self.push(Instruction::LocalGet(vector.0));
    }

    /// From the stack.
    pub(super) fn put(&mut self, vector: Vector) {
        self.push(Instruction::LocalSet(vector.0));
    }

    /// Pushes `pointer`, and `offset` as an access takes it; negative ones are added.
    pub(super) fn at(&mut self, pointer: Pointer, offset: i64) -> MemArg {
        self.push(Instruction::LocalGet(pointer.0));
        if i32::try_from(offset).is_err() {
            self.fail("an offset beyond 2 GiB");
        }
        if offset < 0 {
            self.push_all([Instruction::I32Const(offset as i32), Instruction::I32Add]);
        }
        MemArg { offset: offset.max(0) as u64, align: 0, memory_index: 0 }
    }

    fn field(field: Field) -> MemArg {
        MemArg { offset: field.offset() as u64, align: 2, memory_index: 0 }
    }

    /// Onto the stack.
    pub(super) fn load_field(&mut self, field: Field) {
        self.push_all([Instruction::LocalGet(ARGUMENTS), Instruction::I32Load(Self::field(field))]);
    }

    /// `field` = what `value` leaves on the stack.
    pub(super) fn store_field(&mut self, field: Field, value: impl FnOnce(&mut Self)) {
        self.push(Instruction::LocalGet(ARGUMENTS));
        value(self);
        self.push(Instruction::I32Store(Self::field(field)));
    }

    /// Onto the stack.
    pub(super) fn number(&mut self, value: usize) {
        match i32::try_from(value) {
            Ok(value) => self.push(Instruction::I32Const(value)),
            Err(_) => self.fail("a count beyond 2^31"),
        }
    }
}
