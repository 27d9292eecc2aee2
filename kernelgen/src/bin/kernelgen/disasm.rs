//! `kernelgen disasm`

use clap::Args;
use craftsman_kernelgen::{KernelConfig, KernelKey, candidates, emit, listing};
use serde::Serialize;

use crate::machine::Machine;
use crate::{Failure, print, print_json};

/// Disassemble a kernel, with the labels of its source.
#[derive(Debug, Args)]
pub struct Disasm {
    /// What is computed, as in 2560x6912-decode-tensor-a8
    key: KernelKey,
    /// How, as in avx2-i2s.masked-2x1s2u15p2048; without it, the best guess
    #[arg(long)]
    config: Option<KernelConfig>,
    #[command(flatten)]
    machine: Machine,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listing {
    key: KernelKey,
    config: KernelConfig,
    bytes: usize,
    text: String,
    /// What makes the form of the activations that the kernel reads, where it is not rows.
    input: Option<String>,
}

impl Disasm {
    pub fn run(&self) -> Result<(), Failure> {
        let caps = self.machine.caps()?;
        let config = self.config.or_else(|| candidates(&caps, &self.key).first().copied());
        let config = config.ok_or_else(|| Failure::Kernel("no candidate for this key".to_owned()))?;
        let code = emit(&self.key, &config, &caps).map_err(|error| Failure::Kernel(error.to_string()))?;
        let (key, bytes, text) = (self.key, code.product.bytes.len(), listing(&code.product, caps.arch));
        let input = code.input.map(|input| listing(&input, caps.arch));
        if self.json {
            return print_json(&Listing { key, config, bytes, text, input });
        }
        if let Some(input) = input {
            print(&format!("; input for {config}\n{}", input.trim_end()));
        }
        print(&format!("; {key} by {config}, {bytes} bytes\n{}", text.trim_end()));
        Ok(())
    }
}
