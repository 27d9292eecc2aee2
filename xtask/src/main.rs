//! Chores of the project. `cargo xtask bench` keeps it from getting slower, `crossval` from going wrong, `fuzz` from
//! believing what it reads.
#![forbid(unsafe_code)]

mod bench;
mod cli;
mod crossval;
mod failure;
mod fuzz;
mod plot;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bench { action } => bench::run(action),
        Command::Crossval(arguments) => crossval::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
