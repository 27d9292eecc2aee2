//! Listings of representative kernels, reviewed and kept: whoever changes emitted code sees what becomes of it.
//!
//! The code of assembler backends is the same on every host. The portable backend is left out: its code changes with
//! Cranelift's version, and with where this process keeps the routines that it calls.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use craftsman_isa::recorded;
use craftsman_kernelgen::{KernelConfig, KernelKey, emit, listing};

/// Set it to keep the listings as they are now.
const BLESS: &str = "CRAFTSMAN_BLESS";
/// What keeps them.
const COMMAND: &str = "CRAFTSMAN_BLESS=1 cargo test -p craftsman-kernelgen --test listings";

/// Machine, configuration, key, and why it stands for others. As few columns as show the loops.
const KERNELS: &[[&str; 4]] = &[
    ["haswell", "avx2-i2s.masked-2x1s2u2p2048", "64x20-decode-tensor-a8", "two streams, sums in pairs"],
    ["zen3", "avx2-i2s.masked-1x2s1u1p0", "40x12-prefill-row-a8", "tokens, a partial panel, scales a row"],
    ["zen3", "avx2-base3.digits-1x1s1u2p0", "40x8-decode-tensor-a8", "digits of base 3 by averages"],
    ["alder-lake", "avxvnni-i2s.planes-1x1s1u2p4096", "32x20-decode-tensor-a8", "planes and their recovery"],
    ["skylake-x", "avx512bw-i2s.masked-1x1s1u2p0", "64x72-decode-block64-a8", "blocks of scales"],
    ["ice-lake", "avx512vnni-i2s.planes-2x1s2u2p2048", "128x20-decode-tensor-a8", "what decodes on servers"],
    ["zen4", "avx512vnni-i2s.planes-1x3s1u2p0", "64x20-prefill-tensor-a8", "planes that stay for all tokens"],
    ["zen4", "avx512vnni-i2s.planes-1x1s1u2p0", "72x8-decode-row-a8-add", "a residual, and masked lanes"],
    ["ice-lake", "avx512vnni-i2s.masked-2x1s2u2p0", "64x8-decode-tensor-a8-silu", "gate, up and silu"],
    [
        "ice-lake",
        "avx512vnni-base3.planes-2x1s1u2p0",
        "160x12-decode-tensor-a8",
        "panels that alternate in memory",
    ],
    ["ice-lake", "avx512bitalg-sliced.counts-1x1s1u1p2048", "16x192-decode-tensor-a8", "bit slices"],
    ["zen4", "avx512bitalg-sliced.counts-1x2s1u1p0", "16x64-small-tensor-a4", "bit slices of four bits"],
    ["zen3", "avx2-tl1.bytes-1x1s1u2p0", "32x24-decode-tensor-a8", "tables of two columns, and their making"],
    [
        "skylake-x",
        "avx512bw-tl2.bytes-1x1s1u1p0",
        "64x24-decode-tensor-a8",
        "tables of three columns, and signs",
    ],
    ["sapphire-rapids", "amx-i2s.tile-1x16s1u1p0", "64x128-prefill-tensor-a8", "tiles"],
    [
        "apple-m1",
        "neondot-i2s_signed.planes-2x1s2u2p2048",
        "32x20-decode-tensor-a8",
        "signed planes of two bits",
    ],
    ["apple-m1", "neondot-base3_signed.planes-1x2s1u2p0", "20x8-prefill-row-a8", "signed planes in base 3"],
    ["graviton3", "i8mm-base3.planes-1x1s1u2p2048", "20x12-decode-tensor-a8", "planes by USDOT"],
    ["graviton3", "i8mm-i2s.planes-1x3s1u2p0", "19x12-prefill-tensor-a8-add", "three lanes of four"],
    ["graviton3", "i8mm-i2s.matrix-1x2s1u1p0", "16x20-prefill-tensor-a8", "two tokens a product, by USMMLA"],
    [
        "apple-m1",
        "neon-i2s.masked-1x1s1u2p2048",
        "16x20-decode-block64-a8",
        "products widened and summed in pairs",
    ],
    ["apple-m1", "neon-tl1.bytes-1x1s1u2p0", "8x24-decode-tensor-a8", "tables of two columns by TBL"],
    [
        "browser",
        "simd128-i2s.masked-1x1s1u2p0",
        "16x8-decode-tensor-a8-add",
        "products widened, neighbours added",
    ],
    ["browser", "simd128-base3.digits-1x1s1u1p0", "20x4-decode-row-a8", "digits of base 3, in WebAssembly"],
    ["relaxed-browser", "relaxedsimd-i2s.masked-1x2s1u2p0", "16x8-prefill-tensor-a8", "relaxed dot products"],
    ["relaxed-browser", "relaxedsimd-tl1.bytes-1x1s1u1p0", "8x16-decode-tensor-a8", "look-up by swizzle"],
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/listings")
}

