//! `cargo xtask bench report`: histories as one page, plots inside.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use super::compare::{Change, Verdict, changes};
use super::figures;
use super::history::{History, write_file};
use super::record::{Figure, Run};
use crate::cli;
use crate::failure::Failure;
use crate::plot::{Axis, Line, Plot, Scale};
use crate::terminal::{print, three, trimmed};

/// Runs that a plot shows: the latest.
const SHOWN: usize = 60;

const STYLE: &str = "body{font:15px/1.5 sans-serif;color:#222;background:#fff;max-width:60em;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:right}\
    td:first-child,th:first-child{text-align:left}tr.slower{color:#b00020;font-weight:bold}tr.faster{color:#006b3c}\
    svg{max-width:100%;height:auto}";

/// Writes the page.
pub fn run(arguments: &cli::Report) -> Result<ExitCode, Failure> {
    let folder = &arguments.history.history;
    let histories = History::all(folder)?;
    if histories.is_empty() {
        let folder = folder.display();
        return Err(Failure::Usage(format!("{folder}: no histories; `cargo xtask bench run` makes one")));
    }
    let markdown = arguments.out.extension().is_some_and(|extension| extension == "md");
    let page = if markdown { figures::page(&histories)? } else { html(&histories)? };
    write_file(&arguments.out, &page)?;
    print(&format!("wrote {}", arguments.out.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn html(histories: &[History]) -> Result<String, Failure> {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Benchmarks</title><style>{STYLE}</style>\n\
         <h1>Benchmarks</h1>\n<p>A figure is how many times as fast as the reference of the same process a kernel was, \
         both timed in interleaved rounds. Points are medians, bands the middle half; above is better.</p>\n"
    );
    for history in histories {
        page.push_str(&section(history)?);
    }
    page.push_str("</html>\n");
    Ok(page)
}

/// One kind of machine. What stands in histories was checked to be plain text when it was read.
fn section(history: &History) -> Result<String, Failure> {
    let runs = history.runs()?;
    let shown = &runs[runs.len().saturating_sub(SHOWN)..];
    let Some((latest, before)) = shown.split_last() else { return Ok(String::new()) };
    let mut text = format!("<h2>{} ({})</h2>\n", latest.machine, latest.brand);
    _ = writeln!(
        text,
        "<p>{} runs; the latest of {}, commit {}.</p>",
        runs.len(),
        latest.date,
        latest.label()
    );
    let previous = before.iter().rev().find(|run| run.machine == latest.machine && run.short == latest.short);
    text.push_str(&table(latest, &changes(&previous.into_iter().collect::<Vec<_>>(), &[latest], None)));
    for (regime, plot) in plots(shown) {
        _ = write!(text, "<h3>{regime}</h3>\n{}\n", plot.svg()?);
    }
    text.push_str("<h3>runs</h3>\n<ol>\n");
    for run in shown {
        _ = writeln!(text, "<li>{}, {}", run.date, run.label());
    }
    text.push_str("</ol>\n");
    Ok(text)
}

fn table(latest: &Run, changes: &[Change]) -> String {
    let mut text =
        "<table><tr><th>figure<th>ratio<th>middle half<th>against the run before<th>beside</tr>\n".to_owned();
    for figure in &latest.figures {
        let change = changes.iter().find(|change| change.figure == figure.name());
        let class = match change.map(|change| change.verdict) {
            Some(Verdict::Slower) => "slower",
            Some(Verdict::Faster) => "faster",
            _ => "same",
        };
        let percent = change.and_then(|change| change.percent);
        let percent = percent.map_or_else(|| "new".to_owned(), |percent| format!("{percent:+.1} %"));
        let Figure { reference, ratio, beside, .. } = figure;
        let beside = beside.iter().map(|(name, ratio)| format!("{name} {}", three(ratio.median)));
        _ = writeln!(
            text,
            "<tr class=\"{class}\"><td>{}<td>{} x {reference}<td>{} .. {}<td>{percent}<td>{}</tr>",
            figure.name(),
            three(ratio.median),
            three(ratio.low),
            three(ratio.high),
            beside.collect::<Vec<_>>().join(", "),
        );
    }
    text + "</table>\n"
}

/// A plot a regime: runs from left to right, a line a way. Single configurations, which only a run with `--all` has, are
/// too many for lines.
fn plots(runs: &[Run]) -> BTreeMap<String, Plot> {
    let mut plots = BTreeMap::new();
    for (place, run) in (1..).zip(runs) {
        for figure in run.figures.iter().filter(|figure| figure.way != figure.config) {
            let plot: &mut Plot = plots.entry(figure.regime.clone()).or_insert_with(|| plot(figure));
            let value = (f64::from(place), figure.ratio.clone());
            match plot.lines.iter_mut().find(|line| line.name == figure.way) {
                Some(line) => line.points.push(value),
                None => plot.lines.push(Line { name: figure.way.clone(), points: vec![value] }),
            }
        }
    }
    plots
}

fn plot(figure: &Figure) -> Plot {
    let x = Axis { label: "run", scale: Scale::Linear, format: |value| format!("{value:.0}") };
    let y = Axis { label: "times as fast as the reference", scale: Scale::Linear, format: trimmed };
    Plot { title: figure.regime.clone(), x, y, lines: Vec::new(), marks: Vec::new() }
}
