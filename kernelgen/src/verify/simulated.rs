//! Verification of kernels that this processor cannot run, and of what native runs cannot see.
//!
//! The simulator executes the emitted code with every buffer in a region of its own, exactly as long as it has to be,
//! so that a read or write outside of them is a fault; so is a callee-saved register that is not restored.

use std::collections::BTreeMap;

use craftsman_isa::{Arch, HardwareCaps};
use serde::Serialize;

use super::{KernelFault, VerifyError, check};
use crate::activations::Activations;
use crate::code::EmitError;
use crate::config::KernelConfig;
use crate::kernel::emit;
use crate::key::KernelKey;
use crate::output::OutputMatrix;
use crate::packed::PackedMatrix;
use crate::simulate::{Access, Fault, Machine};
use crate::vocabulary::{Field, SCRATCH_BYTES};

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
    let mut total = Simulated::default();
    check(key, config, seed, &mut |weights, x, out| {
        call(&code.bytes, weights, x, out, &mut total)
            .map_err(|fault| VerifyError::Fault(Box::new(KernelFault { key: *key, config: *config, fault })))
    })?;
    Ok(total)
}

/// Where the code lies in the simulated machine; buffers follow, 4 GiB apart.
const CODE: u64 = 1 << 32;
/// More instructions than any verification needs; a loop that never ends is a fault.
const BUDGET: u64 = 1 << 34;

/// The buffers of a call, each at an address of its own.
const REGIONS: [Field; 6] =
    [Field::Weights, Field::Scales, Field::Activations, Field::TokenWords, Field::Output, Field::Scratch];

fn address(field: Field) -> u64 {
    let place = REGIONS.iter().position(|region| *region == field).unwrap_or(REGIONS.len());
    CODE * (place as u64 + 2)
}

fn call(
    code: &[u8],
    weights: &PackedMatrix,
    x: &Activations,
    out: &mut OutputMatrix<'_>,
    total: &mut Simulated,
) -> Result<(), Fault> {
    let mut machine = Machine::new();
    machine.set_budget(BUDGET);
    for field in REGIONS {
        let (bytes, access) = match field {
            Field::Weights => (weights.bytes().to_vec(), Access::Read),
            Field::Scales => {
                (weights.scales().iter().flat_map(|scale| scale.to_ne_bytes()).collect(), Access::Read)
            }
            Field::Activations => (x.q().iter().map(|q| q.cast_unsigned()).collect(), Access::Read),
            Field::TokenWords => {
                (x.words().iter().flat_map(|word| word.to_ne_bytes()).collect(), Access::Read)
            }
            Field::Output => {
                (out.data_mut().iter().flat_map(|y| y.to_ne_bytes()).collect(), Access::ReadWrite)
            }
            _ => (vec![0xA5; SCRATCH_BYTES], Access::ReadWrite),
        };
        machine.map(address(field), bytes, access)?;
    }
    let arguments = CODE * (REGIONS.len() as u64 + 3);
    machine.map(arguments, argument_bytes(weights, x), Access::ReadWrite)?;
    let outcome = machine.run(code, CODE, &[arguments])?;
    total.calls += 1;
    total.instructions += outcome.instructions();
    for (mnemonic, count) in outcome.counts() {
        *total.by_mnemonic.entry(mnemonic).or_default() += count;
    }
    let written = machine.bytes(address(Field::Output)).unwrap_or_default();
    for (y, bytes) in out.data_mut().iter_mut().zip(written.as_chunks().0) {
        *y = f32::from_ne_bytes(*bytes);
    }
    Ok(())
}

/// [`Arguments`](crate::vocabulary::Arguments) for all rows, as bytes.
fn argument_bytes(weights: &PackedMatrix, x: &Activations) -> Vec<u8> {
    let layout = weights.layout();
    let counts = [
        (Field::Panels, layout.m / layout.panel_rows),
        (Field::Tail, usize::from(!layout.m.is_multiple_of(layout.panel_rows))),
        (Field::Tokens, x.tokens()),
        (Field::TokensLeft, 0),
        (Field::BlocksLeft, 0),
    ];
    let mut bytes = vec![0; size_of::<crate::vocabulary::Arguments>()];
    let addresses = REGIONS.map(|field| (field, address(field)));
    for (field, value) in addresses.into_iter().chain(counts.map(|(field, count)| (field, count as u64))) {
        bytes[field.offset() as usize..][..8].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}
