//! What to tune.

use std::io::Read;
use std::path::Path;

use craftsman_kernelgen::KernelKey;

use crate::Failure;

/// Projections of a 2B model, of a 4x larger one, and an expert: `rows x columns` and how weights are scaled.
const SHAPES: [(&str, &str); 6] = [
    ("2560x2560", "tensor"),
    ("640x2560", "tensor"),
    ("6912x2560", "tensor"),
    ("2560x6912", "tensor"),
    ("1024x2048", "row"),
    ("4096x14336", "tensor"),
];
const BATCHES: [&str; 3] = ["decode", "small", "prefill"];

/// A list of keys longer than this is no list of keys.
const LIMIT: u64 = 1 << 20;

/// Without anything asked for: what common models consist of.
pub(super) fn standard() -> Result<Vec<KernelKey>, Failure> {
    let names =
        SHAPES.iter().flat_map(|(shape, scales)| BATCHES.map(|batch| format!("{shape}-{batch}-{scales}-a8")));
    let keys: Result<_, _> = names.map(|name| name.parse::<KernelKey>()).collect();
    keys.map_err(|error| Failure::Usage(error.to_string()))
}

/// The keys of a list: one a line, empty lines and those that begin with `#` left out.
pub(super) fn read(path: &Path) -> Result<Vec<KernelKey>, Failure> {
    let failed = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::InvalidData { HINT } else { "" };
        Failure::File(format!("cannot read {}: {error}{hint}", path.display()))
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(LIMIT).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_string(&mut text))
    };
    read.map_err(failed)?;
    parse(&text, &path.display().to_string())
}

const HINT: &str = "; a model file itself is read by `craftsman inspect MODEL --keys`, which prints the list";

fn parse(text: &str, name: &str) -> Result<Vec<KernelKey>, Failure> {
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key =
            line.parse().map_err(|error| Failure::File(format!("{name}, line {number}: {error}{HINT}")))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() { Err(Failure::File(format!("{name}: no key in it{HINT}"))) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_set_parses() {
        assert_eq!(standard().unwrap().len(), SHAPES.len() * BATCHES.len());
    }

    #[test]
    fn a_list_is_read_line_by_line() {
        let text = "# a model\n\n 64x96-decode-row-a8 \n64x96-prefill-row-a8\n64x96-decode-row-a8\n";
        assert_eq!(parse(text, "list").unwrap().len(), 2);
        let Err(Failure::File(said)) = parse("64x96-decode-row-a8\nGGUF", "list") else { panic!() };
        assert!(said.starts_with("list, line 2") && said.contains("craftsman inspect"), "{said}");
        assert!(parse("\n", "list").is_err());
    }
}
