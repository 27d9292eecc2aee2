//! Kernels for machines with tiles, in the simulator, around every edge of a tile.

use craftsman_golden::Granularity;
use craftsman_isa::{HardwareCaps, recorded};
use craftsman_kernelgen::{Batch, Epilogue, KernelConfig, KernelKey, VERIFY_SEED, emit, verify_simulated};

const SCALES: [Granularity; 4] =
    [Granularity::Tensor, Granularity::Row, Granularity::Block(64), Granularity::Block(256)];

fn caps() -> HardwareCaps {
    recorded::by_name("sapphire-rapids").expect("a recorded machine with tiles")
}

fn config(name: &str) -> KernelConfig {
    name.parse().expect("a configuration")
}

/// What goes wrong with `key` in any of the configurations.
fn failures(key: &KernelKey, configs: &[&str]) -> Vec<String> {
    let failure = |name: &&str| verify_simulated(key, &config(name), &caps(), VERIFY_SEED).err();
    configs.iter().filter_map(failure).map(|error| error.to_string()).collect()
}

/// One tile, several tiles in and without a loop, several streams, and what is left over of all of them.
#[test]
fn columns_around_every_edge() {
    let configs = [
        "amx-i2s.tile-1x16s1u2p0",
        "amx-i2s.tile-1x32s1u1p0",
        "amx-i2s.split-1x8s1u4p4096",
        "amx-base3.tile-1x16s1u2p2048",
        "amx-base3.split-1x32s1u2p0",
    ];
    let mut failed = Vec::new();
    for (index, k) in [1, 3, 4, 5, 61, 63, 64, 65, 127, 128, 130, 192, 255, 257, 320, 449, 576, 640, 770]
        .into_iter()
        .enumerate()
    {
        let key = KernelKey::new(70, k, Batch::Prefill, SCALES[index % SCALES.len()]);
        failed.extend(failures(&key, &configs));
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Panels alone, together and interleaved, with rows that fill part of one.
#[test]
fn rows_around_every_edge() {
    let configs = [
        "amx-i2s.tile-1x16s1u2p0",
        "amx-i2s.tile-2x16s1u2p0",
        "amx-i2s.split-4x8s2u2p2048",
        "amx-base3.tile-4x32s1u2p0",
        "amx-base3.tile-3x4s3u4p0",
    ];
    let mut failed = Vec::new();
    for (index, m) in [1, 15, 16, 17, 63, 64, 65, 79, 80, 81, 128, 160, 257, 321].into_iter().enumerate() {
        let scales = SCALES[index % SCALES.len()];
        failed.extend(failures(&KernelKey::new(m, 197, Batch::Small, scales), &configs));
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn any_number_of_tokens() {
    let key = KernelKey::new(66, 132, Batch::Small, Granularity::Block(64));
    let names = [2, 4, 8, 16, 32].map(|tokens| format!("amx-i2s.tile-1x{tokens}s1u2p0"));
    let failed = failures(&key, &names.each_ref().map(String::as_str));
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn epilogues_and_pairs() {
    let mut failed = Vec::new();
    for (index, epilogue) in Epilogue::ALL.into_iter().enumerate() {
        let panels = if epilogue.is_pair() { "2x16s2" } else { "2x16s1" };
        let names = ["i2s.tile", "base3.split"].map(|variant| format!("amx-{variant}-{panels}u2p0"));
        for m in [64, 150] {
            let key = KernelKey { epilogue, ..KernelKey::new(m, 200, Batch::Small, SCALES[index]) };
            failed.extend(failures(&key, &names.each_ref().map(String::as_str)));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Sums that would overflow are added up in several chunks of k.
#[test]
fn columns_beyond_what_one_sum_holds() {
    let key = KernelKey::new(17, 33_000, Batch::Small, Granularity::Row);
    let failed = failures(&key, &["amx-base3.tile-1x4s1u2p0"]);
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The counts that the cost in `family/planes/tile.rs` is reckoned from.
#[test]
fn the_loop_is_what_its_cost_says() {
    let key = KernelKey::new(64, 2560, Batch::Prefill, Granularity::Tensor);
    for (name, products, activations) in
        [("amx-i2s.tile-1x16s1u2p0", 4, 1), ("amx-i2s.tile-1x32s1u2p0", 8, 4)]
    {
        let config = config(name);
        let report = verify_simulated(&key, &config, &caps(), VERIFY_SEED).expect("a right kernel");
        // What every call but that for the activations does, panel by panel and portion by portion.
        let portions = report.by_mnemonic["tdpbsud"] / (products * 40);
        assert_eq!(report.by_mnemonic["tdpbsud"], portions * products * 40, "{name}");
        assert_eq!(report.by_mnemonic["tileloadd"], portions * 4 * 40, "{name}");
        assert_eq!(report.by_mnemonic["tileloaddt1"], portions * activations * 40, "{name}");
        assert_eq!(report.by_mnemonic["tilestored"], portions * products, "{name}");
        let (calls, configured) = (report.calls as u64, report.by_mnemonic["ldtilecfg"]);
        assert_eq!((configured, report.by_mnemonic["tilerelease"]), (calls / 2, calls / 2), "{name}");
    }
}

#[test]
fn what_has_no_room_is_refused() {
    let key = KernelKey::new(64, 256, Batch::Prefill, Granularity::Tensor);
    for name in [
        "amx-i2s.tile-1x1s1u2p0",
        "amx-i2s.tile-1x12s1u2p0",
        "amx-i2s.tile-1x48s1u2p0",
        "amx-i2s.tile-1x16s1u3p0",
        "amx-i2s.tile-3x16s1u2p0",
        "avx512vnni-i2s.tile-1x16s1u2p0",
    ] {
        assert!(emit(&key, &config(name), &caps()).is_err(), "{name}");
    }
}
