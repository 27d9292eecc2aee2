//! Tables and progress for people.

use std::io::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;

/// A table whose columns but the first `left` are aligned to the right.
pub fn table(header: &[&str], left: usize, rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A bar on standard error where a person can see it; nothing anywhere else.
pub fn bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<36} [{wide_bar}] {percent:>3} % {elapsed}");
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Prints to standard output. A reader that stops reading (`... | head`) is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Broken(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Three digits of a positive number: 0.0123, 1.23, 12.3, 123.
pub fn three(value: f64) -> String {
    let magnitude = if value > 0.0 { value.log10().floor() } else { 0.0 };
    // What rounds up to the next power of ten needs a digit less.
    let magnitude = if value / 10_f64.powf(magnitude) >= 9.995 { magnitude + 1.0 } else { magnitude };
    format!("{value:.*}", (2.0 - magnitude).clamp(0.0, 6.0) as usize)
}

/// As [`three`], without zeros that say nothing: for axes.
pub fn trimmed(value: f64) -> String {
    let text = three(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.01234, "0.0123"),
            (0.9999, "1.00"),
            (1.234, "1.23"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (99.96, "100"),
            (1234.5, "1234"),
        ] {
            assert_eq!(three(value), text);
        }
        assert_eq!([0.0, 20.0, 0.5, 100.0].map(trimmed), ["0", "20", "0.5", "100"]);
    }
}
