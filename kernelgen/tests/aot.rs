//! Objects that were emitted ahead of time, linked into programs and run: the examples of this repository.

use std::path::{Path, PathBuf};
use std::process::Command;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn kernelgen() -> &'static str {
    env!("CARGO_BIN_EXE_kernelgen")
}

/// Whether programs are here; says which is not.
fn here(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| Command::new(program).arg("--version").output().is_err());
    missing.inspect(|program| println!("skipped: no {program}")).is_none()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    out
}

/// Links and runs the C example for a target: keys of all batch classes and scales of a tensor, and a partial panel.
fn link_and_run(target: &str, machine: &str, configs: &[(&str, &str)]) {
    for (key, config) in configs {
        let mut command = Command::new(examples().join("c/run.sh"));
        command.args([target, key, "--machine", machine, "--config", config]).env("KERNELGEN", kernelgen());
        let said = run(&mut command);
        println!("{said}");
        assert!(said.contains("exact: "), "{said}");
    }
}

#[test]
fn objects_for_x86_64_linux_link_and_run() {
    if cfg!(target_os = "linux") && std::env::consts::ARCH == "x86_64" && here(&["gcc"]) {
        link_and_run(
            "x86_64-linux",
            "haswell",
            &[
                ("70x300-decode-tensor-a8", "avx2-i2s.masked-2x1s2u15p2048"),
                ("33x61-prefill-tensor-a8", "avx2-tl1.bytes-1x2s1u2p0"),
                ("70x130-decode-tensor-a8-relu2", "avx2-i2s.masked-2x1s2u15p2048"),
            ],
        );
    }
}

#[test]
fn objects_for_aarch64_linux_link_and_run() {
    if here(&["aarch64-linux-gnu-gcc", "qemu-aarch64-static"]) {
        link_and_run(
            "aarch64-linux",
            "graviton3",
            &[
                ("70x300-decode-tensor-a8", "neondot-i2s_signed.planes-2x1s2u2p2048"),
                ("33x61-prefill-tensor-a8", "neon-tl2.bytes-1x2s1u16p0"),
                ("70x130-small-tensor-a8-relu2", "i8mm-i2s.matrix-2x2s2u1p0"),
            ],
        );
    }
}

#[test]
fn objects_for_x86_64_windows_link_and_run() {
    if here(&["x86_64-w64-mingw32-gcc", "wine"]) {
        link_and_run(
            "x86_64-windows",
            "haswell",
            &[("70x300-decode-tensor-a8", "avx2-i2s.masked-2x1s2u15p2048")],
        );
    }
}

#[test]
fn a_build_script_embeds_a_kernel() {
    if !(cfg!(target_os = "linux") && std::env::consts::ARCH == "x86_64") {
        return println!("skipped: the example is built for x86_64-linux");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--offline", "--manifest-path"]);
    command.arg(examples().join("embedded/Cargo.toml")).env("CARGO_TARGET_DIR", folder.path());
    command.env("KERNELGEN", kernelgen());
    assert!(run(&mut command).contains("exact: 70 rows"));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("kernel.o");
    let emit = |arguments: &[&str]| {
        let mut command = Command::new(kernelgen());
        command.args(["emit", "64x64-decode-tensor-a8", "-o"]).arg(&out).args(arguments);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (arguments, code, message) in [
        (&["--target", "x86_64-linux", "--machine", "apple-m1"][..], 1, "is not code for x86_64-linux"),
        (&["--target", "x86_64-linux", "--config", "portable-i2s.masked-1x1s1u2p0"], 1, "portable code"),
        (&["--target", "aarch64-linux", "--name", "2nd"], 1, "no C identifier"),
        (&["--target", "vax"], 2, "a target is one of"),
        (&["--target", "aarch64-linux", "--machine", "vax"], 2, "no recorded processor"),
    ] {
        let (found, said) = emit(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
        assert!(!out.exists());
    }
}
