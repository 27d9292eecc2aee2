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

/// Three digits of a positive number: 1.23, 12.3, 123.
pub fn three(value: f64) -> String {
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(
            [three(1.234), three(9.999), three(12.34), three(99.96), three(1234.5)],
            ["1.23", "10.0", "12.3", "100", "1234"]
        );
    }
}
