//! The simulator beside the processor, for every form of every instruction that both know.

use super::super::fault::FaultKind;
use super::*;
use crate::memory::ExecutableMemory;
use craftsman_isa::{HardwareCaps, Tier};
use iced_x86::{CpuidFeature, EncodingKind, RflagsBits};
use proptest::test_runner::TestRunner;

/// What the tier AVX2 promises, as iced names it.
const PRESENT: &[CpuidFeature] = &[
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::X64,
    CpuidFeature::CMOV,
    CpuidFeature::SSE,
    CpuidFeature::SSE2,
    CpuidFeature::SSE3,
    CpuidFeature::SSSE3,
    CpuidFeature::SSE4_1,
    CpuidFeature::SSE4_2,
    CpuidFeature::POPCNT,
    CpuidFeature::LZCNT,
    CpuidFeature::BMI1,
    CpuidFeature::BMI2,
    CpuidFeature::AVX,
    CpuidFeature::AVX2,
    CpuidFeature::FMA,
    CpuidFeature::F16C,
];

/// Chosen so that every field that an immediate may have differs from its neighbours.
const IMMEDIATES: [u8; 9] = [0, 1, 3, 7, 0x1b, 0x31, 0x4e, 0x8d, 0xd2];

/// One form, ready to run on both sides.
struct Pair {
    name: String,
    code: Vec<u8>,
    native: ExecutableMemory,
    /// Offsets of flags that the manual leaves undefined.
    undefined: Vec<usize>,
}

impl Pair {
    fn new(form: Form) -> Option<Self> {
        let instruction = form.instruction()?;
        let code = snippet(instruction, Width::Ymm);
        let code_of = crate::Code {
            bytes: code.clone(),
            instruction_bytes: code.len(),
            labels: Vec::new(),
            scratch: 0,
        };
        let native = ExecutableMemory::new(&code_of).unwrap();
        let flags = [RflagsBits::OF, RflagsBits::CF, RflagsBits::ZF, RflagsBits::SF, RflagsBits::PF];
        let undefined = instruction.rflags_undefined();
        let undefined = (0..5).filter(|&i| undefined & flags[i] != 0).map(|i| FLAGS_OUT + i).collect();
        let name = format!("{:?} memory {} immediate {:#x}", form.code, form.memory, form.immediate);
        Some(Self { name, code, native, undefined })
    }

    fn run_native(&self, state: &State) -> State {
        let mut state = state.clone();
        let mut arguments = Arguments { output: state.0.as_mut_ptr().cast(), ..Arguments::default() };
        // SAFETY: `native_forms` has checked that the processor has what `PRESENT` names. `difference` has let the
        // simulator run the same snippet on the same state, and it returned as the calling convention asks and touched
        // nothing but the 2048 bytes behind `output`.
        unsafe { self.native.call(&mut arguments) };
        state
    }

    /// The places where processor and simulator differ, if they do.
    fn difference(&self, state: &State) -> Option<String> {
        let simulated = match simulate(&self.code, state) {
            Ok(simulated) => simulated,
            // The processor would end the process.
            Err(fault) if fault.kind == FaultKind::Division => return None,
            Err(fault) => return Some(format!("{}: {fault}", self.name)),
        };
        let expected = self.run_native(state);
        let differs = |&at: &usize| expected.0[at] != simulated.0[at] && !self.undefined.contains(&at);
        let first = (0..SIZE).find(differs)?;
        let at = first & !7;
        let [expected, simulated] = [&expected.0[at..at + 8], &simulated.0[at..at + 8]];
        Some(format!("{} at {at}: processor {expected:02x?}, simulator {simulated:02x?}", self.name))
    }
}

/// Every form that this processor can run; none, said in print, where it is not of the tier AVX2.
fn native_forms() -> Vec<Pair> {
    let caps = HardwareCaps::detect();
    if caps.tier() < Tier::Avx2 {
        println!("skipped: this processor ({}) cannot run AVX2 code", caps.identity());
        return Vec::new();
    }
    let present = |code: &Code| {
        code.op_code().encoding() != EncodingKind::EVEX
            && code.cpuid_features().iter().all(|feature| PRESENT.contains(feature))
    };
    let immediates = |code| if has_immediate(code) { &IMMEDIATES[..] } else { &IMMEDIATES[..1] };
    let forms = codes().filter(present).flat_map(|code| {
        let memory = [false, true].into_iter();
        memory.flat_map(move |memory| {
            immediates(code).iter().map(move |&immediate| Form { code, memory, immediate })
        })
    });
    forms.filter_map(Pair::new).collect()
}

#[test]
fn every_instruction_does_what_the_processor_does() {
    let pairs = native_forms();
    println!("{} forms", pairs.len());
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) });
    let outcome = runner.run(&state(), |state| {
        let differences: Vec<_> = pairs.iter().filter_map(|pair| pair.difference(&state)).collect();
        prop_assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_misaligned_legacy_operand_faults_in_the_simulator_too() {
    let form = Form { code: Code::Paddd_xmm_xmmm128, memory: true, immediate: 0 };
    let mut instruction = form.instruction().unwrap();
    instruction.set_memory_displacement64(MEMORY as u64 + 4);
    let fault = simulate(&snippet(instruction, Width::Ymm), &State([0; SIZE])).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misaligned { address: STATE_ADDRESS + MEMORY as u64 + 4, size: 16 });
}
