//! `craftsman inspect --experts`: which experts the tokens of a text are routed to.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use craftsman::{
    Checkpoint, ExpertConfig, GenerateOptions, LayerRouting, LoadOptions, Model, ModelError, RoutingRecorder,
    Sampler, Tokenizer, generate, write_aside,
};
use serde::Serialize;

use super::heat_map::HeatMap;
use crate::cli::Shared;
use crate::command::{ExpertRow, load_with, print, print_json};
use crate::failure::Failure;
use crate::progress;
use crate::table::table;

/// Everything that is shown.
#[derive(Serialize)]
struct Report {
    model: String,
    /// Tokens that were routed: those of the prompt, and all but the last of those generated.
    tokens: u64,
    experts: usize,
    experts_used: usize,
    packed: Option<ExpertRow>,
    layers: Vec<LayerRow>,
}

/// How evenly one layer spreads its tokens.
#[derive(Serialize)]
struct LayerRow {
    layer: usize,
    busiest_expert: usize,
    busiest_share: f64,
    evenness: f64,
    variation: f64,
    balance_loss: f64,
    unused: usize,
    load: Vec<u64>,
}

/// Runs `prompt`, prints each layer's balance, and draws the heat map to `out`.
pub fn run(
    checkpoint: &Checkpoint,
    prompt: &str,
    out: Option<&Path>,
    shared: &Shared,
) -> Result<(), Failure> {
    Sampler::new(shared.sampling())?;
    let tokenizer = Tokenizer::from_checkpoint(checkpoint)?;
    let recorder = Arc::new(RoutingRecorder::default());
    let options = LoadOptions { recorder: Some(Arc::clone(&recorder)), ..LoadOptions::default() };
    let model = load_with(checkpoint, shared, options)?;
    let Some(config) = model.config().experts else {
        let problem = format!("{} has no experts: give a mixture of experts", checkpoint.path().display());
        return Err(Failure::usage(problem));
    };
    route(&model, &tokenizer, prompt, shared)?;
    let layers = recorder.layers();
    let report = report(checkpoint, &model, config, &layers);
    if let Some(out) = out {
        let title = format!("{}: experts chosen by {} tokens", report.model, report.tokens);
        let map = HeatMap { title: &title, layers: &layers };
        write_aside(out, |file| {
            file.write_all(map.to_string().as_bytes()).map_err(|error| ModelError::io(out, error))
        })?;
    }
    if shared.json { print_json(&report) } else { print(&text(&report)) }
}

/// Takes the prompt through the model, and then as many tokens as are asked for.
fn route(model: &Arc<Model>, tokenizer: &Tokenizer, prompt: &str, shared: &Shared) -> Result<(), Failure> {
    let tokens = tokenizer.encode(prompt, tokenizer.add_bos())?;
    let _spinner = progress::spinner("routing tokens");
    let mut session = model.session();
    let Some(max_tokens) = shared.max_tokens.filter(|&tokens| tokens > 0) else {
        session.prefill(&tokens)?;
        return Ok(());
    };
    let sampling = shared.sampling();
    let options = GenerateOptions { sampling, stop: shared.stops(), max_tokens, ignore_end: false };
    generate(&mut session, tokenizer, &tokens, &options, |_| ControlFlow::Continue(()))?;
    Ok(())
}

fn report(checkpoint: &Checkpoint, model: &Model, config: ExpertConfig, layers: &[LayerRouting]) -> Report {
    let path = checkpoint.path();
    let row = |layer: &LayerRouting| {
        let (busiest_expert, busiest_share) = layer.busiest();
        LayerRow {
            layer: layer.layer,
            busiest_expert,
            busiest_share,
            evenness: layer.evenness(),
            variation: layer.variation(),
            balance_loss: layer.balance_loss(),
            unused: layer.unused(),
            load: layer.load.clone(),
        }
    };
    Report {
        model: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        tokens: layers.first().map_or(0, |layer| layer.tokens),
        experts: config.count,
        experts_used: config.used,
        packed: model.expert_use().map(ExpertRow::from),
        layers: layers.iter().map(row).collect(),
    }
}

fn text(report: &Report) -> String {
    let header = ["layer", "busiest", "share", "of even", "evenness", "variation", "balance loss", "unused"];
    let rows = report.layers.iter().map(|row| {
        vec![
            row.layer.to_string(),
            format!("expert {}", row.busiest_expert),
            format!("{:.1} %", row.busiest_share * 100.0),
            format!("{:.2} x", row.busiest_share * report.experts as f64),
            format!("{:.3}", row.evenness),
            format!("{:.3}", row.variation),
            format!("{:.3}", row.balance_loss),
            row.unused.to_string(),
        ]
    });
    let packed = report.packed.as_ref().map(|used| format!("; experts {used}"));
    format!(
        "{}: {} tokens, each through {} of {} experts a layer{}\n\n{}",
        report.model,
        report.tokens,
        report.experts_used,
        report.experts,
        packed.unwrap_or_default(),
        table(&header, &[0, 1, 2, 3, 4, 5, 6, 7], rows)
    )
}
