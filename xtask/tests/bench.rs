//! The command end to end: a slow-down that was planted is found and named.

use std::path::Path;
use std::process::{Command, Output};

fn bench(history: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["bench", arguments[0], "--history"]).arg(history).args(&arguments[1..]);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_planted_slow_down_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (run, planted) = (["run", "--short"], "short-decode portable-i2s=20");
    let first = bench(folder.path(), &run);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    for regime in
        ["short-decode", "short-decode-2t", "short-prefill", "short-layer", "short-gated", "short-emit"]
    {
        assert!(text(&first).contains(regime), "{}", text(&first));
    }
    let second = bench(folder.path(), &[&run[..], &["--plant-slowdown", planted, "--json"]].concat());
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    let json: serde_json::Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(json["figures"][0]["regime"], "short-decode");

    let compared = bench(folder.path(), &["compare"]);
    assert_eq!(compared.status.code(), Some(3), "{}", text(&compared));
    assert!(text(&compared).contains("short-decode portable-i2s, built alike"), "{}", text(&compared));
    let page = folder.path().join("page.html");
    let drawn = bench(folder.path(), &["report", "--out", page.to_str().unwrap()]);
    assert_eq!(drawn.status.code(), Some(0), "{}", text(&drawn));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<tr class=\"slower\"><td>short-decode portable-i2s"), "{page}");
    assert!(page.matches("<svg").count() == 6 && page.ends_with("</html>\n"), "{page}");

    let json = bench(folder.path(), &["compare", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let changes = json["changes"].as_array().unwrap();
    let planted = changes.iter().find(|change| change["figure"] == "short-decode portable-i2s").unwrap();
    assert_eq!(planted["verdict"], "slower");
}

#[test]
fn growth_writes_a_page_and_its_plots() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command.args(["bench", "growth", "--short", "--out"]).arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let page = std::fs::read_to_string(folder.path().join("growth.md")).unwrap();
    for name in ["k", "m", "n", "threads", "working-set"] {
        let plot = format!("plots/growth-{name}.svg");
        assert!(page.contains(&plot), "{page}");
        assert!(std::fs::read_to_string(folder.path().join(plot)).unwrap().ends_with("</svg>\n"));
    }
}

#[test]
fn what_cannot_be_done_says_what_can() {
    let folder = tempfile::tempdir().unwrap();
    let expect = |arguments: &[&str], code: i32, remedy: &str| {
        let output = bench(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(remedy), "{}", text(&output));
    };
    expect(&["report"], 2, "cargo xtask bench run");
    expect(&["compare"], 2, "cargo xtask bench run");
    expect(&["run", "--only", "nonsense"], 2, "decode-dram");
    expect(&["run", "--short", "--only", "short-layer"], 0, "Appended to");
    expect(&["compare", "nonsense"], 2, "the latest are");
    let file = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|ext| ext == "jsonl")).unwrap();
    std::fs::write(&file, "{\"format\":99}\n").unwrap();
    expect(&["compare"], 1, "line 1");
}

#[test]
#[cfg(not(feature = "peers"))]
fn whole_models_want_the_build_with_peers() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["bench", "models"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("cargo xtask-peers bench models"), "{}", text(&output));
}
