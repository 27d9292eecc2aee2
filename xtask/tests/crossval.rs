//! The command where there is no Python: what is missing is said.

use std::process::Command;

#[test]
fn a_missing_interpreter_is_named_with_the_remedy() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command.args(["crossval", "--python", "no-such-python"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no-such-python") && said.contains("--python"), "{said}");
}
