//! Every file of a registry folder stands in the table beside it: adding one is one new file and one row.

use craftsman_tests::{entries, read};

/// A folder whose files are the rows of one table.
struct Registry {
    folder: &'static str,
    /// The file with the table.
    table: &'static str,
    rows: Rows,
}

/// What a row of a table looks like.
#[derive(Clone, Copy)]
enum Rows {
    /// Files and folders of Rust: `mod name;`, and `name::` in the table.
    Modules,
    /// Data files with this extension: `"name"` in the table.
    Data(&'static str),
}

const REGISTRIES: &[Registry] = &[
    registry("golden/src/format", "golden/src/format/mod.rs", Rows::Modules),
    registry("golden/src/quants", "golden/src/quants/mod.rs", Rows::Modules),
    registry("kernelgen/src/family", "kernelgen/src/family/mod.rs", Rows::Modules),
    registry("kernelgen/src/backend", "kernelgen/src/backend/mod.rs", Rows::Modules),
    registry("runtime/model/src/architecture", "runtime/model/src/architecture/mod.rs", Rows::Modules),
    registry("isa/src/recorded", "isa/src/recorded/mod.rs", Rows::Data("json")),
];

const fn registry(folder: &'static str, table: &'static str, rows: Rows) -> Registry {
    Registry { folder, table, rows }
}

impl Rows {
    /// The name of the row that a file or folder needs; `None` of what is no row.
    fn name(self, entry: &str) -> Option<&str> {
        match (self, entry.rsplit_once('.')) {
            // A module's tests are no row of it.
            (Self::Modules, Some(("mod" | "tests", "rs"))) | (Self::Data(_), None) => None,
            (Self::Modules, Some((name, "rs"))) => Some(name),
            (Self::Modules, None) => Some(entry),
            (Self::Data(wanted), Some((name, extension))) => (extension == wanted).then_some(name),
            (Self::Modules, Some(_)) => None,
        }
    }

    /// Whether `table` has a row called `name`.
    fn has(self, table: &str, name: &str) -> bool {
        match self {
            Self::Modules => table.contains(&format!("mod {name};")) && uses(table, name),
            Self::Data(_) => table.contains(&format!("\"{name}\"")),
        }
    }

    /// The names among `entries` that `table` has no row for. Tests below the table do not count as rows.
    fn missing<'a>(self, entries: &'a [String], table: &str) -> Vec<&'a str> {
        let table = table.split("#[cfg(test)]").next().unwrap_or_default();
        let names = entries.iter().filter_map(|entry| self.name(entry));
        names.filter(|name| !self.has(table, name)).collect()
    }
}

/// Whether `name::` stands in `text` as a word of its own.
fn uses(text: &str, name: &str) -> bool {
    let part_of_a_word = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    text.match_indices(&format!("{name}::")).any(|(at, _)| !part_of_a_word(&text[..at]))
}

#[test]
fn every_file_of_a_registry_folder_is_in_its_table() {
    let mut problems = Vec::new();
    for Registry { folder, table, rows } in REGISTRIES {
        let files = entries(folder);
        if !files.iter().any(|file| rows.name(file).is_some()) {
            problems.push(format!("{folder}: nothing in this folder"));
        }
        let missing = rows.missing(&files, &read(table)).into_iter();
        problems.extend(missing.map(|name| format!("{table}: no row for {name}")));
    }
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn a_planted_file_without_a_row_is_found() {
    let files =
        ["mod.rs", "tests.rs", "one.rs", "two", "three.rs", "four.rs", "notes.md"].map(str::to_string);
    let table = "mod one;\nmod two;\nmod three;\nstatic ALL: &[&dyn Row] = &[&one::One, &thirtytwo::Two, &three::T];\n\
                 #[cfg(test)]\nmod four;\nfour::F";
    assert_eq!(Rows::Modules.missing(&files, table), ["two", "four"]);
    let files = ["mod.rs", "zen2.json", "zen4.json"].map(str::to_string);
    assert_eq!(Rows::Data("json").missing(&files, "machines! { \"zen2\" }"), ["zen4"]);
}
