//! `cargo xtask bench compare`: what got slower.

use std::process::ExitCode;

use craftsman_benches::suite::wobble;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::roofline::Samples;
use craftsman_kernelgen::store::Machine;
use serde::Serialize;

use super::history::History;
use super::record::{Figure, Run};
use crate::cli;
use crate::failure::{Failure, REGRESSION};
use crate::terminal::{print, table, three};

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole middle half lies below the base's.
    Slower,
    /// The whole middle half lies above the base's.
    Faster,
    /// Neither.
    Same,
    /// The base does not have it.
    New,
    /// Only the base has it.
    Gone,
}

/// A figure of both runs.
#[derive(Debug, Serialize)]
pub struct Change {
    /// Its name.
    pub figure: String,
    /// What became of it.
    pub verdict: Verdict,
    base: Option<Side>,
    new: Option<Side>,
    /// Change of the median in percent; a positive one is faster.
    pub percent: Option<f64>,
}

/// A figure of one of them.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    ratio: Samples,
    config: String,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Comparison {
    base: Vec<String>,
    new: Vec<String>,
    slower: usize,
    changes: Vec<Change>,
}

/// Compares, prints; the exit code says whether something got slower.
pub fn run(arguments: &cli::Compare) -> Result<ExitCode, Failure> {
    let caps = HardwareCaps::from_env().map_err(|error| Failure::Usage(error.to_string()))?;
    let machine = Machine::new(&caps);
    let history = History::of(&arguments.history.history, &machine);
    let mut runs = history.runs()?;
    runs.retain(|run| run.machine == machine);
    if runs.is_empty() {
        let path = history.path().display();
        return Err(Failure::Usage(format!("{path}: no runs yet; `cargo xtask bench run` makes one")));
    }
    let (base, new) = (select(&runs, &arguments.base)?, select(&runs, &arguments.new)?);
    let changes = changes(&base, &new, arguments.threshold);
    let slower = changes.iter().filter(|change| change.verdict == Verdict::Slower).count();
    let labels = |runs: &[&Run]| runs.iter().map(|run| format!("{} of {}", run.label(), run.date)).collect();
    let comparison = Comparison { base: labels(&base), new: labels(&new), slower, changes };
    let text = if arguments.json { json(&comparison)? } else { text(&comparison) };
    print(&text)?;
    Ok(ExitCode::from(if slower > 0 { REGRESSION } else { 0 }))
}

/// The runs that `name` stands for.
fn select<'a>(runs: &'a [Run], name: &str) -> Result<Vec<&'a Run>, Failure> {
    let back = match name {
        "latest" => Some(0),
        "previous" => Some(1),
        _ => name.strip_prefix('-').and_then(|digits| digits.parse::<usize>().ok()),
    };
    let found: Vec<&Run> = match back {
        Some(back) => runs.iter().rev().nth(back).into_iter().collect(),
        None => runs
            .iter()
            .filter(|run| run.commit.as_ref().is_some_and(|commit| commit.starts_with(name)))
            .collect(),
    };
    if found.is_empty() || name.is_empty() {
        let known: Vec<_> = runs.iter().rev().take(10).map(Run::label).collect();
        return Err(Failure::Usage(format!(
            "no run is called `{name}`; the latest are {}",
            known.join(", ")
        )));
    }
    Ok(found)
}

/// Every figure of both, the new run's order first; `threshold` is in percent, where not the suite says what counts.
pub fn changes(base: &[&Run], new: &[&Run], threshold: Option<f64>) -> Vec<Change> {
    let (base, new) = (pooled(base), pooled(new));
    let find = |sides: &[(String, Side)], name: &str| {
        sides.iter().find(|(other, _)| other == name).map(|(_, side)| side.clone())
    };
    let gone = base.iter().filter(|(name, _)| find(&new, name).is_none());
    let names = new.iter().chain(gone).map(|(name, _)| name.clone());
    let least = |name: &str| {
        let regime = name.split(' ').next().unwrap_or_default();
        threshold.map_or_else(|| wobble(regime), |percent| percent / 100.0)
    };
    names.map(|name| change(find(&base, &name), find(&new, &name), least(&name), name)).collect()
}

fn change(base: Option<Side>, new: Option<Side>, threshold: f64, figure: String) -> Change {
    let (verdict, percent) = match (&base, &new) {
        (Some(base), Some(new)) => {
            let share = new.ratio.median / base.ratio.median - 1.0;
            (verdict(&base.ratio, &new.ratio, threshold), Some(share * 100.0))
        }
        (None, _) => (Verdict::New, None),
        (_, None) => (Verdict::Gone, None),
    };
    Change { figure, verdict, base, new, percent }
}

/// Whether the new middle half lies wholly outside the old one, and the medians far enough apart.
fn verdict(base: &Samples, new: &Samples, threshold: f64) -> Verdict {
    let share = new.median / base.median - 1.0;
    match () {
        () if new.high < base.low && share < -threshold => Verdict::Slower,
        () if new.low > base.high && share > threshold => Verdict::Faster,
        () => Verdict::Same,
    }
}

