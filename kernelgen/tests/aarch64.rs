//! Kernels for aarch64, run by QEMU's user mode: against golden, with pages behind every buffer that nobody may touch.
//! Without QEMU (Debian: `qemu-user-static`) they are emitted and not run, and the tests say so.

use std::collections::HashSet;

use craftsman_golden::Granularity;
use craftsman_isa::{Feature, HardwareCaps, recorded};
use craftsman_kernelgen::emulate::Emulator;
use craftsman_kernelgen::{
    Batch, Epilogue, KernelConfig, KernelKey, Tile, VERIFY_SEED, candidates, emit, verify_elsewhere,
};

const SCALES: [Granularity; 3] = [Granularity::Tensor, Granularity::Row, Granularity::Block(64)];

/// Processors with each tier's features and no more; QEMU stops a program that uses others.
fn machines() -> Vec<HardwareCaps> {
    let all = recorded::by_name("graviton3").unwrap();
    [Feature::I8mm, Feature::Dotprod, Feature::Neon]
        .into_iter()
        .map(|most| {
            let mut caps = all.clone();
            caps.features = all.features.iter().filter(|feature| *feature <= most).collect();
            caps
        })
        .collect()
}

/// The candidates of the best backend and of portable, one of those that differ in unrolling and prefetch only.
fn representatives(caps: &HardwareCaps, key: &KernelKey) -> Vec<KernelConfig> {
    let own = ["i8mm", "neondot", "neon"]
        .into_iter()
        .find(|name| candidates(caps, key).iter().any(|config| config.backend == *name));
    let mut seen = HashSet::new();
    let mut configs = candidates(caps, key);
    configs.retain(|config| {
        let tile = Tile { unroll: 0, prefetch: 0, ..config.tile };
        let portable = config.backend == "portable";
        // Cranelift takes long, and one of its tiles is as good as another.
        let tile = if portable { Tile { panels: 0, streams: 0, tokens: 0, ..tile } } else { tile };
        (portable || Some(config.backend) == own) && seen.insert(KernelConfig { tile, ..*config })
    });
    configs
}

/// Emits and, where QEMU is, runs the representatives of every machine for `keys`; says how many of what there were.
fn check(keys: &[KernelKey]) {
    let (mut kernels, mut failed) = (Vec::new(), Vec::new());
    for caps in machines() {
        let mut emulator = Emulator::new(&caps);
        if let Err(error) = &emulator {
            println!("skipped, emitted only: {error}");
        }
        for key in keys {
            for config in representatives(&caps, key) {
                kernels.push((config.backend, config.family, config.variant));
                let outcome = match &mut emulator {
                    Ok(emulator) => verify_elsewhere(key, &config, &caps, VERIFY_SEED, emulator),
                    Err(_) => emit(key, &config, &caps).map(drop).map_err(Into::into),
                };
                failed.extend(outcome.err().map(|error| format!("{key} {config}: {error}")));
            }
        }
        if let Ok(emulator) = emulator {
            println!("{} calls on {}", emulator.calls(), emulator.processor());
        }
    }
    let ways: HashSet<_> = kernels.iter().collect();
    for way in ways {
        println!("{way:?}: {}", kernels.iter().filter(|kernel| *kernel == way).count());
    }
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), kernels.len());
}

#[test]
fn every_family_at_every_edge() {
    let shapes = [(1, 4), (15, 61), (16, 130), (33, 64), (81, 67)];
    let keys: Vec<_> = SCALES
        .into_iter()
        .flat_map(|scales| Batch::ALL.map(|batch| (scales, batch)))
        .zip(shapes.iter().cycle())
        .map(|((scales, batch), &(m, k))| KernelKey::new(m, k, batch, scales))
        .collect();
    check(&keys);
}

#[test]
fn every_epilogue() {
    let keys: Vec<_> = [Epilogue::Add, Epilogue::Silu, Epilogue::Relu2]
        .into_iter()
        .zip(Batch::ALL.into_iter().zip(SCALES))
        .map(|(epilogue, (batch, scales))| KernelKey { epilogue, ..KernelKey::new(37, 70, batch, scales) })
        .collect();
    check(&keys);
}

#[test]
fn activations_of_four_bits() {
    let keys: Vec<_> = Batch::ALL
        .into_iter()
        .zip(SCALES)
        .map(|(batch, scales)| KernelKey { activation_bits: 4, ..KernelKey::new(34, 66, batch, scales) })
        .collect();
    check(&keys);
}

#[test]
fn the_best_kernel_of_a_real_shape() {
    for caps in machines() {
        let Ok(mut emulator) = Emulator::new(&caps).inspect_err(|error| println!("skipped: {error}")) else {
            return;
        };
        for batch in [Batch::Decode, Batch::Prefill] {
            let key = KernelKey::new(640, 2560, batch, Granularity::Tensor);
            let best = candidates(&caps, &key)[0];
            println!("{batch}: {best}");
            verify_elsewhere(&key, &best, &caps, VERIFY_SEED, &mut emulator).unwrap();
        }
    }
}
