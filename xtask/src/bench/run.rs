//! `cargo xtask bench run`.

use std::process::ExitCode;
use std::time::Duration;

use craftsman_benches::contest::{Contestant, Plan, Times, contest};
use craftsman_benches::suite::{FULL, Field, Regime, SHORT};
use craftsman_benches::ways::Offer;
use craftsman_isa::HardwareCaps;

use super::history::History;
use super::record::{Figure, Run};
use crate::cli;
use crate::failure::{FAULT, Failure};
use crate::terminal::{bar, print, table, three};

/// Samples are long beside a clock's grain and short beside a burst of other work.
const FULL_PLAN: Plan =
    Plan { rounds: 40, sample: Duration::from_millis(2), budget: Duration::from_secs(12) };
/// Long enough to see a slow-down that was planted.
const SHORT_PLAN: Plan =
    Plan { rounds: 7, sample: Duration::from_micros(200), budget: Duration::from_secs(2) };
/// Steps of the progress bar that a regime takes.
const STEPS: usize = 100;

/// Measures, appends to the history, prints.
pub fn run(arguments: &cli::Run) -> Result<ExitCode, Failure> {
    let caps = HardwareCaps::from_env().map_err(|error| Failure::Usage(error.to_string()))?;
    super::warn_of_unfair_peers(&caps);
    let regimes = regimes(arguments)?;
    let plan = if arguments.short { SHORT_PLAN } else { FULL_PLAN };
    let plan = Plan { rounds: arguments.rounds.map_or(plan.rounds, usize::from), ..plan };
    let offer = if arguments.all { Offer::All } else { Offer::Best };
    let progress = bar(regimes.len() * STEPS);
    let (mut figures, mut unusable) = (Vec::new(), Vec::new());
    for (at, regime) in regimes.into_iter().enumerate() {
        progress.set_message(format!("{}: packing", regime.name));
        let mut field = regime.field(&caps, offer);
        unusable.append(&mut field.unusable);
        plant(arguments, regime, &mut field);
        progress.set_message(regime.name);
        let mut step =
            |done: usize, all: usize| progress.set_position((at * STEPS + done * STEPS / all) as u64);
        figures.extend(measure(regime, field, plan, &mut step));
    }
    progress.finish_and_clear();
    let run = Run::now(&caps, arguments.short, figures);
    let history = History::of(&arguments.history.history, &run.machine);
    history.append(&run)?;
    report(&run, &history, arguments.json)?;
    for kernel in &unusable {
        eprintln!("error: {kernel}");
    }
    Ok(ExitCode::from(if unusable.is_empty() { 0 } else { FAULT }))
}

/// The rows of the suite that are asked for.
fn regimes(arguments: &cli::Run) -> Result<Vec<&'static Regime>, Failure> {
    let suite = if arguments.short { SHORT } else { FULL };
    let wanted = |regime: &&Regime| arguments.only.as_ref().is_none_or(|text| regime.name.contains(text));
    let regimes: Vec<_> = suite.iter().filter(wanted).collect();
    if regimes.is_empty() {
        let names: Vec<_> = suite.iter().map(|regime| regime.name).collect();
        return Err(Failure::Usage(format!(
            "--only: no regime has that in its name; there are {}",
            names.join(", ")
        )));
    }
    Ok(regimes)
}

/// Makes slow what is to be slow.
fn plant(arguments: &cli::Run, regime: &Regime, field: &mut Field) {
    let Some((text, factor)) = &arguments.plant_slowdown else { return };
    for subject in &mut field.subjects {
        if format!("{} {}", regime.name, subject.contestant.name).contains(text) {
            subject.contestant.slowness = *factor;
        }
    }
}

fn measure(regime: &Regime, field: Field, plan: Plan, step: &mut dyn FnMut(usize, usize)) -> Vec<Figure> {
    let Field { subjects, references, .. } = field;
    let configs: Vec<String> = subjects.iter().map(|subject| subject.config.clone()).collect();
    let mut all: Vec<Contestant<'_>> = subjects.into_iter().map(|subject| subject.contestant).collect();
    all.extend(references);
    let times = contest(&mut all, plan, step);
    let (subjects, references) = times.split_at(configs.len());
    let figures = subjects.iter().zip(configs);
    figures.filter_map(|(times, config)| figure(regime, times, config, references)).collect()
}

fn figure(regime: &Regime, times: &Times, config: String, references: &[Times]) -> Option<Figure> {
    let (yardstick, others) = references.split_first()?;
    let microseconds = times.microseconds()?;
    let rate = |amount: f64| (times.bytes > 0.0).then_some(amount / microseconds.median / 1e3);
    let beside = others.iter().filter_map(|other| Some((other.name.clone(), times.ratio(other)?)));
    Some(Figure {
        regime: regime.name.to_owned(),
        way: times.name.clone(),
        config,
        reference: yardstick.name.clone(),
        ratio: times.ratio(yardstick)?,
        beside: beside.collect(),
        gmacs: rate(times.work),
        gbytes: rate(times.bytes),
        microseconds,
    })
}

fn report(run: &Run, history: &History, json: bool) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(run).map_err(|error| Failure::Broken(error.to_string()))?;
        return print(&text);
    }
    let header = ["regime", "way", "ratio to golden", "middle half", "us", "GMAC/s", "GB/s", "beside"];
    let option = |value: Option<f64>| value.map_or_else(String::new, three);
    let rows = run.figures.iter().map(|figure| {
        let beside = figure.beside.iter().map(|(name, ratio)| format!("{name} {}", three(ratio.median)));
        vec![
            figure.regime.clone(),
            figure.way.clone(),
            three(figure.ratio.median),
            format!("{} .. {}", three(figure.ratio.low), three(figure.ratio.high)),
            three(figure.microseconds.median),
            option(figure.gmacs),
            option(figure.gbytes),
            beside.collect::<Vec<_>>().join(", "),
        ]
    });
    let table = table(&header, 2, rows);
    let short =
        if run.short { "A short run: it checks the machinery, its figures mean nothing.\n" } else { "" };
    print(&format!("{table}\n\n{short}Appended to {}", history.path().display()))
}
