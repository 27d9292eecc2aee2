//! Portable: 128-bit vectors through Cranelift, on any architecture it compiles for. The fallback that always exists.
//!
//! The product tree in [`Accumulate::Dot`](crate::vocabulary::Accumulate::Dot) is the one that Cranelift folds into VPDPBUSD, SDOT or USDOT where the target
//! has them, and says with plain SIMD where it has not. Two neighbouring products are summed in sixteen bits, hence
//! [`Accumulation::DirectSmall`].

mod compiler;
mod words;

use craftsman_isa::{Arch, Feature, HardwareCaps};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, ExternalName, Function, LibCall, Signature, UserFuncName};
use cranelift_codegen::isa::{self, CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, FinalizedMachReloc, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

use super::{Backend, Tier};
use crate::code::{Code, EmitError};
use crate::vocabulary::{Accumulation, Emitter, Word};
use compiler::Compiler;

/// See the module's introduction.
#[derive(Debug)]
pub struct Portable;

/// Cranelift's names for the architectures it compiles for.
const TARGETS: [(Arch, &str); 3] = [
    (Arch::X86_64, "x86_64-unknown-linux-gnu"),
    (Arch::Aarch64, "aarch64-unknown-linux-gnu"),
    (Arch::Riscv64, "riscv64gc-unknown-linux-gnu"),
];

/// Cranelift's names for what a processor may have. Its x86-64 SIMD takes SSE2 for granted.
const FLAGS: [(Feature, &str); 13] = [
    (Feature::Sse3, "has_sse3"),
    (Feature::Ssse3, "has_ssse3"),
    (Feature::Sse41, "has_sse41"),
    (Feature::Sse42, "has_sse42"),
    (Feature::Avx, "has_avx"),
    (Feature::Avx2, "has_avx2"),
    (Feature::Fma, "has_fma"),
    (Feature::AvxVnni, "has_avx_vnni"),
    (Feature::Avx512F, "has_avx512f"),
    (Feature::Avx512Vl, "has_avx512vl"),
    (Feature::Avx512Vnni, "has_avx512vnni"),
    (Feature::Dotprod, "has_dotprod"),
    (Feature::I8mm, "has_i8mm"),
];

impl Backend for Portable {
    fn tier(&self) -> &Tier {
        &Tier { name: "portable", summary: "128-bit through Cranelift; any processor", requires: &[] }
    }

    fn lanes(&self) -> usize {
        4
    }

    fn accumulation(&self) -> Accumulation {
        Accumulation::DirectSmall
    }

    fn registers(&self) -> usize {
        16
    }

    fn says(&self, word: Word) -> bool {
        match word {
            Word::Unary(_) | Word::Binary(_) | Word::Accumulate(_) => true,
            Word::TernaryLogic | Word::Tiles | Word::Matrices => false,
        }
    }

    fn compile(&self, caps: &HardwareCaps, say: &mut dyn FnMut(&mut dyn Emitter)) -> Result<Code, EmitError> {
        let isa = target(caps)?;
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.push(AbiParam::new(I64));
        let mut function = Function::with_name_signature(UserFuncName::default(), signature);
        let mut context = FunctionBuilderContext::new();
        let mut compiler = Compiler::new(FunctionBuilder::new(&mut function, &mut context));
        say(&mut compiler);
        let (labels, scratch) = compiler.finish(isa.frontend_config())?;
        encode(function, &isa, &labels, scratch)
    }
}

/// What an error of Cranelift's means to the selector.
fn unsaid(error: impl std::fmt::Display) -> EmitError {
    EmitError::new(format_args!("portable: {error}"))
}

fn target(caps: &HardwareCaps) -> Result<OwnedTargetIsa, EmitError> {
    let (_, name) = TARGETS
        .iter()
        .find(|(arch, _)| *arch == caps.arch)
        .ok_or_else(|| EmitError::new("portable: Cranelift does not compile for this architecture"))?;
    let mut flags = settings::builder();
    flags.set("opt_level", "speed").map_err(unsaid)?;
    flags.set("enable_verifier", "false").map_err(unsaid)?;
    let mut isa = isa::lookup_by_name(name).map_err(unsaid)?;
    for (feature, flag) in FLAGS {
        if caps.arch == feature.row().arch && caps.features.contains(feature) {
            isa.enable(flag).map_err(unsaid)?;
        }
    }
    isa.finish(settings::Flags::new(flags)).map_err(unsaid)
}

/// Compiles `function`; `labels[i]` names the instructions marked with source location i + 1.
fn encode(
    function: Function,
    isa: &OwnedTargetIsa,
    labels: &[String],
    scratch: usize,
) -> Result<Code, EmitError> {
    let mut context = Context::for_function(function);
    let compiled =
        context.compile(&**isa, &mut ControlPlane::default()).map_err(|error| unsaid(error.inner))?;
    let mut bytes = compiled.code_buffer().to_vec();
    for routine in compiled.buffer.relocs() {
        link(&mut bytes, routine)?;
    }
    let mut named = Vec::new();
    for place in compiled.buffer.get_srclocs_sorted() {
        let label = (place.loc.bits() as usize).checked_sub(1).and_then(|index| labels.get(index));
        if let Some(label) = label
            && named.iter().all(|(_, known)| known != label)
        {
            named.push((place.start as usize, label.clone()));
        }
    }
    // Cranelift does not say where its constants begin.
    Ok(Code { instruction_bytes: bytes.len(), bytes, labels: named, scratch })
}

/// Where a processor has no fused multiply-add, Cranelift calls the correctly rounded one in software: ours.
extern "C" fn fused_multiply_add(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// Writes the routine's address where the code loads it; such code is good for this process only.
fn link(bytes: &mut [u8], routine: &FinalizedMachReloc) -> Result<(), EmitError> {
    let known =
        matches!(routine.target, FinalizedRelocTarget::ExternalName(ExternalName::LibCall(LibCall::FmaF32)));
    let place = bytes.get_mut(routine.offset as usize..).and_then(|rest| rest.first_chunk_mut());
    match (known, routine.kind, place) {
        (true, Reloc::Abs8, Some(place)) => {
            let address = fused_multiply_add as *const () as usize as u64;
            *place = address.wrapping_add_signed(routine.addend).to_le_bytes();
            Ok(())
        }
        _ => Err(EmitError::new(format_args!("portable: unknown library routine {:?}", routine.target))),
    }
}
