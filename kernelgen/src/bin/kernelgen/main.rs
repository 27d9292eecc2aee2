//! The `kernelgen` command: see, check and take apart the kernels that Craftsman emits.

mod caps;
mod disasm;
mod emit;
mod explain;
mod fuzz;
mod list;
mod machine;
mod pack;
mod progress;
mod roofline;
mod tune;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use craftsman_kernelgen::store::StoreError;

/// The kernel compiler of Craftsman: what this processor is, which kernels it gets, and whether they are right.
#[derive(Debug, Parser)]
#[command(name = "kernelgen", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
A kernel KEY says what is computed: rows x columns, decode (one token) or prefill (many), how many weights share a \
scale, and the bits of an activation, as in 2560x6912-decode-tensor-a8. A configuration says how, as in \
avx2-i2s.masked-2x1s2u15p2048: backend, family and variant, panels x tokens, streams, unroll, prefetch distance.

Examples:
  kernelgen caps                                    what this processor is
  kernelgen list 2560x6912-decode-tensor-a8         candidates for a key, the best guess first
  kernelgen verify                                  check all candidates of a standard set against golden
  kernelgen verify --simulate --machine zen4        the same for a processor that is not here
  kernelgen disasm 2560x6912-decode-tensor-a8       listing of the kernel that would be selected
  kernelgen explain 2560x6912-decode-tensor-a8      why that kernel, and not another
  kernelgen emit 640x2560-decode-tensor-a8 --target aarch64-linux -o kernel.o
                                                    an object file and kernel.h for a C program
  kernelgen fuzz --seconds 60                       check random kernels for random products
  kernelgen roofline                                what this machine can do at most
  kernelgen tune                                    find and keep the fastest kernels of this machine

CRAFTSMAN_MAX_ISA=portable|avx2|avxvnni|avx512|avx512vnni|amx sets a ceiling on what is used of this processor.
Exit codes: 0 all is well; 1 a kernel is wrong or cannot be had; 2 the command line is; 3 a file cannot be used.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the processor is: instruction sets, caches, cores
    Caps(caps::Caps),
    /// List backends and families, or the candidates for a key
    List(list::List),
    /// Check kernels against golden, bit for bit
    Verify(verify::Verify),
    /// Disassemble a kernel, with the labels of its source
    Disasm(disasm::Disasm),
    /// Write a kernel as an object file for another program to link, with a C header
    Emit(emit::Emit),
    /// Pack weights for a kernel that was written with `emit`
    Pack(pack::Pack),
    /// Show why a kernel is chosen: what was considered, what was dropped, prediction beside measurement
    Explain(explain::Explain),
    /// Check random kernels for random products against golden
    Fuzz(fuzz::Fuzz),
    /// Measure what this machine can do at most: reading, level by level, and multiplying bytes
    Roofline(roofline::Command),
    /// Find the fastest kernels of this machine by running them, and keep the answers
    Tune(tune::Tune),
}

/// Why a command ends with an error.
#[derive(Debug)]
enum Failure {
    /// Something is wrong with what was asked: exit code 2.
    Usage(String),
    /// Something is wrong with a kernel: exit code 1.
    Kernel(String),
    /// A file cannot be read, understood or written: exit code 3.
    File(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::File(error.to_string())
    }
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::from_env("CRAFTSMAN_LOG");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match Cli::parse().command {
        Command::Caps(caps) => caps.run(),
        Command::List(list) => list.run(),
        Command::Verify(verify) => verify.run(),
        Command::Disasm(disasm) => disasm.run(),
        Command::Emit(emit) => emit.run(),
        Command::Pack(pack) => pack.run(),
        Command::Explain(explain) => explain.run(),
        Command::Fuzz(fuzz) => fuzz.run(),
        Command::Roofline(roofline) => roofline.run(),
        Command::Tune(tune) => tune.run(),
    };
    let (message, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Kernel(message)) => (message, 1),
        Err(Failure::Usage(message)) => (message, 2),
        Err(Failure::File(message)) => (message, 3),
    };
    eprintln!("error: {message}");
    ExitCode::from(code)
}

/// Prints to standard output; a reader that has gone away is no error.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
}

/// Prints a value for programs.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Kernel(error.to_string()))?;
    print(&text);
    Ok(())
}

/// A table for people.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
