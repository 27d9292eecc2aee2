//! `cargo xtask bench`: measure, keep, compare, draw.

mod compare;
mod figures;
mod growth;
mod history;
mod record;
mod report;
mod run;
mod validate;

use std::process::ExitCode;

use crate::cli::Action;
use crate::failure::Failure;

/// Does what the command line says.
pub fn run(action: Action) -> Result<ExitCode, Failure> {
    match action {
        Action::Run(arguments) => run::run(&arguments),
        Action::Compare(arguments) => compare::run(&arguments),
        Action::Report(arguments) => report::run(&arguments),
        Action::Growth(arguments) => growth::run(&arguments),
    }
}