/// The file of a row and what it is to hold.
fn rendered([machine, config, key, why]: [&str; 4]) -> (String, String) {
    let caps = recorded::by_name(machine).unwrap_or_else(|| panic!("no recorded machine {machine}"));
    let parsed: (KernelKey, KernelConfig) = (key.parse().unwrap(), config.parse().unwrap());
    let code = emit(&parsed.0, &parsed.1, &caps).unwrap_or_else(|error| panic!("{key} {config}: {error}"));
    let mut text = format!("; {key} by {config} for {machine}: {why}\n");
    if let Some(input) = &code.input {
        let _ = write!(text, ";; input\n{};; product\n", listing(input, caps.arch));
    }
    text.push_str(&listing(&code.product, caps.arch));
    (format!("{key}.{config}.txt"), text)
}

/// Where two texts part, for people.
fn first_difference(kept: &str, now: &str) -> String {
    let (mut old, mut new) = (kept.lines(), now.lines());
    for line in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (old, new) if old == new => {}
            (old, new) => {
                let [old, new] = [old, new].map(|line| line.unwrap_or("(ends)"));
                return format!("line {line} was `{old}`, is `{new}`");
            }
        }
    }
    "line ends only".to_owned()
}

#[test]
fn listings_are_what_they_were() {
    let bless = env::var_os(BLESS).is_some();
    let mut failures = Vec::new();
    let mut expected = BTreeSet::new();
    for (name, now) in KERNELS.iter().copied().map(rendered) {
        let path = folder().join(&name);
        match fs::read_to_string(&path) {
            Ok(kept) if kept == now => {}
            _ if bless => fs::write(&path, &now).unwrap(),
            Ok(kept) => failures.push(format!("{name}: {}", first_difference(&kept, &now))),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
        expected.insert(name);
    }
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    for file in files.filter(|file| !expected.contains(&*file.file_name().to_string_lossy())) {
        if bless {
            fs::remove_file(file.path()).unwrap();
        } else {
            failures.push(format!("{}: no kernel has this listing", file.path().display()));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}\nif this is as it should be: {COMMAND}");
}

/// Every assembler backend, and every family, is represented.
#[test]
fn every_backend_and_family_has_a_listing() {
    let configs: Vec<KernelConfig> = KERNELS.iter().map(|row| row[1].parse().unwrap()).collect();
    let backends = craftsman_kernelgen::backend::ALL.iter().map(|backend| backend.name());
    for backend in backends.filter(|&backend| backend != "portable") {
        assert!(
            configs.iter().any(|config| config.backend == backend),
            "add a row with a kernel of {backend} to KERNELS, then {COMMAND}"
        );
    }
    for family in craftsman_kernelgen::family::ALL {
        assert!(
            configs.iter().any(|config| config.family == family.name()),
            "no listing of {}",
            family.name()
        );
    }
}
