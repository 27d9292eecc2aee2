//! Kernels ahead of time: object files for programs that may not make code while they run, and headers that say how to
//! call what is in them.
//!
//! An object holds the product of one key; where the product reads its activations in a form of its own, what makes that
//! form; and the quantiser of its activations. All take one pointer, to the struct that the header declares and that
//! [`Arguments`](crate::vocabulary::Arguments) is, by the C convention of the target.

mod header;
mod object;
mod target;
mod windows;

use craftsman_isa::HardwareCaps;

use crate::code::{Code, EmitError};
use crate::config::KernelConfig;
use crate::kernel::emit;
use crate::key::KernelKey;
use crate::quantizer::{self, QuantizerKey};

pub use crate::wasm::module;
use target::Format;
pub use target::Target;

/// Functions of one key, for one processor.
#[derive(Debug)]
pub struct Functions {
    key: KernelKey,
    config: KernelConfig,
    caps: HardwareCaps,
    /// What the names of all functions begin with.
    name: String,
    parts: Vec<Part>,
}

/// One function.
#[derive(Debug)]
struct Part {
    suffix: &'static str,
    purpose: &'static str,
    code: Code,
}

impl Functions {
    /// Emits `key`, built as `config` says, for processors with `caps`. `name`, a C identifier, names the product; what goes
    /// with it has the same name and an ending.
    ///
    /// # Errors
    /// When `name` is no identifier, or the backend or family cannot say it.
    pub fn new(
        key: &KernelKey,
        config: &KernelConfig,
        caps: &HardwareCaps,
        name: &str,
    ) -> Result<Self, EmitError> {
        let (backend, _) = config.parts()?;
        if backend.requires().is_empty() {
            let what = "portable code may call into the process that made it; choose another backend";
            return Err(EmitError::new(what));
        }
        let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let mut bytes = name.bytes();
        if !bytes.next().is_some_and(letter) || !bytes.all(|byte| letter(byte) || byte.is_ascii_digit()) {
            return Err(EmitError::new(format_args!("`{name}` is no C identifier")));
        }
        let kernel = emit(key, config, caps)?;
        let quantizer = quantizer::code(backend, QuantizerKey::of(key), caps)?;
        let mut parts = vec![Part { suffix: "", purpose: PRODUCT, code: kernel.product }];
        parts.extend(kernel.input.map(|code| Part { suffix: "_input", purpose: INPUT, code }));
        parts.push(Part { suffix: "_quantize", purpose: QUANTIZE, code: quantizer });
        Ok(Self { key: *key, config: *config, caps: caps.clone(), name: name.to_owned(), parts })
    }

    /// The name that is used where none is given: `craftsman_` and the key.
    pub fn default_name(key: &KernelKey) -> String {
        format!("craftsman_{key}").replace('-', "_")
    }

    /// The C header that goes with it.
    ///
    /// # Errors
    /// When the configuration makes no sense for the key.
    pub fn header(&self, target: &Target) -> Result<String, EmitError> {
        header::write(self, target)
    }
}

/// One file for `target` with all of `functions`: an object, or a WebAssembly module.
///
/// # Errors
/// When some are of another architecture.
pub fn write(functions: &[Functions], target: &Target) -> Result<Vec<u8>, EmitError> {
    if let Some(other) = functions.iter().find(|functions| functions.caps.arch != target.arch) {
        return Err(EmitError::new(format_args!(
            "{} is not code for {}; choose another machine",
            other.config, target.name
        )));
    }
    let parts = functions.iter().flat_map(|functions| {
        let named = |part: &'_ Part| format!("{}{}", functions.name, part.suffix);
        functions.parts.iter().map(move |part| (named(part), &part.code.bytes[..]))
    });
    match target.format {
        Format::Object(format) => object::write(parts, target.arch, format),
        Format::Module => {
            let parts: Vec<_> = parts.collect();
            Ok(module(parts.iter().map(|(name, body)| (name.as_str(), *body))))
        }
    }
}

const PRODUCT: &str =
    "The product. Reads weights, scales, activations, token_words, panels, tail, tokens; writes output.";
const INPUT: &str = "Makes the activations that the product reads of quantised rows. Reads source (the quantiser's \
                     activations), token_words, tokens; writes activations.";
const QUANTIZE: &str = "Quantises rows of floats. Reads source (tokens x K floats), tokens; writes activations \
                        (ROW_BYTES a token, SLACK behind the last) and token_words.";
