//! `cargo xtask bench`: measure, keep, compare, draw.

mod compare;
mod figures;
mod growth;
mod history;
#[cfg(feature = "peers")]
mod models;
mod record;
mod report;
mod run;
mod validate;

use std::process::ExitCode;

use craftsman_isa::HardwareCaps;

use crate::cli::Action;
use crate::failure::Failure;

/// Does what the command line says.
pub fn run(action: Action) -> Result<ExitCode, Failure> {
    match action {
        Action::Run(arguments) => run::run(&arguments),
        Action::Compare(arguments) => compare::run(&arguments),
        Action::Report(arguments) => report::run(&arguments),
        Action::Growth(arguments) => growth::run(&arguments),
        Action::Models(arguments) => models::run(&arguments),
    }
}

/// Says when the peers were compiled for less than this processor.
#[cfg(feature = "peers")]
fn warn_of_unfair_peers(caps: &HardwareCaps) {
    let missing = craftsman_benches::peers::ggml::missing_features(caps);
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
        eprintln!(
            "warning: llama.cpp was compiled without {}, so it is slower than it could be here; \
             build with CFLAGS=-march=native CXXFLAGS=-march=native",
            names.join(", ")
        );
    }
}

/// There are no peers in this build.
#[cfg(not(feature = "peers"))]
fn warn_of_unfair_peers(_: &HardwareCaps) {}

/// There are no peers in this build.
#[cfg(not(feature = "peers"))]
mod models {
    use std::process::ExitCode;

    use crate::cli;
    use crate::failure::Failure;

    /// Says how to get them.
    pub fn run(_: &cli::Models) -> Result<ExitCode, Failure> {
        Err(Failure::Usage(
            "this build has no llama.cpp; use `cargo xtask-peers bench models` (docs/benchmarks.md says what it needs)"
                .to_owned(),
        ))
    }
}
