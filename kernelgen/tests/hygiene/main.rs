//! What emitted code leaves alone: memory that is not its own, registers of its caller, and other threads.
#![cfg(unix)]

mod guarded;

use std::collections::HashSet;
use std::process::{Command, Output};
use std::sync::Barrier;

use craftsman_golden::{Granularity, Scales, TernaryMatrix};
use craftsman_isa::{Arch, HardwareCaps};
use craftsman_kernelgen::vocabulary::Arguments;
use craftsman_kernelgen::{
    Batch, Code, Epilogue, ExecutableMemory, KernelCompiler, KernelConfig, KernelKey, VERIFY_SEED,
    candidates, emit, family, verify_native,
};
use guarded::{Edge, Guarded, call};

/// Odd shapes, with every batch class, epilogue, scale rule and width of activations among them.
const KEYS: [&str; 6] = [
    "33x70-decode-tensor-a8",
    "77x131-prefill-row-a8-add",
    "161x65-small-block64-a8",
    "65x61-decode-row-a4",
    "40x129-small-tensor-a4-silu",
    "1x1-prefill-block64-a8-relu2",
];
/// Tokens of a call that is not decode: no tile's multiple.
const TOKENS: usize = 7;
/// The activations' words are there for so many tokens at a time.
const TOKEN_GRANULE: usize = 32;

/// One candidate of each backend and algorithm, and for the fewest and the most panels and tokens of its tiles.
fn representatives(caps: &HardwareCaps, key: &KernelKey) -> Vec<KernelConfig> {
    let (mut seen, mut last) = (HashSet::new(), HashSet::new());
    let all = candidates(caps, key);
    let algorithm = |config: &KernelConfig| (config.backend, config.family, config.variant);
    let mut chosen: Vec<_> = all.iter().filter(|config| seen.insert(algorithm(config))).copied().collect();
    chosen.extend(all.iter().rev().filter(|config| last.insert(algorithm(config))));
    chosen
}

fn matrices(key: &KernelKey) -> Vec<TernaryMatrix> {
    let trits = |seed: usize| (0..key.m * key.k).map(|at| ((at * at + seed) % 7 % 3) as i8 - 1).collect();
    let count = key.m * key.blocks().1;
    let scales = || match key.scales {
        Granularity::Tensor => Scales::Tensor(0.5),
        Granularity::Row => Scales::Row(vec![0.5; key.m]),
        Granularity::Block(size) => Scales::Block { size, values: vec![0.5; count] },
    };
    (0..key.matrices()).map(|seed| TernaryMatrix::new(key.m, key.k, trits(seed), scales()).unwrap()).collect()
}

