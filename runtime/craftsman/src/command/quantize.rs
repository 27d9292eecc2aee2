//! `craftsman quantize`: a full-precision model as a ternary one.

use std::path::Path;

use craftsman::train::quantize::{Calibration, Policy, Quantization, Report, ScaleReach, TensorReport};
use craftsman::{Checkpoint, ModelError, Tokenizer};
use serde_json::{Value, json};

use super::{open, print, print_json};
use crate::cli::{Quantize, Reach, Shared};
use crate::failure::Failure;
use crate::progress;
use crate::table::{self, table};

/// Writes the new file and says how well it fits.
pub fn run(arguments: &Quantize, shared: &Shared) -> Result<(), Failure> {
    let reach = match arguments.reach {
        Reach::Finest => ScaleReach::Finest,
        Reach::Row => ScaleReach::Row,
        Reach::Tensor => ScaleReach::Tensor,
    };
    let policy = arguments.keep.iter().fold(Policy::default(), |policy, pattern| policy.keeping(pattern));
    let quantization = Quantization::to(&arguments.kind)?.with_reach(reach).with_policy(policy);
    let checkpoint = open(Some(&arguments.model), shared)?;
    let quantization = match &arguments.calibrate {
        Some(text) => quantization.calibrated(calibration(&checkpoint, text, arguments.tokens, shared)?),
        None => quantization,
    };
    let bar = progress::bar("quantising", 0);
    let advance = |done: usize, total: usize| bar.set(done as u64, total as u64);
    let report = quantization.with_progress(&advance).write(&checkpoint, &arguments.out)?;
    drop(bar);
    let bytes = std::fs::metadata(&arguments.out)?.len();
    if shared.json {
        return print_json(&json!({
            "file": arguments.out, "bytes": bytes, "kept": report.kept,
            "tensors": report.tensors.iter().map(tensor_json).collect::<Vec<_>>(),
        }));
    }
    print(&text(&report))?;
    let (out, made, kept) = (arguments.out.display(), report.tensors.len(), report.kept);
    eprintln!("{out}: {made} tensors made ternary, {kept} kept; {}", table::bytes(bytes));
    Ok(())
}

fn calibration(
    checkpoint: &Checkpoint,
    text: &Path,
    tokens: usize,
    shared: &Shared,
) -> Result<Calibration, Failure> {
    let tokenizer = Tokenizer::from_checkpoint(checkpoint)?;
    let text = std::fs::read_to_string(text).map_err(|error| ModelError::io(text, error))?;
    let begin = tokenizer.bos().filter(|_| tokenizer.add_bos());
    let calibration = Calibration::windows(&tokenizer.encode(&text, false)?, begin, tokens);
    if calibration.tokens() == 0 {
        return Err(Failure::usage("the text to fit to has no tokens"));
    }
    Ok(calibration.with_threads(shared.threads))
}

fn tensor_json(tensor: &TensorReport) -> Value {
    json!({
        "name": tensor.name, "weight_error": tensor.weight_error, "output_error": tensor.output_error,
        "sparsity": tensor.sparsity, "matrices": tensor.matrices, "unseen": tensor.unseen,
    })
}

fn text(report: &Report) -> String {
    let header = ["tensor", "matrices", "unseen", "zeros", "error of weights", "error of outputs"];
    let rows = report.tensors.iter().map(|tensor| {
        vec![
            tensor.name.clone(),
            tensor.matrices.to_string(),
            tensor.unseen.to_string(),
            format!("{:.1} %", tensor.sparsity * 100.0),
            format!("{:.4}", tensor.weight_error),
            tensor.output_error.map_or_else(String::new, |error| format!("{error:.4}")),
        ]
    });
    table(&header, &[1, 2, 3, 4, 5], rows).to_string()
}
