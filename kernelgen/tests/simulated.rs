//! Kernels for processors that are not here, run in the simulator: against golden, with every access checked.

use std::collections::HashSet;

use craftsman_golden::Granularity;
use craftsman_isa::{HardwareCaps, recorded};
use craftsman_kernelgen::{
    Batch, Epilogue, KernelConfig, KernelKey, Tile, VERIFY_SEED, backend, candidates, verify_simulated,
};

const SCALES: [Granularity; 3] = [Granularity::Tensor, Granularity::Row, Granularity::Block(64)];

fn caps(name: &str) -> HardwareCaps {
    recorded::by_name(name).unwrap_or_else(|| panic!("no recorded machine {name}"))
}

/// The candidates that `caps` has for `key`, one of those that differ in unrolling and prefetch only. The portable ones
/// are left out: they may call out of the code. Interleaved panels under tiles are tried in `tiles.rs`.
fn representatives(caps: &HardwareCaps, key: &KernelKey) -> Vec<KernelConfig> {
    let mut seen = HashSet::new();
    let mut configs = candidates(caps, key);
    configs.retain(|config| {
        let tile = Tile { unroll: 0, prefetch: 0, ..config.tile };
        let elsewhere = config.backend == "portable"
            || config.backend == "amx" && config.tile.panels != config.tile.streams;
        !elsewhere && seen.insert(KernelConfig { tile, ..*config })
    });
    configs
}

/// All failures of the representative candidates that `caps` has for `key`.
fn failures(caps: &HardwareCaps, key: &KernelKey) -> Vec<String> {
    let failure = |config: KernelConfig| verify_simulated(key, &config, caps, VERIFY_SEED).err();
    representatives(caps, key).into_iter().filter_map(failure).map(|error| error.to_string()).collect()
}

#[test]
fn every_backend_beyond_portable_is_simulated_at_every_edge() {
    let caps = caps("sapphire-rapids");
    let mut failed = Vec::new();
    // Four shapes with each batch class and granularity, so that each shape meets most of them.
    let shapes = [(1, 4), (16, 61), (63, 130), (65, 64), (129, 1), (257, 65), (321, 67)];
    let mut shapes = shapes.iter().cycle();
    for scales in SCALES {
        for batch in Batch::ALL {
            for &(m, k) in shapes.by_ref().take(4) {
                failed.extend(failures(&caps, &KernelKey::new(m, k, batch, scales)));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_epilogue_is_simulated() {
    let caps = caps("sapphire-rapids");
    let mut failed = Vec::new();
    for epilogue in [Epilogue::Add, Epilogue::Silu, Epilogue::Relu2] {
        for (batch, scales) in Batch::ALL.into_iter().zip(SCALES) {
            for (m, k) in [(17, 5), (161, 70)] {
                let key = KernelKey { epilogue, ..KernelKey::new(m, k, batch, scales) };
                failed.extend(failures(&caps, &key));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn four_bit_activations_are_simulated() {
    let caps = caps("sapphire-rapids");
    let mut failed = Vec::new();
    for (batch, scales) in Batch::ALL.into_iter().zip(SCALES) {
        for (m, k) in [(1, 1), (33, 66), (130, 129)] {
            let key = KernelKey { activation_bits: 4, ..KernelKey::new(m, k, batch, scales) };
            assert!(representatives(&caps, &key).iter().any(|config| config.family == "sliced"));
            failed.extend(failures(&caps, &key));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn real_shapes_are_simulated() {
    let caps = caps("sapphire-rapids");
    for (m, k) in [(640, 2560), (2560, 6912)] {
        for (batch, product) in [(Batch::Decode, "vpdpbusd"), (Batch::Prefill, "tdpbsud")] {
            let key = KernelKey::new(m, k, batch, Granularity::Tensor);
            let best = candidates(&caps, &key)[0];
            let report = verify_simulated(&key, &best, &caps, 7).unwrap();
            assert!(report.by_mnemonic[product] > 0, "{report:?}");
        }
    }
}

/// The selector, on processors that are not here.
#[test]
fn every_recorded_processor_gets_its_tier() {
    let expected = [
        ("haswell", "avx2"),
        ("skylake-x", "avx512bw"),
        ("ice-lake", "avx512vnni"),
        ("sapphire-rapids", "avx512vnni"),
        ("zen2", "avx2"),
        ("zen3", "avx2"),
        ("zen4", "avx512vnni"),
        ("alder-lake", "avxvnni"),
        ("apple-m1", "neondot"),
        ("graviton3", "neondot"),
        ("raspberry-pi-4", "neon"),
        ("browser", "simd128"),
        ("relaxed-browser", "relaxedsimd"),
        ("bare-x86-64", "portable"),
    ];
    assert_eq!(expected.len(), recorded::all().len(), "a recorded machine without an expectation");
    for (machine, backend) in expected {
        for batch in Batch::ALL {
            let key = KernelKey::new(2560, 6912, batch, Granularity::Tensor);
            // Tiles are for several tokens.
            let tiles = machine == "sapphire-rapids" && batch != Batch::Decode;
            let expected = if tiles { "amx" } else { backend };
            let best = candidates(&caps(machine), &key)[0].backend;
            // SDOT with signed planes does as much as USDOT.
            let alike = (expected, best) == ("neondot", "i8mm") && machine == "graviton3";
            assert!(best == expected || alike, "{machine} {batch}: {best}");
        }
    }
    assert!(
        backend::ALL.last().is_some_and(|backend| backend.requires().is_empty()),
        "the fallback always exists"
    );
}
