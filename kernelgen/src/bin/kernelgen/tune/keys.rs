//! What to tune.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

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

/// The keys of a model, or of a list: one a line, empty lines and those that begin with `#` left out.
pub(super) fn read(path: &Path) -> Result<Vec<KernelKey>, Failure> {
    if is_model(path) {
        return parse(&ask_craftsman(path)?, &path.display().to_string());
    }
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

/// Whether this is no list: a folder, or a file that begins as GGUF does.
fn is_model(path: &Path) -> bool {
    let begins = |mut file: std::fs::File| {
        let mut magic = [0; 4];
        file.read_exact(&mut magic).is_ok_and(|()| magic == *b"GGUF")
    };
    path.is_dir() || (path.is_file() && std::fs::File::open(path).is_ok_and(begins))
}

/// What a model consists of `craftsman` knows: the one beside this program, or else the one on the `PATH`.
fn ask_craftsman(model: &Path) -> Result<String, Failure> {
    let name = format!("craftsman{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().map(|this| this.with_file_name(&name));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| name.into());
    let failed = |what: String| {
        Failure::File(format!(
            "cannot read {} by {} inspect --keys: {what}",
            model.display(),
            program.display()
        ))
    };
    let mut command = Command::new(&program);
    command.arg("inspect").arg("--keys").arg("--").arg(model).stdin(Stdio::null());
    let output = command.output().map_err(|error| failed(format!("{error}{INSTALL}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(said.trim().trim_start_matches("error: ").to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}

const INSTALL: &str = "; `craftsman` must be installed beside `kernelgen` or on the PATH";
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
    fn a_model_is_told_from_a_list() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_model(folder.path()));
        for (content, model) in [("GGUF\u{3}", true), ("64x96-decode-row-a8", false), ("", false)] {
            let path = folder.path().join("it");
            std::fs::write(&path, content).unwrap();
            assert_eq!(is_model(&path), model, "{content}");
        }
        assert!(!is_model(Path::new("-")));
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
