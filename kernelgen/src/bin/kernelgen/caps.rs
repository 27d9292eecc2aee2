//! `kernelgen caps`

use clap::Args;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::backend;

use crate::machine::Machine;
use crate::{Failure, print, print_json, table};

/// Show what the processor is: instruction sets, caches, cores.
#[derive(Debug, Args)]
pub struct Caps {
    #[command(flatten)]
    machine: Machine,
    /// For programs
    #[arg(long)]
    json: bool,
}

impl Caps {
    pub fn run(&self) -> Result<(), Failure> {
        let caps = self.machine.caps()?;
        if self.json {
            return print_json(&caps);
        }
        print(&table(&["", ""], rows(&caps)));
        Ok(())
    }
}

fn rows(caps: &HardwareCaps) -> Vec<Vec<String>> {
    let backends: Vec<_> =
        backend::ALL.iter().filter(|backend| backend.runs_on(caps)).map(|b| b.name()).collect();
    let mut rows = vec![
        ["processor".to_owned(), caps.brand.clone()],
        ["identity".to_owned(), caps.identity().to_string()],
        ["cores".to_owned(), format!("{} physical, {} logical", caps.physical_cores, caps.logical_cores)],
    ];
    let caches = [("L1d", &caps.caches.l1d), ("L2", &caps.caches.l2), ("L3", &caps.caches.l3)];
    for (name, cache) in caches.into_iter().filter_map(|(name, cache)| Some((name, cache.as_ref()?))) {
        let text = format!(
            "{} KiB, lines of {} B, shared by {}",
            cache.size_bytes / 1024,
            cache.line_bytes,
            cache.shared_by
        );
        rows.push([name.to_owned(), text]);
    }
    rows.push(["tier".to_owned(), caps.tier().to_string()]);
    rows.push(["features".to_owned(), caps.features.to_string()]);
    rows.push(["backends".to_owned(), backends.join(", ")]);
    rows.into_iter().map(Vec::from).collect()
}
