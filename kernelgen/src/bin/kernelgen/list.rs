//! `kernelgen list`

use clap::Args;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{KernelKey, backend, candidates, family};
use serde::Serialize;

use crate::machine::Machine;
use crate::{Failure, print, print_json, table};

/// List backends and families, or the candidates for a key, the best guess first.
#[derive(Debug, Args)]
pub struct List {
    /// What is to be computed, as in 2560x6912-decode-tensor-a8
    key: Option<KernelKey>,
    #[command(flatten)]
    machine: Machine,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    name: &'static str,
    runs_here: bool,
    about: String,
}

impl List {
    pub fn run(&self) -> Result<(), Failure> {
        let caps = self.machine.caps()?;
        let Some(key) = &self.key else { return self.registry(&caps) };
        let configs = candidates(&caps, key);
        if self.json {
            return print_json(&configs);
        }
        let rows =
            configs.iter().enumerate().map(|(rank, config)| vec![(rank + 1).to_string(), config.to_string()]);
        print(&table(&["rank", "configuration"], rows));
        Ok(())
    }

    fn registry(&self, caps: &HardwareCaps) -> Result<(), Failure> {
        let backends = backend::ALL.iter().map(|backend| Row {
            kind: "backend",
            name: backend.name(),
            runs_here: backend.runs_on(caps),
            about: backend.summary().to_owned(),
        });
        let families = family::ALL.iter().map(|family| Row {
            kind: "family",
            name: family.name(),
            runs_here: true,
            about: format!("{}; variants {}", family.summary(), family.variants().join(", ")),
        });
        let rows: Vec<_> = backends.chain(families).collect();
        if self.json {
            return print_json(&rows);
        }
        let cells = rows.into_iter().map(|row| {
            let runs = if row.runs_here { "yes" } else { "no" };
            vec![row.kind.to_owned(), row.name.to_owned(), runs.to_owned(), row.about]
        });
        print(&table(&["kind", "name", "runs", "about"], cells));
        Ok(())
    }
}
