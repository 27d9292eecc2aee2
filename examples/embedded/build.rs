//! Has `kernelgen` emit a kernel and pack its weights, and makes constants of what the kernel's header defines.
//!
//! `KERNELGEN` is the program; without it, the one on the search path (`cargo install --path kernelgen` in a checkout).

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// What is embedded.
const KEY: &str = "70x300-decode-tensor-a8";

/// Weights that a real program would read from its model.
fn trit(row: usize, column: usize) -> i8 {
    ((row * 31 + column * 17) % 5 % 3) as i8 - 1
}

fn kernelgen(arguments: &[&str], folder: &Path) {
    let program = env::var("KERNELGEN").unwrap_or_else(|_| "kernelgen".to_owned());
    let output = Command::new(&program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; install it or set KERNELGEN"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn main() {
    println!("cargo::rerun-if-env-changed=KERNELGEN");
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var("OUT_DIR").unwrap();
    let folder = Path::new(&out);
    let (target, config) = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => ("aarch64-linux", "neon-i2s.masked-1x1s1u2p2048"),
        _ => ("x86_64-linux", "avx2-i2s.masked-1x1s1u15p2048"),
    };
    let emit = ["emit", KEY, "--target", target, "--config", config, "--name", "product", "-o", "product.o"];
    kernelgen(&emit, folder);
    println!("cargo::rustc-link-arg={out}/product.o");

    let trits: Vec<u8> = (0..70 * 300).map(|index| trit(index / 300, index % 300).cast_unsigned()).collect();
    fs::write(folder.join("trits"), trits).unwrap();
    fs::write(folder.join("scales"), 0.25_f32.to_le_bytes()).unwrap();
    let files = ["--trits", "trits", "--scales", "scales", "-o", "packed"];
    kernelgen(&[&["pack", KEY, "--config", config], &files[..]].concat(), folder);

    let mut constants = String::new();
    for line in fs::read_to_string(folder.join("product.h")).unwrap().lines() {
        let mut words = line.split_whitespace();
        if let (Some("#define"), Some(name), Some(Ok(number))) =
            (words.next(), words.next(), words.next().map(str::parse::<usize>))
        {
            writeln!(
                constants,
                "#[allow(dead_code)]\npub const {}: usize = {number};",
                &name["PRODUCT_".len()..]
            )
            .unwrap();
        }
    }
    fs::write(folder.join("product.rs"), constants).unwrap();
}
