//! Tables and quantities for people.

use comfy_table::{CellAlignment, Table, presets};

/// A table with a header, whose columns in `right` are aligned to the right.
pub fn table(header: &[&str], right: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// `count` bytes in the largest binary unit below it, to three digits.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.2} {}", UNITS[unit]) }
}

/// `count` with a decimal unit: 5.80 M, 2.41 B.
pub fn count(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.2} K", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} M", count as f64 / 1e6),
        _ => format!("{:.2} B", count as f64 / 1e9),
    }
}

/// The dimensions of a tensor: `2560 x 6912`.
pub fn shape(dimensions: &[usize]) -> String {
    dimensions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
}

/// `text` cut to `width` characters, and on one line: control characters are shown as escapes.
pub fn short(text: &str, width: usize) -> String {
    let visible = |c: char| if c.is_control() { c.escape_default().collect() } else { vec![c] };
    let line: String = text.chars().flat_map(visible).take(width + 1).collect();
    if line.chars().count() <= width { line } else { line.chars().take(width - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        assert_eq!([bytes(12), bytes(1536), bytes(3 << 30)], ["12 B", "1.50 KiB", "3.00 GiB"]);
        assert_eq!([count(999), count(5_800_000), count(2_412_820_480)], ["999", "5.80 M", "2.41 B"]);
        assert_eq!(shape(&[2, 3]), "2 x 3");
        assert_eq!([short("a\nb", 9), short("abcdef", 4)], ["a\\nb", "abc…"]);
    }

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let text =
            table(&["name", "n"], &[1], [vec!["a".into(), "1".into()], vec!["b".into(), "100".into()]]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].trim_end().ends_with("  1") && lines[2].trim_end().ends_with("100"), "{text}");
    }
}
