//! Verification of code that another machine runs: a simulator or an emulator.

use craftsman_isa::HardwareCaps;

use super::{KernelFault, VerifyError, check};
use crate::activations::Activations;
use crate::code::Code;
use crate::config::KernelConfig;
use crate::kernel::emit;
use crate::key::KernelKey;
use crate::output::OutputMatrix;
use crate::packed::PackedMatrix;
use crate::simulate::Access;
use crate::vocabulary::Field;

/// Memory that a call may touch.
#[derive(Debug, Clone)]
pub struct Buffer {
    /// The argument that points to it.
    pub field: Field,
    /// What it holds, before and after.
    pub bytes: Vec<u8>,
    /// What code may do with it.
    pub access: Access,
}

impl Buffer {
    pub(crate) fn read(field: Field, bytes: Vec<u8>) -> Self {
        Self { field, bytes, access: Access::Read }
    }

    pub(crate) fn write(field: Field, bytes: Vec<u8>) -> Self {
        Self { field, bytes, access: Access::ReadWrite }
    }
}

/// Runs emitted code in place of this processor.
pub trait Runner {
    /// Calls `code` with `buffers`, a work space as large as it asks for, and these counts; leaves in the buffers what it
    /// wrote.
    ///
    /// # Errors
    /// What the code did that it may not do, such as reading outside its buffers.
    fn call(&mut self, code: &Code, buffers: &mut [Buffer], counts: &[(Field, usize)]) -> Result<(), String>;
}

/// Emits one kernel for `caps` and checks it against golden on the inputs of `seed`, on `runner`.
///
/// # Errors
/// When the code cannot be emitted, faults, or computes something else.
pub fn verify_elsewhere(
    key: &KernelKey,
    config: &KernelConfig,
    caps: &HardwareCaps,
    seed: u64,
    runner: &mut dyn Runner,
) -> Result<(), VerifyError> {
    let code = emit(key, config, caps)?;
    let (_, family) = config.parts()?;
    let form = family.input(key, config);
    check(key, config, seed, &mut |weights, x, out| {
        let mut trial = Trial { runner: &mut *runner, weights, x: &*x };
        let made = match &code.input {
            Some(input) => trial.make_input(input, form.bytes(x.tokens())),
            None => Ok(x.q().iter().map(|q| q.cast_unsigned()).collect()),
        };
        made.and_then(|activations| trial.product(&code.product, activations, out))
            .map_err(|fault| VerifyError::Fault(Box::new(KernelFault { key: *key, config: *config, fault })))
    })
}

/// Calls of one kernel with the same weights and activations.
struct Trial<'t> {
    runner: &'t mut dyn Runner,
    weights: &'t PackedMatrix,
    x: &'t Activations,
}

impl Trial<'_> {
    /// The form of the activations that the product reads, `length` bytes.
    fn make_input(&mut self, code: &Code, length: usize) -> Result<Vec<u8>, String> {
        let source = self.x.q().iter().map(|q| q.cast_unsigned()).collect();
        let mut buffers = [
            Buffer::write(Field::Activations, vec![0xA5; length]),
            Buffer::read(Field::Source, source),
            Buffer::read(Field::TokenWords, words(self.x.words())),
        ];
        self.call(code, &mut buffers)?;
        let [made, ..] = buffers;
        Ok(made.bytes)
    }

    fn product(
        &mut self,
        code: &Code,
        activations: Vec<u8>,
        out: &mut OutputMatrix<'_>,
    ) -> Result<(), String> {
        let bits = |values: &[f32]| words(&values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        let mut buffers = [
            Buffer::write(Field::Output, bits(out.data_mut())),
            Buffer::read(Field::Weights, self.weights.bytes().to_vec()),
            Buffer::read(Field::Scales, bits(self.weights.scales())),
            Buffer::read(Field::Activations, activations),
            Buffer::read(Field::TokenWords, words(self.x.words())),
        ];
        self.call(code, &mut buffers)?;
        for (y, bytes) in out.data_mut().iter_mut().zip(buffers[0].bytes.as_chunks().0) {
            *y = f32::from_ne_bytes(*bytes);
        }
        Ok(())
    }

    fn call(&mut self, code: &Code, buffers: &mut [Buffer]) -> Result<(), String> {
        let layout = self.weights.layout();
        let counts = [
            (Field::Panels, layout.m / layout.panel_rows),
            (Field::Tail, usize::from(!layout.m.is_multiple_of(layout.panel_rows))),
            (Field::Tokens, self.x.tokens()),
        ];
        self.runner.call(code, buffers, &counts)
    }
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
