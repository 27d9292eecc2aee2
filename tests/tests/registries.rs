//! Every file of a registry folder stands in the table beside it: adding one is one new file and one row.

use craftsman_tests::{entries, has_rust_extension, read};

/// A folder whose files are the rows of one table.
struct Registry {
    folder: &'static str,
    /// The file with the `mod` lines and the table.
    table: &'static str,
    /// Files of the folder that are no rows, each with its reason.
    others: &'static [(&'static str, &'static str)],
}

const REGISTRIES: &[Registry] = &[
    Registry { folder: "golden/src/format", table: "golden/src/format/mod.rs", others: &[] },
    Registry { folder: "kernelgen/src/family", table: "kernelgen/src/family/mod.rs", others: &[] },
    Registry { folder: "kernelgen/src/backend", table: "kernelgen/src/backend/mod.rs", others: &[] },
    Registry {
        folder: "runtime/model/src/architecture",
        table: "runtime/model/src/architecture/mod.rs",
        others: &[],
    },
    Registry { folder: "isa/src/recorded", table: "isa/src/recorded/mod.rs", others: &[] },
];

/// The names among `modules` that `table` does not both declare (`mod name;`) and use (`name::`).
fn missing_rows<'a>(modules: &[&'a str], table: &str) -> Vec<&'a str> {
    let declared = |name: &str| table.contains(&format!("mod {name};"));
    let used = |name: &str| {
        let path = format!("{name}::");
        table
            .match_indices(&path)
            .any(|(at, _)| !table[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    modules.iter().copied().filter(|name| !(declared(name) && used(name))).collect()
}

/// The names of the modules of a folder: `name.rs` and `name/`, but for the table itself.
fn modules(registry: &Registry) -> Vec<String> {
    let names =
        entries(registry.folder).into_iter().filter(|name| !registry.table.ends_with(&format!("/{name}")));
    let names = names.filter(|name| has_rust_extension(name) || !name.contains('.'));
    names.map(|name| name.trim_end_matches(".rs").to_string()).collect()
}

#[test]
fn every_file_of_a_registry_folder_is_in_its_table() {
    let mut problems = Vec::new();
    for registry in REGISTRIES {
        let all = modules(registry);
        if all.is_empty() {
            problems.push(format!("{}: no modules found", registry.folder));
            continue;
        }
        let is_other = |name: &str| registry.others.iter().any(|(other, _)| *other == name);
        let rows: Vec<&str> = all.iter().map(String::as_str).filter(|name| !is_other(name)).collect();
        let missing = missing_rows(&rows, &read(registry.table));
        problems.extend(missing.iter().map(|name| format!("{}: no row for {name}", registry.table)));
        let stale = registry.others.iter().filter(|(other, _)| !all.iter().any(|name| name == other));
        problems.extend(stale.map(|(other, _)| format!("{}: {other} is excused but gone", registry.folder)));
    }
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn a_planted_file_without_a_row_is_found() {
    let table = "mod one;\nmod two;\nmod three;\npub static ALL: &[&dyn Row] = &[&one::One, &thirtytwo::Two, &three::T];";
    assert_eq!(missing_rows(&["one", "two", "three", "four"], table), ["two", "four"]);
}
