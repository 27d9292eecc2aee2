//! `cargo xtask crossval`: fresh tiny models made with Hugging Face transformers, and Craftsman's logits beside theirs.
//!
//! The models and the comparison are Python, because transformers are: `models.py`, given to the interpreter on its
//! standard input. No test needs it; the fixtures in `tests/fixtures` were made in the same way.

use std::env;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use crate::cli::Crossval;
use crate::failure::{FAULT, Failure};

const MODELS: &str = include_str!("models.py");

/// Runs the script.
pub fn run(arguments: &Crossval) -> Result<ExitCode, Failure> {
    let python = &arguments.python;
    let broken = |error: std::io::Error| {
        let remedy = "name an interpreter that has torch, transformers and safetensors with --python";
        Failure::Broken(format!("{}: {error}; {remedy}", python.display()))
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut script = Command::new(python)
        .args(["-u", "-", &arguments.seed.to_string()])
        .arg(cargo)
        .args(["run", "--quiet", "--package", "craftsman", "--"])
        // Compiling the tiny models would take longer than running them.
        .env("TORCHDYNAMO_DISABLE", "1")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(broken)?;
    if let Some(mut input) = script.stdin.take() {
        input.write_all(MODELS.as_bytes()).map_err(broken)?;
    }
    let status = script.wait().map_err(broken)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(FAULT) })
}
