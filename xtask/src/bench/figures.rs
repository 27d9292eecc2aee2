//! The latest run of each history as Markdown, for the documentation.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::history::History;
use super::record::{Figure, Run};
use crate::failure::Failure;
use crate::terminal::three;

/// The page.
pub fn page(histories: &[History]) -> Result<String, Failure> {
    let mut text = "# Figures of every kernel\n\n\
        Written by `cargo xtask bench report`; do not edit. [What a figure is](benchmarks.md) and [what to make of them]\
        (performance.md) stand elsewhere. Ratios are medians, with the middle half of the rounds in brackets; above is \
        better.\n"
    .to_owned();
    for history in histories {
        if let Some(run) = history.runs()?.iter().rev().find(|run| !run.short) {
            text.push_str(&section(run));
        }
    }
    Ok(text)
}

fn section(run: &Run) -> String {
    let (date, label) = (run.date.get(..10).unwrap_or_default(), run.label());
    let mut text = format!("\n## {} ({}), {date}, commit {label}\n", run.machine, run.brand);
    let mut regimes: Vec<&str> = run.figures.iter().map(|figure| figure.regime.as_str()).collect();
    regimes.dedup();
    for regime in regimes {
        let figures: Vec<_> = run.figures.iter().filter(|figure| figure.regime == regime).collect();
        _ = write!(text, "\n### {regime}\n\n{}", table(&figures));
    }
    text
}

fn table(figures: &[&Figure]) -> String {
    let references: BTreeSet<&String> = figures.iter().flat_map(|figure| figure.beside.keys()).collect();
    let mut text = "| kernel | to golden | us | GMAC/s |".to_owned();
    for name in &references {
        _ = write!(text, " to {name} |");
    }
    _ = writeln!(text, "\n|---|{}", "---:|".repeat(references.len() + 3));
    for figure in figures {
        let ratio = &figure.ratio;
        let rate = figure.gmacs.map_or_else(String::new, three);
        _ = write!(
            text,
            "| {} | {} ({} .. {}) | {} | {rate} |",
            figure.config,
            three(ratio.median),
            three(ratio.low),
            three(ratio.high),
            three(figure.microseconds.median),
        );
        for &name in &references {
            let value = figure.beside.get(name).map_or_else(String::new, |ratio| three(ratio.median));
            _ = write!(text, " {value} |");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tests::run;

    #[test]
    fn a_table_has_a_row_a_figure() {
        let text = section(&run(&[("avx2-i2s", 25.0), ("portable-i2s", 3.5)]));
        assert!(
            text.contains("### decode\n\n| kernel | to golden | us | GMAC/s |\n|---|---:|---:|---:|\n"),
            "{text}"
        );
        assert!(text.contains("| avx2-i2s-1x1 | 25.0 (23.8 .. 26.2) | 10.0 | 1.00 |\n"), "{text}");
    }
}
