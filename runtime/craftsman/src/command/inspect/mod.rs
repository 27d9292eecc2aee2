//! `craftsman inspect`: what a model holds, which kernels would run it, and how evenly its experts are used.

mod experts;
mod heat_map;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use craftsman::container::{Matrix, TensorInfo, TensorType, Value};
use craftsman::kernelgen::KernelCompiler;
use craftsman::kernelgen::tuning::Tuning;
use craftsman::{Checkpoint, ContainerKind, HardwareCaps, LoadOptions};
use serde::Serialize;
use serde_json::json;

use super::{KernelRow, digest, kernel_rows, kernel_table, load_with, open, print_json};
use crate::cli::{Inspect, Shared};
use crate::failure::Failure;
use crate::progress;
use crate::table::{self, table};

/// Characters of a metadata value that the table shows.
const VALUE_WIDTH: usize = 60;
/// Elements of a metadata array that are shown, in the table and in JSON.
const SHOWN_ELEMENTS: usize = 4;

/// Everything that is shown.
#[derive(Serialize)]
struct Report {
    path: String,
    container: &'static str,
    architecture: String,
    weights: u64,
    bytes: u64,
    bits_per_weight: f64,
    metadata: BTreeMap<String, serde_json::Value>,
    types: Vec<TypeRow>,
    tensors: Vec<TensorRow>,
    processor: String,
    tier: String,
    kernels: Vec<KernelRow>,
}

/// All tensors of one type together.
#[derive(Serialize)]
struct TypeRow {
    #[serde(rename = "type")]
    name: String,
    tensors: usize,
    weights: u64,
    bytes: u64,
    bits_per_weight: f64,
}

#[derive(Serialize)]
struct TensorRow {
    name: String,
    shape: Vec<usize>,
    #[serde(rename = "type")]
    type_name: String,
    bytes: u64,
    offset: u64,
    bits_per_weight: f64,
}

/// Prints what the model holds.
pub fn run(arguments: &Inspect, shared: &Shared) -> Result<(), Failure> {
    if arguments.digest {
        return digest::run(arguments.model.as_deref(), shared);
    }
    let checkpoint = open(arguments.model.as_deref(), shared)?;
    if arguments.keys {
        return keys(&checkpoint, shared);
    }
    if let Some(prompt) = &arguments.experts {
        return experts::run(&checkpoint, prompt, arguments.out.as_deref(), shared);
    }
    let caps = HardwareCaps::from_env().map_err(Failure::usage)?;
    let report = report(&checkpoint, &caps)?;
    if shared.json {
        return print_json(&report);
    }
    super::print(&text(&report))
}

/// Prints what the model asks of the kernel compiler, each key once: epilogues are known only when all of it is loaded.
fn keys(checkpoint: &Checkpoint, shared: &Shared) -> Result<(), Failure> {
    let options = LoadOptions { resident: true, ..LoadOptions::default() };
    let kernels = load_with(checkpoint, shared, options)?.kernels();
    let keys: BTreeSet<_> = kernels.iter().map(|report| report.key.to_string()).collect();
    if shared.json {
        return print_json(&keys);
    }
    super::print(&keys.into_iter().collect::<Vec<_>>().join("\n"))
}

fn report(checkpoint: &Checkpoint, caps: &HardwareCaps) -> Result<Report, Failure> {
    let tensors: Vec<TensorRow> = checkpoint.tensors().map(tensor_row).collect();
    let weights = checkpoint.tensors().map(weights).sum();
    let bytes = tensors.iter().map(|tensor| tensor.bytes).sum();
    Ok(Report {
        path: checkpoint.path().display().to_string(),
        container: match checkpoint.kind() {
            ContainerKind::Gguf => "GGUF file",
            ContainerKind::HuggingFace => "Hugging Face folder",
        },
        architecture: checkpoint.architecture().to_string(),
        weights,
        bytes,
        bits_per_weight: bits(bytes, weights),
        metadata: checkpoint
            .metadata()
            .iter()
            .map(|(key, value)| (key.to_string(), json_value(value)))
            .collect(),
        types: type_rows(checkpoint),
        tensors,
        processor: caps.brand.trim().to_string(),
        tier: caps.tier().to_string(),
        kernels: kernel_rows(&select_kernels(checkpoint, caps)?),
    })
}

fn weights(tensor: &TensorInfo) -> u64 {
    tensor.shape.iter().map(|&size| size as u64).product()
}

fn bits(bytes: u64, weights: u64) -> f64 {
    if weights == 0 { 0.0 } else { bytes as f64 * 8.0 / weights as f64 }
}

fn tensor_row(tensor: &TensorInfo) -> TensorRow {
    TensorRow {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        type_name: tensor.type_name.clone(),
        bytes: tensor.bytes,
        offset: tensor.offset,
        bits_per_weight: bits(tensor.bytes, weights(tensor)),
    }
}

