//! Kernels for processors that are not here, run in the simulator: against golden, with every access checked.

use craftsman_golden::Granularity;
use craftsman_isa::{HardwareCaps, recorded};
use craftsman_kernelgen::{
    Batch, KernelConfig, KernelKey, VERIFY_SEED, backend, candidates, verify_simulated,
};

const SCALES: [Granularity; 3] = [Granularity::Tensor, Granularity::Row, Granularity::Block(64)];

fn caps(name: &str) -> HardwareCaps {
    recorded::by_name(name).unwrap_or_else(|| panic!("no recorded machine {name}"))
}

/// All failures of every candidate that `caps` has for `key`, except the portable ones, which may call out.
fn failures(caps: &HardwareCaps, key: &KernelKey) -> Vec<String> {
    let configs = candidates(caps, key).into_iter().filter(|config| config.backend != "portable");
    let failure = |config: KernelConfig| verify_simulated(key, &config, caps, VERIFY_SEED).err();
    configs.filter_map(failure).map(|error| error.to_string()).collect()
}

#[test]
fn every_backend_beyond_portable_is_simulated_at_every_edge() {
    let caps = caps("sapphire-rapids");
    let mut failed = Vec::new();
    for scales in SCALES {
        for batch in [Batch::Decode, Batch::Prefill] {
            for m in [1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 257, 321] {
                for k in [1, 4, 61, 64, 130] {
                    failed.extend(failures(&caps, &KernelKey::new(m, k, batch, scales)));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn real_shapes_are_simulated() {
    let caps = caps("sapphire-rapids");
    for (m, k) in [(640, 2560), (2560, 6912)] {
        for batch in [Batch::Decode, Batch::Prefill] {
            let key = KernelKey::new(m, k, batch, Granularity::Tensor);
            let best = candidates(&caps, &key)[0];
            let report = verify_simulated(&key, &best, &caps, 7).unwrap();
            assert!(report.by_mnemonic["vpdpbusd"] > 0, "{report:?}");
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
        ("apple-m1", "portable"),
        ("graviton3", "portable"),
        ("bare-x86-64", "portable"),
    ];
    assert_eq!(expected.len(), recorded::all().len(), "a recorded machine without an expectation");
    for (machine, backend) in expected {
        for batch in [Batch::Decode, Batch::Prefill] {
            let key = KernelKey::new(2560, 6912, batch, Granularity::Tensor);
            assert_eq!(candidates(&caps(machine), &key)[0].backend, backend, "{machine}");
        }
    }
    assert!(
        backend::ALL.last().is_some_and(|backend| backend.requires().is_empty()),
        "the fallback always exists"
    );
}
