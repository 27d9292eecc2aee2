//! The `craftsman` command as a user meets it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use craftsman::eval::{PerplexityOptions, perplexity};
use safetensors::SafeTensors;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/ternary/bitnet")
}

fn carried_file() -> String {
    format!("{}/assets/python-5m-i2_s.gguf", env!("CARGO_MANIFEST_DIR"))
}

/// The command with a clean environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_craftsman"));
    for variable in ["CRAFTSMAN_MAX_ISA", "CRAFTSMAN_LOG", "CRAFTSMAN_MODEL"] {
        command.env_remove(variable);
    }
    command.args(arguments);
    command
}

fn craftsman(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary runs")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("standard output is UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("standard error is UTF-8")
}

fn json(arguments: &[&str]) -> Value {
    let output = craftsman(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

/// Asserts that a command fails with `code`, says all of `words`, and does not panic.
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = craftsman(arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert_eq!(stdout(&output), "", "{arguments:?}");
    assert!(message.starts_with("error: "), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: no {word:?} in {message}");
    }
}

/// The reference's greedy tokens: prompt and continuation.
fn reference_greedy() -> Vec<u64> {
    let bytes = std::fs::read(fixtures().join("reference.safetensors")).expect("the fixture is there");
    let tensors = SafeTensors::deserialize(&bytes).expect("the fixture is a safetensors file");
    let greedy = tensors.tensor("greedy").expect("the fixture has `greedy`");
    let (ids, _) = greedy.data().as_chunks::<4>();
    ids.iter().map(|&id| u64::from(u32::from_le_bytes(id))).collect()
}

const TEXT: &str =
    "def __init__(self, ):\n    \"\"\"Return a new name of the module.\"\"\"\n    return self.name\n";

#[test]
fn the_first_command_of_the_readme_prints_the_reference_text() {
    let output = craftsman(&["run", "-n", "40"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).starts_with(TEXT), "{}", stdout(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn greedy_tokens_are_those_of_the_reference() {
    let reference = reference_greedy();
    let report = json(&["run", "-n", "32", "--json"]);
    let prompt = report["prompt_tokens"].as_u64().expect("a count") as usize;
    let tokens: Vec<u64> =
        report["tokens"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    assert_eq!(tokens[..reference.len() - prompt], reference[prompt..]);
}

#[test]
fn threads_and_instruction_sets_do_not_show_in_the_text() {
    let arguments = ["run", "-n", "24", "--temperature", "0.9", "--seed", "3"];
    let one = craftsman(&[&arguments[..], &["--threads", "1"]].concat());
    assert!(one.status.success(), "{}", stderr(&one));
    let two = craftsman(&[&arguments[..], &["--threads", "2"]].concat());
    assert_eq!(stdout(&one), stdout(&two));
    for tier in ["portable", "avx2"] {
        let capped = command(&arguments).env("CRAFTSMAN_MAX_ISA", tier).output().expect("the binary runs");
        assert_eq!(stdout(&one), stdout(&capped), "{tier}");
    }
}

#[test]
fn a_model_without_a_prompt_continues_the_sample() {
    let named = craftsman(&["run", &carried_file(), "-n", "8"]);
    let carried = craftsman(&["run", "-n", "8"]);
    assert_eq!((named.status.code(), stdout(&named)), (Some(0), stdout(&carried)));
}

#[test]
fn seeds_draw_other_texts() {
    let text =
        |seed| json(&["run", "-n", "24", "--temperature", "1.5", "--seed", seed, "--json"])["text"].clone();
    assert_eq!(text("1"), text("1"));
    assert_ne!(text("1"), text("2"));
}

#[test]
fn a_stop_string_ends_the_text_before_itself() {
    let report = json(&["run", "--stop", "\\n    return", "--json"]);
    let text = report["text"].as_str().expect("text");
    assert!(text.ends_with("\"\"\"") && !text.contains("return self"), "{text}");
    assert!(report["finish"].as_str().expect("text").contains("stop string"));
}

#[test]
fn verbose_names_rates_and_kernels() {
    let output = craftsman(&["run", "-n", "4", "-v"]);
    for word in ["tokens/s", "decode", "prefill", "-small-"] {
        assert!(stderr(&output).contains(word), "no {word} in {}", stderr(&output));
    }
}

/// What `craftsman chat --json` answers to lines.
fn chat(arguments: &[&str], lines: &str) -> Vec<Value> {
    let folder = fixtures().join("../../arch/glm4_moe_lite");
    let mut command = command(&["chat", folder.to_str().unwrap(), "--json", "-n", "6"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_conversation_goes_on_where_it_was() {
    let answers = chat(&[], "Hello\n\nAnd then?\n/reset\nHello\n/exit\nnever read\n");
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0]["content"], answers[2]["content"]);
    // The second turn was read behind the first, which was known but for what merges at the end of the prompt.
    let count = |answer: &Value, key: &str| answer[key].as_u64().unwrap();
    assert!(count(&answers[1], "kept_tokens") + 2 >= count(&answers[0], "prompt_tokens"), "{answers:?}");
    assert!(count(&answers[1], "prompt_tokens") > count(&answers[1], "kept_tokens"), "{answers:?}");
    let told = chat(&["--system", "Be brief."], "Hello\n");
    assert!(count(&told[0], "prompt_tokens") > count(&answers[0], "prompt_tokens"), "{told:?}");
}

#[test]
fn a_model_that_cannot_talk_says_so() {
    fails(&["chat", &carried_file()], 1, &["no chat template", "craftsman run"]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    fails(&["run", "no-such-file.gguf", "x"], 1, &["no-such-file.gguf"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let damaged = folder.path().join("damaged.gguf");
    let bytes = std::fs::read(carried_file()).expect("the carried model");
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).expect("a file is written");
    let damaged = damaged.to_str().expect("a UTF-8 path");
    for command in ["inspect", "bench"] {
        fails(&[command, damaged], 1, &["damaged.gguf"]);
    }
    fails(&["run", folder.path().to_str().expect("a UTF-8 path"), "x"], 1, &["damaged.gguf", "byte"]);
    let empty = tempfile::tempdir().expect("a temporary folder");
    fails(&["run", empty.path().to_str().expect("a UTF-8 path"), "x"], 1, &["config.json", "GGUF file"]);
}

#[test]
fn command_lines_that_make_no_sense_exit_with_2() {
    let model = carried_file();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("logits.safetensors");
    let out = out.to_str().expect("a UTF-8 path");
    fails(&["run", "--temperature", "-1"], 2, &["-1"]);
    fails(&["run", "--top-p", "7"], 2, &["top-p"]);
    fails(&["logits", &model, "--tokens", "1,x", "--out", out], 2, &["x"]);
    fails(&["logits", &model, "--tokens", "4096", "--out", out], 2, &["4096"]);
    fails(&["generate-model", "--shape", "9b", "--out", out], 2, &["2b-4t"]);
    assert!(!Path::new(out).exists(), "a failed command leaves a file");
    let output = command(&["run"]).env("CRAFTSMAN_MAX_ISA", "sse9").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("CRAFTSMAN_MAX_ISA"));
}

#[test]
fn the_logits_file_holds_the_library_s_logits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("logits.safetensors");
    let tokens = [0, 317, 468, 599, 519];
    let list = tokens.map(|token: u32| token.to_string()).join(",");
    let path = out.to_str().expect("a UTF-8 path");
    let output = craftsman(&["logits", &carried_file(), "--tokens", &list, "--out", path]);
    assert!(output.status.success(), "{}", stderr(&output));

    let checkpoint = craftsman::carried_model().expect("the carried model opens");
    let model = craftsman::Model::load(&checkpoint, &craftsman::LoadOptions::default()).expect("it loads");
    let expected = model.session().logits_all(&tokens).expect("it runs");
    let bytes = std::fs::read(out).expect("the file is there");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let logits = file.tensor("logits").expect("`logits`");
    assert_eq!(logits.shape(), [tokens.len(), model.config().vocab]);
    let expected: Vec<u8> = expected.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    assert!(logits.data() == expected, "the file differs from the library");
}

#[test]
fn inspect_tells_what_is_in_the_file() {
    let report = json(&["inspect", "--json"]);
    assert_eq!(report["architecture"], "bitnet-b1.58");
    let tensors = report["tensors"].as_array().expect("a list");
    assert!(
        tensors.iter().any(|tensor| tensor["name"] == "blk.5.ffn_down.weight" && tensor["type"] == "I2_S")
    );
    assert_eq!(report["metadata"]["bitnet-b1.58.embedding_length"], 256);
    assert_eq!(report["kernels"].as_array().expect("a list").len(), 12, "four shapes, three batch classes");
    let output = craftsman(&["inspect", &carried_file()]);
    for word in ["token_embd.weight", "4096 x 256", "I2_S", "256x768-decode"] {
        assert!(stdout(&output).contains(word), "no {word} in {}", stdout(&output));
    }
}

#[test]
fn inspect_shows_where_tokens_are_routed() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/arch/qwen3_moe/model-f16.gguf")
        .display()
        .to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("experts.svg").display().to_string();
    let report = json(&["inspect", &model, "--experts", "def f(x):", "-n", "3", "--out", &out, "--json"]);
    assert_eq!([&report["experts"], &report["experts_used"]], [8, 2]);
    let layers = report["layers"].as_array().expect("a list");
    let chosen = |layer: &Value| -> u64 {
        layer["load"].as_array().expect("a list").iter().filter_map(Value::as_u64).sum()
    };
    let tokens = report["tokens"].as_u64().expect("a number");
    assert!(layers.len() == 2 && layers.iter().all(|layer| chosen(layer) == 2 * tokens), "{report}");
    let svg = std::fs::read_to_string(&out).expect("the picture is there");
    assert_eq!(svg.matches("<title>").count(), 16, "two layers of eight experts");
    let output = craftsman(&["inspect", &model, "--experts", "def f(x):"]);
    for word in ["2 of 8 experts", "balance loss", "packed"] {
        assert!(stdout(&output).contains(word), "no {word} in {}", stdout(&output));
    }
    fails(&["inspect", "--experts", "def f(x):"], 2, &["no experts"]);
    fails(&["inspect", &model, "--out", &out], 2, &["--experts"]);
    let output = craftsman(&["run", &model, "def", "-n", "2", "-v", "--resident"]);
    assert!(stderr(&output).contains("16 of 16 packed"), "{}", stderr(&output));
}

#[test]
fn bench_reports_rates_and_bandwidth() {
    let report = json(&["bench", "-p", "8", "-n", "4", "-r", "1", "--json"]);
    let tests = report["tests"].as_array().expect("a list");
    assert_eq!([&tests[0]["name"], &tests[1]["name"]], ["pp 8", "tg 4"]);
    assert!(
        tests.iter().all(|test| test["tokens_per_second"]["median"].as_f64().is_some_and(|rate| rate > 0.0))
    );
    assert!(report["memory_bandwidth"]["median"].as_f64().is_some_and(|rate| rate > 1e8));
    assert!(report["byte_products"]["median"].as_f64().is_some_and(|rate| rate > 1e8));
}

#[test]
fn a_generated_model_runs_and_depends_on_its_seed_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, shape: &str, format: &str, seed: &str| {
        let path = folder.path().join(name).to_str().expect("a UTF-8 path").to_string();
        let arguments =
            ["generate-model", "--shape", shape, "--format", format, "--seed", seed, "--out", &path];
        let output = craftsman(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        path
    };
    let bytes = |path: &str| std::fs::read(path).expect("the file is there");
    let model = write("a.gguf", "bitnet-tiny", "i2_s", "1");
    assert!(bytes(&model) == bytes(&write("b.gguf", "bitnet-tiny", "i2_s", "1")), "same seed, other bytes");
    assert!(bytes(&model) != bytes(&write("c.gguf", "bitnet-tiny", "i2_s", "2")), "other seed, same bytes");
    let others = ["qwen3moe-tiny", "llama-tiny", "olmoe-tiny"];
    let others = others.map(|shape| write(&format!("{shape}.gguf"), shape, "tq2_0", "1"));
    for path in others.into_iter().chain([model]) {
        let output = craftsman(&["run", &path, "abc", "-n", "3"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

#[test]
fn a_converted_model_gives_the_same_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a UTF-8 path").to_string();
    let (tq2, back) = (path("tq2_0.gguf"), path("i2_s.gguf"));
    let report = json(&["convert", &carried_file(), &tq2, "--type", "TQ2_0", "--json"]);
    assert_eq!([&report["converted"], &report["kept"]], [42, 26]);
    let output = craftsman(&["convert", &tq2, &back, "--type", "i2_s"]);
    assert!(
        output.status.success() && stderr(&output).contains("42 tensors converted"),
        "{}",
        stderr(&output)
    );
    let carried = craftsman(&["run", "-n", "24"]);
    for model in [&tq2, &back] {
        assert_eq!(stdout(&craftsman(&["run", model, "-n", "24"])), stdout(&carried));
    }
    fails(&["convert", &carried_file(), &path("x.gguf"), "--type", "q5_k"], 2, &["q5_k", "TQ2_0"]);
    fails(&["convert", &tq2, &tq2, "--type", "i2_s"], 2, &["is the model that is converted"]);
    assert!(!Path::new(&path("x.gguf")).exists());
}

#[test]
fn perplexity_is_the_library_s() {
    let text = fixtures().join("val.txt");
    let text = text.to_str().expect("a UTF-8 path");
    let arguments = ["eval", "perplexity", &carried_file(), text, "--window", "64", "--max-windows", "5"];
    let report = json(&[&arguments[..], &["--json"]].concat());

    let checkpoint = craftsman::carried_model().expect("the carried model opens");
    let tokenizer = craftsman::Tokenizer::from_checkpoint(&checkpoint).expect("it has a tokenizer");
    let model = craftsman::Model::load(&checkpoint, &craftsman::LoadOptions::default()).expect("it loads");
    let content = std::fs::read_to_string(text).expect("the text is there");
    let tokens = tokenizer
        .encode(content.strip_suffix('\n').unwrap_or(&content), tokenizer.add_bos())
        .expect("it is encoded");
    let begin = tokenizer.bos().filter(|_| tokenizer.add_bos());
    let options = PerplexityOptions { window: 64, begin, max_windows: Some(5), ..Default::default() };
    let expected = perplexity(&model, &tokens, &options).expect("it runs");
    assert_eq!(report["perplexity"], expected.value);
    assert_eq!(report["uncertainty"], expected.uncertainty.expect("tokens differ"));
    assert_eq!([&report["tokens"], &report["windows"]], [155, 5]);
    assert_eq!(report["running"][4], expected.value);

    let output = craftsman(&arguments);
    let line = format!("perplexity  {:.4} +/- ", expected.value);
    assert!(stdout(&output).starts_with(&line), "{}", stdout(&output));
    let all = json(&[&arguments[..], &["--json", "--scored", "all"]].concat());
    assert_eq!([&all["tokens"], &all["scored"]], [&Value::from(315), &Value::from("all")]);
    fails(&["eval", "perplexity", &carried_file(), text, "--window", "100000"], 2, &["context"]);
    fails(&["eval", "perplexity", &carried_file(), &carried_file()], 2, &["not UTF-8 at byte"]);
    fails(&["eval", "perplexity", &carried_file(), "no-such-text"], 1, &["no-such-text"]);
}

#[test]
fn models_are_found_by_name_and_pinned_by_digest() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("models")).expect("a folder is made");
    std::fs::copy(carried_file(), folder.path().join("models/tiny.gguf")).expect("a file is copied");
    let run = |arguments: &[&str], variable: Option<&str>| {
        let mut command = command(arguments);
        command.current_dir(folder.path()).env("HF_HUB_CACHE", folder.path().join("hub"));
        command.envs(variable.map(|model| ("CRAFTSMAN_MODEL", model)));
        command.output().expect("the binary runs")
    };
    let named = run(&["run", "tiny", "import", "-n", "4", "--json"], None);
    assert!(named.status.success(), "{}", stderr(&named));
    let by_default = run(&["inspect", "--json"], Some("tiny"));
    let report: Value = serde_json::from_slice(&by_default.stdout).expect("JSON on standard output");
    assert_eq!(report["path"], "models/tiny.gguf");
    let missing = run(&["run"], Some("huge"));
    assert_eq!(missing.status.code(), Some(1));
    for word in ["CRAFTSMAN_MODEL", "models/huge.gguf", "hub/models--huge", "craftsman/models/huge"] {
        assert!(stderr(&missing).contains(word), "no {word} in {}", stderr(&missing));
    }

    let printed = run(&["inspect", "tiny", "--digest"], None);
    let (digest, name) = stdout(&printed).split_once("  ").expect("digest and name");
    assert_eq!((digest.len(), name), (64, "models/tiny.gguf\n"));
    let pinned = run(&["run", "tiny", "-n", "1", "--sha256", digest], None);
    assert!(pinned.status.success(), "{}", stderr(&pinned));
    let other = "0".repeat(64);
    let refused = run(&["run", "tiny", "-n", "1", "--sha256", &other], None);
    assert_eq!((refused.status.code(), stdout(&refused)), (Some(1), ""));
    assert!(stderr(&refused).contains(digest) && stderr(&refused).contains(&other), "{}", stderr(&refused));
    fails(&["run", "--sha256", &other], 2, &["carried model"]);
    fails(&["run", "--sha256", "abc"], 2, &["64 hexadecimal digits"]);
    fails(&["inspect", "--digest"], 2, &["MODEL"]);
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    for arguments in [&["run", "-n", "500"][..], &["inspect", "--json"], &["inspect"]] {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn help_names_every_command_and_teaches_by_example() {
    let output = craftsman(&["--help"]);
    for word in [
        "run",
        "chat",
        "inspect",
        "logits",
        "bench",
        "convert",
        "eval",
        "Examples:",
        "Exit codes:",
        "CRAFTSMAN_MODEL",
    ] {
        assert!(stdout(&output).contains(word), "no {word} in {}", stdout(&output));
    }
    assert!(!stdout(&output).contains("generate-model"));
    let commands =
        [&["run"][..], &["inspect"], &["logits"], &["bench"], &["convert"], &["eval", "perplexity"]];
    for command in commands {
        let output = craftsman(&[command, &["--help"]].concat());
        for word in ["Examples:", "--threads", "--max-tokens", "--seed", "--temperature", "--json"] {
            assert!(stdout(&output).contains(word), "{command:?}: no {word}");
        }
    }
}
