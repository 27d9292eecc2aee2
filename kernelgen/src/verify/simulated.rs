//! Verification of kernels that this processor cannot run, and of what native runs cannot see.
//!
//! The simulator executes the emitted code with every buffer in a region of its own, exactly as long as it has to be,
//! so that a read or write outside of them is a fault; so is a callee-saved register that is not restored.

use std::collections::BTreeMap;

use craftsman_isa::{Arch, HardwareCaps};
use serde::Serialize;

use super::{KernelFault, VerifyError, check};
use crate::activations::Activations;
use crate::code::{Code, EmitError};
use crate::config::KernelConfig;
use crate::kernel::emit;
use crate::key::KernelKey;
use crate::output::OutputMatrix;
use crate::packed::PackedMatrix;
use crate::simulate::{Access, Fault, Machine, Outcome};
use crate::vocabulary::{Arguments, Field};

/// What a verification in the simulator took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Simulated {
    /// Calls of the kernel.
    pub calls: usize,
    /// Instructions executed, all calls together.
    pub instructions: u64,
    /// The same by mnemonic.
    pub by_mnemonic: BTreeMap<String, u64>,
}

/// Emits one kernel for `caps` and checks it against golden on the inputs of `seed`, in the simulator.
///
/// # Errors
/// When the code is not for x86-64 or cannot be emitted, faults, or computes something else.
pub fn verify_simulated(
    key: &KernelKey,
    config: &KernelConfig,
    caps: &HardwareCaps,
    seed: u64,
) -> Result<Simulated, VerifyError> {
    if caps.arch != Arch::X86_64 {
        return Err(EmitError::new("only x86-64 code can be simulated").into());
    }
    let code = emit(key, config, caps)?;
    let (_, family) = config.parts()?;
    let form = family.input(key, config);
    let mut total = Simulated::default();
    check(key, config, seed, &mut |weights, x, out| {
        let mut simulation = Simulation { total: &mut total, weights, x: &*x };
        let made = match &code.input {
            Some(input) => simulation.make_input(input, form.bytes(x.tokens())),
            None => Ok(x.q().iter().map(|q| q.cast_unsigned()).collect()),
        };
        made.and_then(|activations| simulation.product(&code.product, activations, out))
            .map_err(|fault| VerifyError::Fault(Box::new(KernelFault { key: *key, config: *config, fault })))
    })?;
    Ok(total)
}

/// Where the code lies in the simulated machine; buffers follow, 4 GiB apart.
const CODE: u64 = 1 << 32;
/// More instructions than any verification needs; a loop that never ends is a fault.
const BUDGET: u64 = 1 << 34;

/// Everything that a call may touch, each buffer at an address of its own.
const REGIONS: [Field; 7] = [
    Field::Source,
    Field::Weights,
    Field::Scales,
    Field::Activations,
    Field::TokenWords,
    Field::Output,
    Field::Scratch,
];

/// Where a buffer lies in the simulated machine.
pub(crate) fn address(field: Field) -> u64 {
    let place = REGIONS.iter().position(|region| *region == field).unwrap_or(REGIONS.len());
    CODE * (place as u64 + 2)
}

/// Calls of one kernel with the same weights and activations.
struct Simulation<'s> {
    total: &'s mut Simulated,
    weights: &'s PackedMatrix,
    x: &'s Activations,
}

impl Simulation<'_> {
    /// The form of the activations that the product reads, `length` bytes.
    fn make_input(&mut self, code: &Code, length: usize) -> Result<Vec<u8>, Fault> {
        let source = self.x.q().iter().map(|q| q.cast_unsigned()).collect();
        let buffers = vec![
            (Field::Source, source, Access::Read),
            (Field::Activations, vec![0xA5; length], Access::ReadWrite),
            (Field::TokenWords, words(self.x.words()), Access::Read),
        ];
        let machine = self.call(code, buffers)?;
        Ok(machine.bytes(address(Field::Activations)).unwrap_or_default().to_vec())
    }

    fn product(
        &mut self,
        code: &Code,
        activations: Vec<u8>,
        out: &mut OutputMatrix<'_>,
    ) -> Result<(), Fault> {
        let bits = |values: &[f32]| words(&values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        let buffers = vec![
            (Field::Weights, self.weights.bytes().to_vec(), Access::Read),
            (Field::Scales, bits(self.weights.scales()), Access::Read),
            (Field::Activations, activations, Access::Read),
            (Field::TokenWords, words(self.x.words()), Access::Read),
            (Field::Output, bits(out.data_mut()), Access::ReadWrite),
        ];
        let machine = self.call(code, buffers)?;
        let written = machine.bytes(address(Field::Output)).unwrap_or_default();
        for (y, bytes) in out.data_mut().iter_mut().zip(written.as_chunks().0) {
            *y = f32::from_ne_bytes(*bytes);
        }
        Ok(())
    }

    fn call(&mut self, code: &Code, buffers: Vec<(Field, Vec<u8>, Access)>) -> Result<Machine, Fault> {
        let layout = self.weights.layout();
        let counts = [
            (Field::Panels, layout.m / layout.panel_rows),
            (Field::Tail, usize::from(!layout.m.is_multiple_of(layout.panel_rows))),
            (Field::Tokens, self.x.tokens()),
        ];
        let (machine, outcome) = call(code, buffers, &counts)?;
        self.total.calls += 1;
        self.total.instructions += outcome.instructions();
        for (mnemonic, count) in outcome.counts() {
            *self.total.by_mnemonic.entry(mnemonic).or_default() += count;
        }
        Ok(machine)
    }
}

/// Runs emitted code with `buffers`, a work space as large as it asked for, and [`Arguments`] that name them and hold
/// `counts`. What the buffers hold afterwards, the machine says by their [`address`].
pub(crate) fn call(
    code: &Code,
    buffers: Vec<(Field, Vec<u8>, Access)>,
    counts: &[(Field, usize)],
) -> Result<(Machine, Outcome), Fault> {
    let mut machine = Machine::new();
    machine.set_budget(BUDGET);
    for (field, bytes, access) in buffers {
        machine.map(address(field), bytes, access)?;
    }
    machine.map(address(Field::Scratch), vec![0xA5; code.scratch], Access::ReadWrite)?;
    let mut arguments = vec![0; size_of::<Arguments>()];
    let addresses = REGIONS.map(|field| (field, address(field)));
    let counts = counts.iter().map(|&(field, count)| (field, count as u64));
    for (field, value) in addresses.into_iter().chain(counts) {
        arguments[field.offset() as usize..][..8].copy_from_slice(&value.to_ne_bytes());
    }
    let place = CODE * (REGIONS.len() as u64 + 3);
    machine.map(place, arguments, Access::ReadWrite)?;
    let outcome = machine.run(&code.bytes, CODE, &[place])?;
    Ok((machine, outcome))
}

pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
