//! Verification of kernels that this processor cannot run, and of what native runs cannot see.
//!
//! The simulator executes the emitted code with every buffer in a region of its own, exactly as long as it has to be,
//! so that a read or write outside of them is a fault; so is a callee-saved register that is not restored.

use std::collections::BTreeMap;

use craftsman_isa::{Arch, HardwareCaps};
use serde::Serialize;

use super::{Buffer, Runner, VerifyError, verify_elsewhere};
use crate::code::{Code, EmitError};
use crate::config::KernelConfig;
use crate::emulate::Emulator;
use crate::key::KernelKey;
use crate::simulate::{Access, Fault, Machine, Outcome};
use crate::vocabulary::{Arguments, Field};

/// What a verification on another machine took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Simulated {
    /// Calls of the kernel.
    pub calls: usize,
    /// Instructions executed, all calls together; none where an emulator does not count them.
    pub instructions: u64,
    /// The same by mnemonic.
    pub by_mnemonic: BTreeMap<String, u64>,
}

/// Emits one kernel for `caps` and checks it against golden on the inputs of `seed`: in the simulator, or in QEMU if it is
/// for aarch64.
///
/// # Errors
/// When the code cannot be emitted or nothing here runs it, when it faults, or computes something else.
pub fn verify_simulated(
    key: &KernelKey,
    config: &KernelConfig,
    caps: &HardwareCaps,
    seed: u64,
) -> Result<Simulated, VerifyError> {
    let outcome = match caps.arch {
        Arch::X86_64 => {
            let mut simulator = Simulator::default();
            verify_elsewhere(key, config, caps, seed, &mut simulator).map(|()| simulator.total)
        }
        Arch::Aarch64 => {
            let mut emulator = Emulator::new(caps)?;
            verify_elsewhere(key, config, caps, seed, &mut emulator)
                .map(|()| Simulated { calls: emulator.calls(), ..Simulated::default() })
        }
        Arch::Riscv64 | Arch::Wasm32 | Arch::Other => {
            Err(EmitError::new("only x86-64 and aarch64 code can be simulated").into())
        }
    };
    outcome.map_err(|error| match error {
        VerifyError::Fault(mut fault) => {
            let reproduce = format!("; reproduce with `kernelgen verify {key} --config {config} --simulate`");
            fault.fault.push_str(&reproduce);
            VerifyError::Fault(fault)
        }
        other => other,
    })
}

/// What runs code for `caps` in tests; nothing, and a word about it, where that is not installed.
#[cfg(test)]
pub(crate) fn runner(caps: &HardwareCaps) -> Option<Box<dyn Runner>> {
    if caps.arch == Arch::X86_64 {
        return Some(Box::new(Simulator::default()));
    }
    let emulator = Emulator::new(caps);
    let emulator = emulator.inspect_err(|error| println!("skipped: {error}")).ok()?;
    Some(Box::new(emulator))
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
fn address(field: Field) -> u64 {
    let place = REGIONS.iter().position(|region| *region == field).unwrap_or(REGIONS.len());
    CODE * (place as u64 + 2)
}

/// The simulator as a machine that runs calls, and what they took.
#[derive(Debug, Default)]
struct Simulator {
    total: Simulated,
}

impl Runner for Simulator {
    fn call(&mut self, code: &Code, buffers: &mut [Buffer], counts: &[(Field, usize)]) -> Result<(), String> {
        let (machine, outcome) = simulate(code, buffers, counts).map_err(|fault| fault.to_string())?;
        self.total.calls += 1;
        self.total.instructions += outcome.instructions();
        for (mnemonic, count) in outcome.counts() {
            *self.total.by_mnemonic.entry(mnemonic).or_default() += count;
        }
        for buffer in buffers.iter_mut().filter(|buffer| buffer.access == Access::ReadWrite) {
            buffer.bytes = machine.bytes(address(buffer.field)).unwrap_or_default().to_vec();
        }
        Ok(())
    }
}

/// Runs emitted code with `buffers`, a work space as large as it asked for, and [`Arguments`] that name them and hold
/// `counts`. What the buffers hold afterwards, the machine says by their [`address`].
fn simulate(code: &Code, buffers: &[Buffer], counts: &[(Field, usize)]) -> Result<(Machine, Outcome), Fault> {
    let mut machine = Machine::new();
    machine.set_budget(BUDGET);
    for buffer in buffers {
        machine.map(address(buffer.field), buffer.bytes.clone(), buffer.access)?;
    }
    machine.map(address(Field::Scratch), vec![0xA5; code.scratch], Access::ReadWrite)?;
    let addresses = REGIONS.map(|field| (field, address(field)));
    let counts = counts.iter().map(|&(field, count)| (field, count as u64));
    let arguments = Arguments::encode(addresses.into_iter().chain(counts));
    let place = CODE * (REGIONS.len() as u64 + 3);
    machine.map(place, arguments, Access::ReadWrite)?;
    let outcome = machine.run(&code.bytes, CODE, &[place])?;
    Ok((machine, outcome))
}
