//! Operating systems that are not asked anything.

use super::SystemReport;

pub fn report() -> SystemReport {
    SystemReport::default()
}

/// Tiles are not used where nothing is known about who saves them.
#[cfg(target_arch = "x86_64")]
pub fn grant_tile_data() -> bool {
    false
}
