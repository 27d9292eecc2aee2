//! Where machine-dependent and unsafe code may stand.

use craftsman_tests::{code_lines, read, sources};

const CRATES: &[&str] = &[
    "golden",
    "isa",
    "kernelgen",
    "runtime/model",
    "runtime/eval",
    "runtime/craftsman",
    "benches",
    "tests",
    "xtask",
];

/// Modules (path prefixes) that may ask for the target architecture.
const MACHINE_MODULES: &[&str] =
    &["isa/src/detect/", "kernelgen/src/backend/", "kernelgen/src/float/", "kernelgen/src/memory"];

/// Modules (path prefixes) that may hold unsafe code, each with what only unsafe code can do there.
const UNSAFE_MODULES: &[(&str, &str)] = &[
    ("isa/src/detect", "cpuid and the operating system's permission for AMX"),
    ("kernelgen/src/memory", "executable memory"),
    ("kernelgen/src/pages", "blocks of one mapping, handed out once each"),
    ("kernelgen/src/kernel", "the call into emitted code"),
    ("kernelgen/src/quantizer", "the call into the emitted quantiser"),
    ("kernelgen/src/quants/mod", "the call into emitted products of blocks of integers"),
    ("kernelgen/src/roofline/probe", "the call into the emitted loops that measure the ceilings"),
    ("kernelgen/src/output", "threads that fill disjoint columns of one matrix"),
    ("kernelgen/src/float/", "vector intrinsics behind a checked feature"),
    ("kernelgen/src/simulate/tests/native", "the processor beside its simulator"),
    ("kernelgen/tests/hygiene/guarded", "pages that nobody may touch, and calls that see the registers"),
    ("runtime/model/src/container/mapping", "memory-mapped files"),
    ("runtime/model/tests/counting", "an allocator that counts"),
    ("benches/src/peers/ggml", "calls into llama.cpp, compiled with the feature `peers` only"),
    ("benches/src/peers/llama", "the same, of its whole engine"),
];

/// Lines of code of `source` that hold an unsafe block, function, impl, trait or extern block.
fn unsafe_lines(source: &str) -> Vec<usize> {
    const FORMS: &[&str] =
        &["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern", "unsafe("];
    let lines = code_lines(source).filter(|(_, line)| FORMS.iter().any(|form| line.contains(form)));
    lines.map(|(number, _)| number).collect()
}

/// Lines of code of `source` that name the target architecture.
fn machine_lines(source: &str) -> Vec<usize> {
    code_lines(source).filter(|(_, line)| line.contains("target_arch")).map(|(number, _)| number).collect()
}

/// Every source file of the workspace but this one, whose tables name what they look for.
fn all_sources() -> impl Iterator<Item = String> {
    CRATES.iter().flat_map(|folder| sources(folder)).filter(|path| path != "tests/tests/boundaries.rs")
}

#[test]
fn only_detection_and_machine_modules_name_the_target_architecture() {
    let elsewhere =
        all_sources().filter(|path| !MACHINE_MODULES.iter().any(|module| path.starts_with(module)));
    let found: Vec<String> = elsewhere
        .flat_map(|path| machine_lines(&read(&path)).into_iter().map(move |line| format!("{path}:{line}")))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn unsafe_code_stands_only_in_its_modules() {
    let listed = |path: &str| UNSAFE_MODULES.iter().any(|(module, _)| path.starts_with(module));
    let found: Vec<String> = all_sources()
        .filter(|path| !listed(path))
        .flat_map(|path| unsafe_lines(&read(&path)).into_iter().map(move |line| format!("{path}:{line}")))
        .collect();
    assert_eq!(found, Vec::<String>::new());
    let stale: Vec<_> = UNSAFE_MODULES
        .iter()
        .filter(|(module, _)| {
            !all_sources().any(|path| path.starts_with(module) && !unsafe_lines(&read(&path)).is_empty())
        })
        .collect();
    assert!(stale.is_empty(), "listed, but without unsafe code: {stale:?}");
}

#[test]
fn crates_without_unsafe_modules_forbid_unsafe_code() {
    for folder in CRATES {
        if UNSAFE_MODULES.iter().any(|(module, _)| module.starts_with(&format!("{folder}/"))) {
            continue;
        }
        let root = if *folder == "xtask" { "main" } else { "lib" };
        let root = format!("{folder}/src/{root}.rs");
        assert!(read(&root).contains("#![forbid(unsafe_code)]"), "{root} does not forbid unsafe code");
    }
}

#[test]
fn planted_unsafe_code_and_architecture_names_are_found() {
    let source =
        "// unsafe { in prose }\nfn f() {\n    unsafe { g() }\n}\n#[cfg(target_arch = \"x86_64\")]\n";
    assert_eq!(unsafe_lines(source), [3]);
    assert_eq!(machine_lines(source), [5]);
}
