//! The processor that this process runs on: what emitted code may use, whatever its emitter was asked for.

use std::sync::OnceLock;

use craftsman_isa::HardwareCaps;

/// What this processor has of `caps`. Code emitted for the result can run here.
pub(crate) fn within(caps: HardwareCaps) -> HardwareCaps {
    static HOST: OnceLock<HardwareCaps> = OnceLock::new();
    let host = HOST.get_or_init(HardwareCaps::detect);
    let features = caps.features.iter().filter(|&feature| host.has(feature)).collect();
    HardwareCaps { arch: host.arch, features, ..caps }
}
