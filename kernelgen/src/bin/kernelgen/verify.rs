//! `kernelgen verify`

use clap::Args;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{
    KernelConfig, KernelKey, VERIFY_SEED, VerifyError, candidates, verify_native, verify_simulated,
};
use serde::Serialize;

use crate::machine::Machine;
use crate::{Failure, print, print_json, table};

/// Check kernels against golden, bit for bit, on inputs that are meant to break them.
#[derive(Debug, Args)]
pub struct Verify {
    /// What to check, as in 2560x6912-decode-tensor-a8; without it, a standard set
    keys: Vec<KernelKey>,
    /// Only this configuration, as in avx2-i2s.masked-2x1s2u15p2048; without it, all candidates
    #[arg(long)]
    config: Option<KernelConfig>,
    /// Seed of the random inputs
    #[arg(long, default_value_t = VERIFY_SEED)]
    seed: u64,
    /// Interpret the code instead of running it: for other processors, and to check every memory access
    #[arg(long)]
    simulate: bool,
    #[command(flatten)]
    machine: Machine,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// Shapes of a 2B model, an expert, and what no tile divides; every scale rule.
const STANDARD: [&str; 10] = [
    "2560x2560-decode-tensor-a8",
    "2560x2560-prefill-tensor-a8",
    "640x2560-decode-row-a8",
    "6912x2560-prefill-row-a8",
    "2560x6912-decode-tensor-a8",
    "1024x2048-decode-block256-a8",
    "2048x1024-prefill-block64-a8",
    "3200x8640-decode-tensor-a8",
    "77x131-decode-block128-a8",
    "321x61-prefill-row-a8",
];

/// What became of one kernel.
#[derive(Serialize)]
struct Row {
    key: KernelKey,
    config: KernelConfig,
    verdict: &'static str,
    detail: String,
}

impl Verify {
    pub fn run(&self) -> Result<(), Failure> {
        if self.machine.is_recorded() && !self.simulate {
            return Err(Failure::Usage(
                "another machine's kernels can only be checked with --simulate".to_owned(),
            ));
        }
        let caps = self.machine.caps()?;
        let rows: Vec<Row> = self.keys()?.iter().flat_map(|key| self.key(key, &caps)).collect();
        if self.json {
            print_json(&rows)?;
        } else {
            let cells = rows.iter().map(|row| {
                vec![row.key.to_string(), row.config.to_string(), row.verdict.to_owned(), row.detail.clone()]
            });
            print(&table(&["key", "configuration", "verdict", ""], cells));
        }
        let wrong = rows.iter().filter(|row| row.verdict == "WRONG").count();
        let right = rows.iter().filter(|row| row.verdict == "exact").count();
        match (wrong, right) {
            (0, 0) => Err(Failure::Kernel("nothing could be checked".to_owned())),
            (0, _) => Ok(()),
            _ => Err(Failure::Kernel(format!(
                "{wrong} of {} kernels are wrong; please report this",
                rows.len()
            ))),
        }
    }

    fn keys(&self) -> Result<Vec<KernelKey>, Failure> {
        if !self.keys.is_empty() {
            return Ok(self.keys.clone());
        }
        let parsed: Result<_, _> = STANDARD.iter().map(|key| key.parse()).collect();
        parsed.map_err(|error: craftsman_kernelgen::NameError| Failure::Usage(error.to_string()))
    }

    fn key(&self, key: &KernelKey, caps: &HardwareCaps) -> Vec<Row> {
        let configs = self.config.map_or_else(|| candidates(caps, key), |config| vec![config]);
        configs.into_iter().map(|config| self.one(*key, config, caps)).collect()
    }

    fn one(&self, key: KernelKey, config: KernelConfig, caps: &HardwareCaps) -> Row {
        let outcome = if self.simulate {
            verify_simulated(&key, &config, caps, self.seed).map(|report| match report.instructions {
                0 => format!("{} calls, emulated", report.calls),
                instructions => format!("{} calls, {instructions} instructions", report.calls),
            })
        } else {
            verify_native(&key, &config, caps, self.seed).map(|report| {
                format!(
                    "{} B, emitted in {:.0?}, checked in {:.0?}",
                    report.code_bytes, report.emit, report.verify
                )
            })
        };
        let (verdict, detail) = match outcome {
            Ok(detail) => ("exact", detail),
            Err(VerifyError::Emit(error)) => ("none", error.to_string()),
            Err(error) => ("WRONG", error.to_string()),
        };
        Row { key, config, verdict, detail }
    }
}
