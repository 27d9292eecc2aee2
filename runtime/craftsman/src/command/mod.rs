//! The commands, and what they share: opening and loading a model.

mod bench;
mod chat;
mod convert;
mod digest;
mod eval;
mod generate_model;
mod inspect;
mod logits;
mod quantize;
mod run;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craftsman::container::{Fingerprint, Places};
use craftsman::{Checkpoint, ErrorKind, ExpertUse, KernelReport, LoadOptions, Model, ModelError};
use serde::Serialize;

use crate::cli::{Cli, Command, Shared};
use crate::failure::Failure;
use crate::progress;
use crate::table;

/// Runs the command that the command line names.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.command {
        Command::Run(arguments) => run::run(arguments, &cli.shared),
        Command::Chat(arguments) => chat::run(arguments, &cli.shared),
        Command::Inspect(arguments) => inspect::run(arguments, &cli.shared),
        Command::Logits(arguments) => logits::run(arguments, &cli.shared),
        Command::Bench(arguments) => bench::run(arguments, &cli.shared),
        Command::Convert(arguments) => convert::run(arguments, &cli.shared),
        Command::Eval { action } => eval::run(action, &cli.shared),
        Command::Quantize(arguments) => quantize::run(arguments, &cli.shared),
        Command::GenerateModel(arguments) => generate_model::run(arguments, &cli.shared),
    }
}

/// Opens MODEL, or the carried model where none is named, after its digest was found to be the one that is asked for.
fn open(model: Option<&Path>, shared: &Shared) -> Result<Checkpoint, ModelError> {
    let Some(path) = locate(model)? else {
        if shared.sha256.is_none() {
            return craftsman::carried_model();
        }
        let problem = "--sha256 pins a file or a folder, and the carried model is part of this program";
        return Err(ModelError::new(ErrorKind::Input, problem, "name a MODEL, or leave --sha256 out"));
    };
    if let Some(expected) = shared.sha256 {
        fingerprint(&path)?.verify(expected)?;
    }
    Checkpoint::open_with(&path, shared.i2s_rule())
}

/// The files of MODEL, or of the model that the environment names; `None` stands for the carried model.
fn locate(model: Option<&Path>) -> Result<Option<PathBuf>, ModelError> {
    let places = Places::from_env();
    model.or(places.model.as_deref()).map(|model| places.locate(model)).transpose()
}

/// The digests of a model's files, under a progress bar.
fn fingerprint(path: &Path) -> Result<Fingerprint, ModelError> {
    let bar = progress::bar("SHA-256", 0);
    Fingerprint::of(path, |done, total| bar.set(done, total))
}

/// Loads a model under a progress bar.
fn load(checkpoint: &Checkpoint, shared: &Shared) -> Result<Arc<Model>, ModelError> {
    load_with(checkpoint, shared, LoadOptions::default())
}

/// The same with more than the options that every command takes.
fn load_with(
    checkpoint: &Checkpoint,
    shared: &Shared,
    more: LoadOptions<'_>,
) -> Result<Arc<Model>, ModelError> {
    let bar = progress::bar("loading", 0);
    let advance = |progress: craftsman::Progress| bar.set(progress.done as u64, progress.total as u64);
    let options = LoadOptions {
        threads: shared.threads,
        head: shared.head,
        resident: shared.resident || more.resident,
        progress: Some(&advance),
        ..more
    };
    Model::load(checkpoint, &options)
}

/// Prints `value` as JSON on standard output.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Prints text for people on standard output.
fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// How many experts were needed, as commands show it.
#[derive(Debug, Serialize)]
struct ExpertRow {
    packed: usize,
    total: usize,
    packed_bytes: usize,
    total_bytes: usize,
}

impl From<ExpertUse> for ExpertRow {
    fn from(used: ExpertUse) -> Self {
        let ExpertUse { packed, total, packed_bytes, total_bytes } = used;
        Self { packed, total, packed_bytes, total_bytes }
    }
}

impl std::fmt::Display for ExpertRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [packed, total] = [self.packed_bytes, self.total_bytes].map(|bytes| table::bytes(bytes as u64));
        write!(f, "{} of {} packed, {packed} of {total}", self.packed, self.total)
    }
}

/// A selected kernel, as commands show it.
#[derive(Debug, Serialize)]
struct KernelRow {
    key: String,
    kernel: String,
    code_bytes: usize,
    emit_microseconds: f64,
    verify_microseconds: f64,
}

impl From<&KernelReport> for KernelRow {
    fn from(report: &KernelReport) -> Self {
        Self {
            key: report.key.to_string(),
            kernel: report.config.to_string(),
            code_bytes: report.code_bytes,
            emit_microseconds: report.emit.as_secs_f64() * 1e6,
            verify_microseconds: report.verify.as_secs_f64() * 1e6,
        }
    }
}

fn kernel_rows(reports: &[KernelReport]) -> Vec<KernelRow> {
    reports.iter().map(KernelRow::from).collect()
}

/// The selected kernels as a table, or why there are none.
fn kernel_table(kernels: &[KernelRow]) -> String {
    if kernels.is_empty() {
        return "No kernels were emitted: the model has no ternary matrices.".to_string();
    }
    let rows = kernels.iter().map(|row| {
        let [emit, verify] = [row.emit_microseconds, row.verify_microseconds]
            .map(|microseconds| format!("{microseconds:.0} us"));
        vec![row.key.clone(), row.kernel.clone(), table::bytes(row.code_bytes as u64), emit, verify]
    });
    table::table(&["product", "kernel", "code", "emitted in", "verified in"], &[2, 3, 4], rows).to_string()
}
