//! What made the code: answers hold as long as the same kernels would be emitted.

use craftsman_golden::Granularity;
use craftsman_isa::HardwareCaps;

use crate::kernel::emit;
use crate::key::{Batch, KernelKey};
use crate::selector::candidates;

/// Names this emitter: its version, and a hash of machine code that it emits for `caps`.
///
/// The code is that of the first candidate of each family and variant on each backend for one shape, so that a change of
/// any emitter that would make stored answers stale changes the name, and nobody has to remember to raise a number.
pub(crate) fn fingerprint(caps: &HardwareCaps) -> String {
    let mut hash = Fnv::default();
    for batch in Batch::ALL {
        // No multiple of any tile, so that tails are part of it; small, so that it takes no time.
        let key = KernelKey::new(333, 337, batch, Granularity::Row);
        let mut seen = Vec::new();
        for config in candidates(caps, &key) {
            let kind = (config.backend, config.family, config.variant);
            // Cranelift takes a hundred times as long as an assembler, and its version is part of ours.
            if seen.contains(&kind) || config.backend == "portable" {
                continue;
            }
            seen.push(kind);
            hash.write(config.to_string().as_bytes());
            if let Ok(code) = emit(&key, &config, caps) {
                hash.write(&code.product.bytes);
                hash.write(code.input.as_ref().map_or(&[], |input| &input.bytes));
            }
        }
    }
    format!("{} {} {:016x}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), hash.0)
}

/// FNV-1a: the same everywhere and in every version, unlike the standard library's hasher.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craftsman_isa::recorded;

    #[test]
    fn the_name_is_of_the_code_and_not_of_the_moment() {
        let zen3 = recorded::by_name("zen3").unwrap();
        assert_eq!(fingerprint(&zen3), fingerprint(&zen3));
        assert_ne!(fingerprint(&zen3), fingerprint(&recorded::by_name("zen4").unwrap()));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        let mut hash = Fnv::default();
        hash.write(b"foobar");
        assert_eq!(hash.0, 0x8594_4171_F739_67E8);
    }
}
