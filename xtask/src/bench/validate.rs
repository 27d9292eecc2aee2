//! What a line of a history must hold to be believed: files come from other machines and other people.

use craftsman_kernelgen::roofline::Samples;

use super::record::{FORMAT, Figure, Run};

/// More than any suite has.
const MAX_FIGURES: usize = 10_000;
/// Longer than any name.
const MAX_NAME: usize = 200;

/// What is wrong with a run, if anything is.
pub fn check(run: &Run) -> Result<(), String> {
    if run.format != FORMAT {
        return Err(format!(
            "format {}, where this program writes {FORMAT}; use the program that wrote it",
            run.format
        ));
    }
    if run.figures.len() > MAX_FIGURES {
        return Err(format!("{} figures, more than {MAX_FIGURES}", run.figures.len()));
    }
    let commit = run.commit.iter().map(|commit| ("commit", commit.as_str()));
    let mut head = commit.chain([("date", run.date.as_str()), ("brand", run.brand.as_str())]);
    head.try_for_each(|(what, text)| name(what, text))?;
    run.figures.iter().try_for_each(figure)
}

fn figure(figure: &Figure) -> Result<(), String> {
    let Figure { regime, way, config, reference, ratio, microseconds, beside, .. } = figure;
    for (what, text) in [("regime", regime), ("way", way), ("config", config), ("reference", reference)] {
        name(what, text)?;
    }
    spread(&figure.name(), ratio)?;
    spread(&figure.name(), microseconds)?;
    beside.iter().try_for_each(|(reference, values)| {
        name("reference", reference)?;
        spread(&figure.name(), values)
    })?;
    let mut rates = [figure.gmacs, figure.gbytes].into_iter().flatten();
    rates.try_for_each(|rate| positive(&figure.name(), rate))
}

/// Names are printed and become parts of pages: plain characters only.
fn name(what: &str, text: &str) -> Result<(), String> {
    let plain = |c: char| c == ' ' || (c.is_ascii_graphic() && !matches!(c, '<' | '>' | '&' | '"' | '\''));
    if text.len() > MAX_NAME || !text.chars().all(plain) {
        return Err(format!("a {what} of {} bytes with characters that no name has", text.len()));
    }
    Ok(())
}

fn spread(figure: &str, samples: &Samples) -> Result<(), String> {
    let values = [samples.min, samples.low, samples.median, samples.high, samples.max];
    values.into_iter().try_for_each(|value| positive(figure, value))?;
    if values.is_sorted() { Ok(()) } else { Err(format!("{figure}: quartiles out of order")) }
}

fn positive(figure: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(format!("{figure}: {value} is no measurement"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tests::run;

    #[test]
    fn what_no_run_writes_is_refused() {
        assert_eq!(check(&run(&[("a", 2.0)])), Ok(()));
        let refused = |change: fn(&mut Run)| {
            let mut run = run(&[("a", 2.0)]);
            change(&mut run);
            assert!(check(&run).is_err(), "{run:?}");
        };
        refused(|run| run.format += 1);
        refused(|run| run.commit = Some("\u{1b}[2J".to_owned()));
        refused(|run| run.figures[0].way = "<script>".to_owned());
        refused(|run| run.figures[0].way = "a".repeat(1000));
        refused(|run| run.figures[0].ratio.median = f64::NAN);
        refused(|run| run.figures[0].ratio.low = 0.0);
        refused(|run| run.figures[0].ratio.high = 1.0);
        refused(|run| run.figures[0].gmacs = Some(f64::INFINITY));
        refused(|run| run.figures = vec![run.figures[0].clone(); MAX_FIGURES + 1]);
    }
}