fn bytes(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
    values.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// Runs one kernel, and what makes its input, in buffers that are exactly as long as they have to be.
fn run_guarded(key: &KernelKey, config: &KernelConfig, caps: &HardwareCaps, edge: Edge) -> Vec<String> {
    let code = emit(key, config, caps).unwrap();
    let family = family::by_name(config.family).unwrap();
    let (layout, form) = (config.layout(key).unwrap(), family.input(key, config));
    let weights = matrices(key);
    let packed = family.pack(&weights.iter().collect::<Vec<_>>(), &layout).unwrap();
    let tokens = if key.batch == Batch::Decode { 1 } else { TOKENS };

    let guard = |bytes: &[u8]| Guarded::new(bytes, edge);
    let rows = guard(&vec![3; tokens * key.padded_k()]);
    let words = tokens.next_multiple_of(TOKEN_GRANULE) * (1 + key.blocks().1);
    let words = guard(&bytes(vec![1.0_f32.to_bits(); words]));
    let activations = code
        .input
        .as_ref()
        .map_or_else(|| guard(&vec![3; tokens * key.padded_k()]), |_| guard(&vec![0; form.bytes(tokens)]));
    let buffers = [
        guard(packed.bytes()),
        guard(&bytes(packed.scales().iter().map(|scale| scale.to_bits()))),
        guard(&vec![0; 4 * tokens * key.m]),
    ];
    let [weights, scales, output] = &buffers;
    let mut changed = Vec::new();
    let programs = code.input.iter().chain([&code.product]);
    for program in programs {
        let scratch = guard(&vec![0; program.scratch]);
        let arguments = Arguments {
            source: rows.address(),
            weights: weights.address(),
            scales: scales.address().cast(),
            activations: activations.address(),
            token_words: words.address().cast(),
            output: output.address().cast(),
            scratch: scratch.address(),
            panels: key.m / layout.panel_rows,
            tail: usize::from(!key.m.is_multiple_of(layout.panel_rows)),
            tokens,
            ..Arguments::default()
        };
        changed.extend(call(&ExecutableMemory::new(program).unwrap(), &arguments, edge).changed());
    }
    if key.epilogue == Epilogue::None && output.bytes().iter().all(|&byte| byte == 0) {
        changed.push("nothing, not even its output,".to_owned());
    }
    changed
}

/// Calls are wrapped in x86-64 code; elsewhere there is nothing to see.
fn calls_can_be_wrapped() -> bool {
    let can = HardwareCaps::detect().arch == Arch::X86_64;
    if !can {
        println!("skipped: the calls are wrapped in x86-64 code");
    }
    can
}

/// This program once more, for one test only.
fn child(test: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    Command::new(program).args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap()
}

/// A child process: code that touches what is not its own ends it.
#[test]
#[ignore = "run by kernels_touch_only_what_is_theirs"]
fn guarded_calls() {
    let caps = HardwareCaps::detect();
    let mut failures = Vec::new();
    for key in KEYS.map(|key| key.parse().unwrap()) {
        for config in representatives(&caps, &key) {
            for edge in [Edge::Front, Edge::Back] {
                println!("{key} by {config}, {edge:?}");
                let changed = run_guarded(&key, &config, &caps, edge);
                if !changed.is_empty() {
                    failures.push(format!("{key} by {config} changed {}", changed.join(", ")));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn kernels_touch_only_what_is_theirs() {
    if !calls_can_be_wrapped() {
        return;
    }
    let child = child("guarded_calls");
    let [out, error] = [&child.stdout, &child.stderr].map(|text| String::from_utf8_lossy(text));
    let calls = out.lines().filter(|line| line.contains(" by "));
    assert!(
        child.status.success(),
        "{}, last {}\n{error}",
        child.status,
        calls.clone().next_back().unwrap_or("none")
    );
    println!("{} calls between guards", calls.count());
}

/// The guards guard: a read of one byte beyond a buffer ends the process.
#[test]
#[ignore = "run by guards_end_the_process"]
fn touched_guard() {
    let reader = Code {
        // mov al, [rdi + 96]; ret: one byte beyond the arguments.
        bytes: vec![0x8A, 0x47, size_of::<Arguments>() as u8, 0xC3],
        instruction_bytes: 4,
        labels: Vec::new(),
        scratch: 0,
    };
    call(&ExecutableMemory::new(&reader).unwrap(), &Arguments::default(), Edge::Back);
}

#[test]
fn guards_end_the_process() {
    if !calls_can_be_wrapped() {
        return;
    }
    assert_eq!(child("touched_guard").status.code(), None, "a read beyond a buffer went unnoticed");
}

/// A kernel that keeps nothing is told on.
#[test]
fn changed_registers_are_noticed() {
    if !calls_can_be_wrapped() {
        return;
    }
    let spoiler = Code {
        // xor ebx, ebx; std; ret
        bytes: vec![0x31, 0xDB, 0xFD, 0xC3],
        instruction_bytes: 4,
        labels: Vec::new(),
        scratch: 0,
    };
    let left = call(&ExecutableMemory::new(&spoiler).unwrap(), &Arguments::default(), Edge::Front);
    assert_eq!(left.changed(), ["RBX", "the direction flag"]);
}

#[test]
fn kernels_are_emitted_and_verified_by_many_threads_at_once() {
    const THREADS: usize = 8;
    let caps = HardwareCaps::detect();
    let barrier = Barrier::new(THREADS);
    let compiler = KernelCompiler::new(caps.clone());
    let shared = TernaryMatrix::new(70, 90, vec![1; 70 * 90], Scales::Tensor(0.5)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (caps, barrier, compiler, shared) = (&caps, &barrier, &compiler, &shared);
            scope.spawn(move || {
                barrier.wait();
                let key = KernelKey::new(33 + thread, 65, Batch::ALL[thread % 3], shared.granularity());
                for config in representatives(caps, &key) {
                    verify_native(&key, &config, caps, VERIFY_SEED).unwrap();
                }
                compiler.linear(shared).unwrap();
            });
        }
    });
    assert_eq!(compiler.selected().len(), Batch::ALL.len(), "a shape was compiled more than once");
}
