//! Dependencies between our crates point one way: `golden, isa <- kernelgen <- model <- eval, train <- craftsman`.
//!
//! Read from `cargo metadata`, all kinds of dependency (normal, dev, build) alike: an oracle that shares code with
//! what it judges proves nothing, in tests neither.

use cargo_metadata::MetadataCommand;

/// Each crate of the workspace and the crates of the workspace that it may use. A new crate needs its row.
const MAY_USE: &[(&str, &[&str])] = &[
    ("craftsman-golden", &[]),
    ("craftsman-isa", &[]),
    ("craftsman-kernelgen", &["craftsman-golden", "craftsman-isa"]),
    ("craftsman-model", &["craftsman-golden", "craftsman-isa", "craftsman-kernelgen"]),
    ("craftsman-eval", &["craftsman-golden", "craftsman-isa", "craftsman-kernelgen", "craftsman-model"]),
    (
        "craftsman-train",
        &["craftsman-eval", "craftsman-golden", "craftsman-isa", "craftsman-kernelgen", "craftsman-model"],
    ),
    (
        "craftsman",
        &[
            "craftsman-eval",
            "craftsman-golden",
            "craftsman-isa",
            "craftsman-kernelgen",
            "craftsman-model",
            "craftsman-train",
        ],
    ),
    ("craftsman-benches", LIBRARIES),
    ("craftsman-tests", LIBRARIES),
    ("craftsman-xtask", &["craftsman-benches", "craftsman-isa", "craftsman-kernelgen"]),
];

const LIBRARIES: &[&str] = &[
    "craftsman",
    "craftsman-eval",
    "craftsman-golden",
    "craftsman-isa",
    "craftsman-kernelgen",
    "craftsman-model",
    "craftsman-train",
];

/// A crate and a crate of the same workspace that it depends on.
type Arrow = (String, String);

/// What is wrong with `arrows`: a crate without a row, or an arrow its row does not allow.
fn wrong_arrows(crates: &[String], arrows: &[Arrow]) -> Vec<String> {
    let row = |name: &str| MAY_USE.iter().find(|(from, _)| *from == name);
    let unknown = crates.iter().filter(|name| row(name).is_none());
    let unknown = unknown.map(|name| format!("{name} has no row in MAY_USE"));
    let turned =
        arrows.iter().filter(|(from, to)| row(from).is_some_and(|(_, may)| !may.contains(&to.as_str())));
    unknown.chain(turned.map(|(from, to)| format!("{from} may not depend on {to}"))).collect()
}

/// The crates of this workspace and the arrows between them.
fn workspace_arrows() -> (Vec<String>, Vec<Arrow>) {
    let manifest = craftsman_tests::workspace().join("Cargo.toml");
    let metadata =
        MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata runs");
    let crates: Vec<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let arrows = metadata.packages.iter().flat_map(|package| {
        let inside = package.dependencies.iter().filter(|dependency| crates.contains(&dependency.name));
        inside.map(|dependency| (package.name.to_string(), dependency.name.clone())).collect::<Vec<_>>()
    });
    let arrows = arrows.collect();
    (crates, arrows)
}

#[test]
fn arrows_between_crates_point_one_way() {
    let (crates, arrows) = workspace_arrows();
    assert!(arrows.len() >= 6, "cargo metadata named too few arrows to be believed: {arrows:?}");
    assert_eq!(wrong_arrows(&crates, &arrows), Vec::<String>::new());
}

#[test]
fn a_planted_wrong_arrow_is_found() {
    let (mut crates, mut arrows) = workspace_arrows();
    arrows.push(("craftsman-golden".into(), "craftsman-isa".into()));
    arrows.push(("craftsman-kernelgen".into(), "craftsman-model".into()));
    crates.push("craftsman-newcomer".into());
    let wrong = wrong_arrows(&crates, &arrows);
    assert_eq!(
        wrong,
        [
            "craftsman-newcomer has no row in MAY_USE",
            "craftsman-golden may not depend on craftsman-isa",
            "craftsman-kernelgen may not depend on craftsman-model",
        ]
    );
}
