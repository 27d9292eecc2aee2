//! `cargo xtask fuzz`: every fuzz target for as long as asked, with the flags that this toolchain needs.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::ValueEnum;

use crate::cli::{Fuzz, Target};
use crate::failure::{FAULT, Failure};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");
/// Small valid and broken files that the tests use too.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/hostile");

/// Runs the targets one after the other; what one finds does not keep the others from running.
pub fn run(arguments: &Fuzz) -> Result<ExitCode, Failure> {
    let targets = if arguments.targets.is_empty() { Target::value_variants() } else { &arguments.targets };
    let mut ended = Vec::new();
    for &target in targets {
        println!("{}: {} seconds", target.name(), arguments.seconds);
        if !fuzz(target, arguments.seconds)? {
            ended.push(target.name());
        }
    }
    if ended.is_empty() {
        println!("nothing found");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "ended early: {}; above is why, and an input that was found lies in fuzz/artifacts",
        ended.join(", ")
    );
    Ok(ExitCode::from(FAULT))
}

/// Whether a target ran to its end.
fn fuzz(target: Target, seconds: u32) -> Result<bool, Failure> {
    let corpus = Path::new(FOLDER).join("corpus").join(target.name());
    std::fs::create_dir_all(&corpus).map_err(Failure::file(&corpus))?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The stable toolchain has no sanitizers, and its options for coverage are unstable.
    command.current_dir(FOLDER).env("RUSTC_BOOTSTRAP", "1");
    command.args(["fuzz", "run", "--sanitizer", "none", &target.name()]).arg(corpus);
    if target == Target::Gguf {
        command.arg(SEEDS);
    }
    command.args(["--", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={seconds}"));
    let status = command.status().map_err(|error| Failure::Broken(format!("cargo fuzz: {error}")))?;
    Ok(status.success())
}
