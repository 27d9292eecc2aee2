//! Modules: function bodies under their names, on memory that the host brings.

use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, FunctionSection, ImportSection, MemoryType, Module,
    TypeSection, ValType,
};

/// A module that imports `env.memory` and exports each of `functions` by its name: one i32, the address of the arguments.
pub fn module<'a>(functions: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], []);
    let mut imports = ImportSection::new();
    let memory =
        MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None };
    imports.import("env", "memory", EntityType::Memory(memory));
    let (mut bodies, mut indices, mut exports) =
        (CodeSection::new(), FunctionSection::new(), ExportSection::new());
    for (index, (name, body)) in functions.enumerate() {
        indices.function(0);
        exports.export(name, ExportKind::Func, index as u32);
        bodies.raw(body);
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&indices).section(&exports).section(&bodies);
    module.finish()
}