/// The figures of several runs as those of one: the median of the medians, and all that their middle halves cover.
fn pooled(runs: &[&Run]) -> Vec<(String, Side)> {
    let mut sides: Vec<(String, Vec<&Figure>)> = Vec::new();
    for figure in runs.iter().flat_map(|run| &run.figures) {
        let name = figure.name();
        match sides.iter_mut().find(|(other, _)| *other == name) {
            Some((_, figures)) => figures.push(figure),
            None => sides.push((name, vec![figure])),
        }
    }
    sides.into_iter().filter_map(|(name, figures)| Some((name, pool(&figures)?))).collect()
}

fn pool(figures: &[&Figure]) -> Option<Side> {
    let of = |value: fn(&Samples) -> f64| figures.iter().map(move |figure| value(&figure.ratio));
    let medians = Samples::new(of(|ratio| ratio.median).collect())?;
    let ratio = Samples {
        low: of(|ratio| ratio.low).fold(f64::INFINITY, f64::min),
        high: of(|ratio| ratio.high).fold(0.0, f64::max),
        min: of(|ratio| ratio.min).fold(f64::INFINITY, f64::min),
        max: of(|ratio| ratio.max).fold(0.0, f64::max),
        ..medians.summary()
    };
    Some(Side { ratio, config: figures.last()?.config.clone() })
}

fn json(comparison: &Comparison) -> Result<String, Failure> {
    serde_json::to_string_pretty(comparison).map_err(|error| Failure::Broken(error.to_string()))
}

fn text(comparison: &Comparison) -> String {
    let header = ["figure", "verdict", "base", "middle half", "new", "middle half", "change"];
    let rows = comparison.changes.iter().map(|change| {
        let side = |side: &Option<Side>| {
            side.as_ref().map_or([const { String::new() }; 2], |Side { ratio, .. }| {
                [three(ratio.median), format!("{} .. {}", three(ratio.low), three(ratio.high))]
            })
        };
        let percent = change.percent.map_or_else(String::new, |percent| format!("{percent:+.1} %"));
        let verdict = format!("{:?}", change.verdict).to_lowercase();
        let [base, base_half] = side(&change.base);
        let [new, new_half] = side(&change.new);
        vec![change.figure.clone(), verdict, base, base_half, new, new_half, percent]
    });
    let mut text = format!(
        "base  {}\nnew   {}\n\n{}\n",
        comparison.base.join(", "),
        comparison.new.join(", "),
        table(&header, 2, rows)
    );
    for change in comparison.changes.iter().filter(|change| change.verdict == Verdict::Slower) {
        text.push_str(&regression(change));
    }
    if comparison.slower == 0 {
        text.push_str("\nNothing is slower beyond the spread.");
    }
    text
}

/// One regression in a sentence.
fn regression(change: &Change) -> String {
    let (Some(base), Some(new), Some(percent)) = (&change.base, &change.new, change.percent) else {
        return String::new();
    };
    let built = if base.config == new.config {
        format!("built alike ({})", new.config)
    } else {
        format!("{} where it was {}", new.config, base.config)
    };
    format!("\nSLOWER by {:.1} %: {}, {built}", -percent, change.figure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tests::run;

    fn verdicts(base: &[&Run], new: &Run) -> Vec<(String, Verdict)> {
        let changes = changes(base, &[new], None);
        changes.into_iter().map(|change| (change.figure, change.verdict)).collect()
    }

    #[test]
    fn a_change_counts_beyond_the_spread_only() {
        let base = run(&[("slow", 10.0), ("fast", 10.0), ("wobbly", 10.0), ("gone", 10.0)]);
        let new = run(&[("slow", 8.0), ("fast", 12.0), ("wobbly", 9.3), ("new", 10.0)]);
        let expected = [
            ("decode slow", Verdict::Slower),
            ("decode fast", Verdict::Faster),
            ("decode wobbly", Verdict::Same),
            ("decode new", Verdict::New),
            ("decode gone", Verdict::Gone),
        ];
        assert_eq!(verdicts(&[&base], &new), expected.map(|(name, verdict)| (name.to_owned(), verdict)));
    }

    #[test]
    fn several_runs_of_a_commit_know_better_how_far_it_wobbles() {
        let (low, high, new) = (run(&[("a", 8.0)]), run(&[("a", 10.0)]), run(&[("a", 7.5)]));
        assert_eq!(verdicts(&[&high], &new)[0].1, Verdict::Slower);
        assert_eq!(verdicts(&[&high, &low], &new)[0].1, Verdict::Same);
    }

    #[test]
    fn runs_are_named_by_place_and_commit() {
        let mut runs = [run(&[]), run(&[]), run(&[])];
        runs[0].commit = Some("ffff".to_owned());
        let dates = |name| select(&runs, name).map(|found| found.len()).unwrap_or_default();
        assert_eq!(
            ["latest", "previous", "-2", "-3", "ff", "0123", "", "nonsense"].map(dates),
            [1, 1, 1, 0, 1, 2, 0, 0]
        );
    }
}
