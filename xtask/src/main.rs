//! Chores of the project. `cargo xtask bench` keeps it from getting slower.
#![forbid(unsafe_code)]

mod bench;
mod cli;
mod failure;
mod plot;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let Command::Bench { action } = Cli::parse().command;
    match bench::run(action) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
