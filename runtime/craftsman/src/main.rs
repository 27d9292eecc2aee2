//! The `craftsman` command.
#![forbid(unsafe_code)]

mod cli;
mod command;
mod failure;
mod progress;
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    cli.shared.start_log();
    match command::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
