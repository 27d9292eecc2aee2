//! `kernelgen emit`

use std::path::{Path, PathBuf};

use clap::Args;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::aot::{self, Functions, Target};
use craftsman_kernelgen::store::write_aside;
use craftsman_kernelgen::{
    EmitError, KernelConfig, KernelKey, VERIFY_SEED, VerifyError, candidates, verify_simulated,
};

use crate::machine::Machine;
use crate::{Failure, print};

/// Write kernels as an object file for another program to link, or as a WebAssembly module, with a C header.
///
/// Beside FILE, a header of the same name and the extension .h says how to call them; `kernelgen pack` packs their weights.
/// Kernels are checked against the reference before anything is written, on a simulated or emulated processor.
/// Without --machine they are for a processor that most machines of the target have at least.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Emit {
    /// What is computed, as in 2560x6912-decode-tensor-a8; several go into one file
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<KernelKey>,
    /// What it is for: x86_64-linux, x86_64-windows, aarch64-linux, aarch64-macos or wasm
    #[arg(long, value_name = "TARGET", value_parser = target)]
    target: &'static Target,
    /// How they are built; without it, the best guess for the machine
    #[arg(long)]
    config: Option<KernelConfig>,
    #[command(flatten)]
    machine: Machine,
    /// What the function is called, if it is one; without it, craftsman_ and the key
    #[arg(long, value_name = "IDENTIFIER")]
    name: Option<String>,
    /// Where the object goes
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  kernelgen emit 640x2560-decode-tensor-a8 --target x86_64-linux -o kernel.o
  kernelgen emit 640x2560-prefill-tensor-a8 --target aarch64-macos --machine apple-m1 --name project -o project.o";

fn target(name: &str) -> Result<&'static Target, String> {
    Target::by_name(name).map_err(|error| error.to_string())
}

impl Emit {
    pub fn run(&self) -> Result<(), Failure> {
        if self.name.is_some() && self.keys.len() > 1 {
            return Err(Failure::Usage(
                "--name names one function; leave it out for several keys".to_owned(),
            ));
        }
        let caps = if self.machine.is_recorded() { self.machine.caps()? } else { self.target.usual() };
        let failed = |error: EmitError| Failure::Kernel(error.to_string());
        let (mut functions, mut headers, mut said) = (Vec::new(), String::new(), Vec::new());
        for key in &self.keys {
            let config = match self.config {
                Some(config) => config,
                None => best(&caps, key)?,
            };
            let name = self.name.clone().unwrap_or_else(|| Functions::default_name(key));
            let emitted = Functions::new(key, &config, &caps, &name).map_err(failed)?;
            headers += &emitted.header(self.target).map_err(failed)?;
            functions.push(emitted);
            let checked = check(key, &config, &caps)?;
            said.push(format!("{key} by {config} for {}; {checked}", self.target.name));
        }
        let file = aot::write(&functions, self.target).map_err(failed)?;
        write(&self.out, &file)?;
        write(&self.out.with_extension("h"), headers.as_bytes())?;
        for line in said {
            print(&format!("{}: {line}", self.out.display()));
        }
        Ok(())
    }
}

/// What became of the check; an error if the kernel is wrong.
fn check(key: &KernelKey, config: &KernelConfig, caps: &HardwareCaps) -> Result<String, Failure> {
    match verify_simulated(key, config, caps, VERIFY_SEED) {
        Ok(report) => Ok(format!("exact in {} calls", report.calls)),
        Err(VerifyError::Emit(error)) => Ok(format!("NOT CHECKED: {error}")),
        Err(error) => Err(Failure::Kernel(error.to_string())),
    }
}

/// The best guess that is not portable, whose code may belong to this process.
fn best(caps: &HardwareCaps, key: &KernelKey) -> Result<KernelConfig, Failure> {
    let mut candidates = candidates(caps, key).into_iter();
    let found = candidates.find(|config| config.backend != "portable");
    found.ok_or_else(|| Failure::Kernel("no candidate for this key and machine".to_owned()))
}

/// Writes a file that is there complete or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error| Failure::File(format!("cannot write {}: {error}", path.display()));
    write_aside(path, failed, |out| out.write_all(bytes).map_err(failed))
}
