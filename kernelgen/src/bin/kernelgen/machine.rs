//! Which processor a command is about.

use clap::Args;
use craftsman_isa::{HardwareCaps, recorded};

use crate::Failure;

/// The processor a command is about.
#[derive(Debug, Args)]
pub struct Machine {
    /// A recorded processor instead of this one; `--machine help` names them
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
}

impl Machine {
    /// Its capabilities; for this processor under the ceiling of `CRAFTSMAN_MAX_ISA`.
    pub fn caps(&self) -> Result<HardwareCaps, Failure> {
        let Some(name) = &self.machine else {
            return HardwareCaps::from_env().map_err(|error| Failure::Usage(error.to_string()));
        };
        recorded::by_name(name).ok_or_else(|| {
            let names: Vec<_> = recorded::names().collect();
            Failure::Usage(format!("no recorded processor `{name}`; there are {}", names.join(", ")))
        })
    }

    /// How to say it on a command line: nothing for this processor.
    pub fn argument(&self) -> String {
        self.machine.as_ref().map_or(String::new(), |name| format!(" --machine {name}"))
    }

    /// Whether it is another processor than this one.
    pub fn is_recorded(&self) -> bool {
        self.machine.is_some()
    }
}