fn type_rows(checkpoint: &Checkpoint) -> Vec<TypeRow> {
    let mut totals: BTreeMap<&str, (usize, u64, u64)> = BTreeMap::new();
    for tensor in checkpoint.tensors() {
        let (tensors, count, bytes) = totals.entry(&tensor.type_name).or_default();
        *tensors += 1;
        *count += weights(tensor);
        *bytes += tensor.bytes;
    }
    let row = |(name, (tensors, weights, bytes)): (&str, _)| TypeRow {
        name: name.to_string(),
        tensors,
        weights,
        bytes,
        bits_per_weight: bits(bytes, weights),
    };
    totals.into_iter().map(row).collect()
}

/// Lets the compiler select, emit and verify for one ternary tensor of each shape and type.
fn select_kernels(
    checkpoint: &Checkpoint,
    caps: &HardwareCaps,
) -> Result<Vec<craftsman::KernelReport>, Failure> {
    let compiler = KernelCompiler::new(caps.clone()).with_tuning(Arc::new(Tuning::from_env(caps)));
    let _spinner = progress::spinner("selecting kernels");
    let mut seen = BTreeSet::new();
    for tensor in checkpoint.tensors() {
        let matrix_shape = &tensor.shape[tensor.shape.len().saturating_sub(2)..];
        if !may_be_ternary(tensor) || !seen.insert((matrix_shape.to_vec(), tensor.type_name.clone())) {
            continue;
        }
        let matrix = match tensor.shape.len() {
            2 => checkpoint.matrix(&tensor.name)?,
            _ => checkpoint.expert(&tensor.name, 0)?,
        };
        if let Matrix::Ternary(matrix) = matrix {
            compiler.linear(&matrix)?;
        }
    }
    Ok(compiler.selected())
}

/// Whether decoding the tensor may give trits: everything of two or three dimensions but plain numbers.
fn may_be_ternary(tensor: &TensorInfo) -> bool {
    (2..=3).contains(&tensor.shape.len())
        && TensorType::named(&tensor.type_name).is_none_or(TensorType::is_ternary)
}

/// A metadata value for a program; of a long array its length and first elements.
fn json_value(value: &Value) -> serde_json::Value {
    if let Some(array) = value.as_array() {
        let scalars = array.scalars().map(|value| json_value(&value));
        let strings = array.strings().map(|text| json!(text));
        let first: Vec<_> = scalars.chain(strings).take(SHOWN_ELEMENTS).collect();
        return json!({ "length": array.len(), "first": first });
    }
    match value {
        // Its shortest decimal form, not that of the f64 beside it.
        Value::F32(number) => json!(number.to_string().parse::<f64>().unwrap_or(f64::from(*number))),
        Value::F64(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        Value::Str(text) => json!(text),
        // GGUF's integers have at most 64 bits.
        other => other.as_integer().map_or(json!(null), |number| match u64::try_from(number) {
            Ok(number) => json!(number),
            Err(_) => json!(number as i64),
        }),
    }
}

fn text(report: &Report) -> String {
    let metadata = report.metadata.iter().map(|(key, value)| vec![key.clone(), shown(value)]);
    let types = report.types.iter().map(|row| {
        let bits = format!("{:.3}", row.bits_per_weight);
        vec![
            row.name.clone(),
            row.tensors.to_string(),
            table::count(row.weights),
            table::bytes(row.bytes),
            bits,
        ]
    });
    let tensors = report.tensors.iter().map(|row| {
        let bits = format!("{:.3}", row.bits_per_weight);
        vec![row.name.clone(), table::shape(&row.shape), row.type_name.clone(), table::bytes(row.bytes), bits]
    });
    let sections = [
        format!(
            "{}: {}, architecture {}, {} weights, {}, {:.3} bits per weight",
            report.path,
            report.container,
            report.architecture,
            table::count(report.weights),
            table::bytes(report.bytes),
            report.bits_per_weight
        ),
        table(&["key", "value"], &[], metadata).to_string(),
        table(&["type", "tensors", "weights", "bytes", "bits/weight"], &[1, 2, 3, 4], types).to_string(),
        table(&["tensor", "shape", "type", "bytes", "bits/weight"], &[1, 3, 4], tensors).to_string(),
        format!(
            "Kernels for {} (tier {}):\n{}",
            report.processor,
            report.tier,
            kernel_table(&report.kernels)
        ),
    ];
    sections.join("\n\n")
}

/// A metadata value for the table.
fn shown(value: &serde_json::Value) -> String {
    match (value.get("length"), value.get("first"), value.as_str()) {
        (Some(length), Some(first), _) => table::short(&format!("{length} x {first}"), VALUE_WIDTH),
        (_, _, Some(text)) => table::short(text, VALUE_WIDTH),
        _ => value.to_string(),
    }
}
