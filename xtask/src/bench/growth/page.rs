//! The page of plots.

use std::collections::BTreeSet;
use std::fmt::Write;

use craftsman_isa::HardwareCaps;

use super::sweep::{Lines, Sweep};
use crate::bench::record::Run;
use crate::plot::Line;
use crate::terminal::three;

/// Everything that was measured, as Markdown.
pub fn page(caps: &HardwareCaps, measured: &[(Sweep, Lines)]) -> String {
    let run = Run::now(caps, false, Vec::new());
    let mut text = format!(
        "# How cost grows\n\n\
         Written by `cargo xtask bench growth` on {}; do not edit. {}, tier {}, commit {}.\n\n\
         Lines are the selector's first choice of each family on the best backend here; points are medians, bands the middle \
         half of interleaved rounds. Time is time that threads ran. Absolute figures are this machine's; what to compare \
         between machines is the shape.\n",
        run.date.get(..10).unwrap_or_default(),
        run.brand,
        caps.tier(),
        run.label(),
    );
    for (sweep, lines) in measured {
        let (title, file, about) = (sweep.title, sweep.file(), sweep.about);
        _ = write!(text, "\n## {title}\n\n{about}\n\n![{title}](plots/{file})\n\n{}\n", table(sweep, lines));
        if sweep.straight() {
            _ = write!(text, "\n{}", lines.iter().filter_map(fit).collect::<String>());
        }
    }
    text
}

/// The medians, one row a place on the x axis.
fn table(sweep: &Sweep, lines: &Lines) -> String {
    let (x_label, y_label) = sweep.labels();
    let names: Vec<_> = lines.iter().map(|line| line.name.as_str()).collect();
    let mut text = format!("| {x_label} | {} |\n|{}\n", names.join(" | "), "---:|".repeat(names.len() + 1));
    let places: BTreeSet<u64> =
        lines.iter().flat_map(|line| &line.points).map(|point| point.0 as u64).collect();
    for place in places {
        let cell = |line: &Line| {
            let found = line.points.iter().find(|(x, _)| *x as u64 == place);
            found.map_or_else(String::new, |(_, samples)| three(samples.median))
        };
        let cells: Vec<_> = lines.iter().map(cell).collect();
        _ = writeln!(text, "| {} | {} |", sweep.x_text(place as f64), cells.join(" | "));
    }
    _ = write!(text, "\n(in {y_label})");
    text
}

/// The straight line through the points, by least squares of relative errors: long and short count alike.
fn fit(line: &Line) -> Option<String> {
    let weigh = |value: fn(f64, f64) -> f64| {
        line.points.iter().map(|(x, samples)| value(*x, samples.median) / samples.median.powi(2)).sum::<f64>()
    };
    let (one, x, xx) = (weigh(|_, _| 1.0), weigh(|x, _| x), weigh(|x, _| x * x));
    let (y, xy) = (weigh(|_, y| y), weigh(|x, y| x * y));
    let determinant = one * xx - x * x;
    let slope = (one * xy - x * y) / determinant;
    let offset = (y - slope * x) / one;
    let errors = line.points.iter().map(|(x, samples)| ((offset + slope * x) / samples.median - 1.0).abs());
    let worst = errors.fold(0.0, f64::max) * 100.0;
    let fixed =
        if offset < 0.05 { "no fixed cost to be seen".to_owned() } else { format!("{offset:.1} us at 0") };
    slope.is_finite().then(|| {
        format!(
            "- {}: {:.1} us a thousand, {fixed} (a straight line, to {worst:.0} %)\n",
            line.name,
            slope * 1e3
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use craftsman_kernelgen::roofline::Samples;

    #[test]
    fn a_straight_line_is_found() {
        let points = [1000.0, 2000.0, 5000.0].map(|x| (x, Samples::new(vec![3.0 + x / 100.0]).unwrap()));
        let line = Line { name: "avx2-i2s".to_owned(), points: points.to_vec() };
        assert_eq!(
            fit(&line).unwrap(),
            "- avx2-i2s: 10.0 us a thousand, 3.0 us at 0 (a straight line, to 0 %)\n"
        );
        assert_eq!(fit(&Line { points: Vec::new(), ..line }), None);
    }
}
