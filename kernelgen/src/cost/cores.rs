//! Micro-architectures: what a core does in a cycle. One row each.
//!
//! Throughputs of instructions are those that Agner Fog's tables and uops.info list for the port groups; rates of the
//! memory levels are what one core reaches in practice, which is less than the width of the path: measured where a
//! comment says so, and otherwise typical of the generation. The model needs them to be right relative to each other, so
//! that the better of two kernels comes first, and to no more than that.

use craftsman_isa::{Feature, HardwareCaps, Vendor};

/// Per cycle, for vectors up to 256 bits and for 512 bits; 0 where there are none.
type Width = [f64; 2];

/// What one core does in a cycle.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    /// CPUID vendor, family and models; no models for any of the family.
    parts: &'static [(Vendor, u32, &'static [u32])],
    /// Instructions that enter execution.
    pub(super) issue: f64,
    /// Vector instructions of any kind, loads and stores not counted.
    pub(super) vector: Width,
    /// Products: VPMADDUBSW, VPMADDWD, VPDPBUSD, float.
    pub(super) multiply: Width,
    /// Bytes moved across lanes: VPSHUFB, VPUNPCK, VPACK.
    pub(super) shuffle: Width,
    /// Slots of `vector` that a shuffle takes.
    pub(super) shuffle_slots: f64,
    /// Shifts by a constant.
    pub(super) shift: Width,
    /// Loads; prefetches count as such.
    pub(super) load: Width,
    pub(super) store: f64,
    /// Cycles until a product can be added to again.
    pub(super) latency: f64,
    /// Cycles of a tile product; 0 where there are no tiles.
    pub(super) tile: f64,
    /// Bytes that one core reads from L2, L3 and main memory.
    pub(super) reads: [f64; 3],
    /// Bytes that all cores together read from main memory.
    pub(super) memory: f64,
    /// Share of the rate of main memory with one stream, two, four and more.
    pub(super) streams: [f64; 3],
}

/// What is assumed of a processor that is in no row: a modest one.
static ANY: Core = Core {
    name: "any",
    parts: &[],
    issue: 4.0,
    vector: [2.0, 1.0],
    multiply: [1.0, 1.0],
    shuffle: [1.0, 1.0],
    shuffle_slots: 1.0,
    shift: [1.0, 1.0],
    load: [2.0, 1.0],
    store: 1.0,
    latency: 5.0,
    tile: 0.0,
    reads: [24.0, 10.0, 4.0],
    memory: 12.0,
    streams: [0.8, 0.9, 1.0],
};

static ALL: [Core; 10] = [
    Core {
        name: "haswell",
        parts: &[(Vendor::Intel, 6, &[60, 63, 69, 70, 61, 71, 79, 86])],
        vector: [3.0, 0.0],
        reads: [25.0, 10.0, 3.5],
        memory: 7.0,
        ..ANY
    },
    Core {
        name: "skylake",
        parts: &[(Vendor::Intel, 6, &[78, 94, 142, 158, 165, 166])],
        vector: [3.0, 0.0],
        multiply: [2.0, 0.0],
        shift: [2.0, 0.0],
        latency: 5.0,
        reads: [28.0, 11.0, 4.5],
        memory: 8.0,
        ..ANY
    },
    Core {
        name: "skylake-x",
        parts: &[(Vendor::Intel, 6, &[85])],
        vector: [3.0, 2.0],
        multiply: [2.0, 2.0],
        shift: [2.0, 1.0],
        load: [2.0, 2.0],
        reads: [40.0, 7.0, 3.8],
        memory: 25.0,
        streams: [0.65, 0.8, 1.0],
        ..ANY
    },
    Core {
        name: "ice-lake",
        // Clients: Ice Lake, Tiger Lake, Rocket Lake.
        parts: &[(Vendor::Intel, 6, &[125, 126, 140, 141, 167])],
        issue: 5.0,
        vector: [3.0, 2.0],
        // The second multiplier of 512 bits is missing.
        multiply: [2.0, 1.0],
        shuffle: [2.0, 1.0],
        shift: [2.0, 1.0],
        load: [2.0, 2.0],
        store: 2.0,
        reads: [42.0, 9.0, 4.5],
        memory: 12.0,
        streams: [0.7, 0.85, 1.0],
        ..ANY
    },
    Core {
        name: "ice-lake-server",
        parts: &[(Vendor::Intel, 6, &[106, 108])],
        issue: 5.0,
        vector: [3.0, 2.0],
        multiply: [2.0, 2.0],
        shuffle: [2.0, 1.0],
        shift: [2.0, 1.0],
        load: [2.0, 2.0],
        store: 2.0,
        reads: [42.0, 8.0, 4.0],
        memory: 45.0,
        streams: [0.65, 0.8, 1.0],
        ..ANY
    },
    Core {
        name: "alder-lake",
        parts: &[(Vendor::Intel, 6, &[151, 154, 183, 186, 191, 170, 172, 197, 198])],
        issue: 6.0,
        vector: [3.0, 0.0],
        multiply: [2.0, 0.0],
        shuffle: [2.0, 0.0],
        shift: [2.0, 0.0],
        load: [3.0, 0.0],
        store: 2.0,
        reads: [45.0, 12.0, 7.0],
        memory: 15.0,
        ..ANY
    },
    Core {
        name: "sapphire-rapids",
        parts: &[(Vendor::Intel, 6, &[143, 207, 173, 174])],
        issue: 6.0,
        vector: [3.0, 2.0],
        multiply: [2.0, 2.0],
        shuffle: [2.0, 1.0],
        shift: [2.0, 1.0],
        load: [3.0, 2.0],
        store: 2.0,
        tile: 16.6,
        // Measured at 2.96 GHz: 125 to 142, 29 and 19.9 GB/s; one stream 12 to 15 (design of the project's kernels).
        reads: [45.0, 9.8, 6.7],
        memory: 80.0,
        streams: [0.62, 0.8, 1.0],
        ..ANY
    },
    Core {
        name: "zen2",
        parts: &[(Vendor::Amd, 23, &[])],
        issue: 5.0,
        vector: [3.0, 0.0],
        multiply: [1.0, 0.0],
        shuffle: [2.0, 0.0],
        shift: [1.0, 0.0],
        latency: 4.0,
        reads: [28.0, 14.0, 5.5],
        memory: 10.0,
        ..ANY
    },
    Core {
        name: "zen4",
        // Zen 5 (family 26) executes as many or more of each.
        parts: &[
            (Vendor::Amd, 25, &[16, 17, 18, 24, 97, 104, 112, 116, 117, 120, 124, 160]),
            (Vendor::Amd, 26, &[]),
        ],
        issue: 6.0,
        // 512 bits pass as two halves. Of four, as with zen3.
        vector: [3.7, 1.85],
        multiply: [2.0, 1.0],
        // As with zen3: the pipes of shifts too, and look-up kernels take 1.2 to 1.25 times what masked planes do.
        shuffle: [1.4, 0.7],
        shuffle_slots: 1.7,
        shift: [2.0, 1.0],
        load: [2.0, 1.0],
        latency: 4.0,
        // Measured on an EPYC 9004 at about 2.3 GHz with `kernelgen roofline`: 90, 71 and 32 GB/s a core, 64 GB/s two; one
        // stream reads as fast as four.
        reads: [39.0, 31.0, 14.0],
        memory: 28.0,
        streams: [0.97, 0.98, 1.0],
        ..ANY
    },
    Core {
        name: "zen3",
        parts: &[(Vendor::Amd, 25, &[])],
        issue: 6.0,
        // Of four; measured with masked planes from cache. Look-up tables get 2.9.
        vector: [3.7, 0.0],
        multiply: [2.0, 0.0],
        // Two pipes, but they are also those of shifts, and look-up kernels reach 0.81 to 0.93 of the masked planes.
        shuffle: [1.4, 0.0],
        shuffle_slots: 1.3,
        shift: [2.0, 0.0],
        load: [2.0, 0.0],
        latency: 4.0,
        // Measured on an EPYC 7003 at about 3.4 GHz; kernels' streams get more from memory than a plain reader.
        reads: [30.0, 20.0, 8.5],
        memory: 17.0,
        streams: [0.9, 0.95, 1.0],
        ..ANY
    },
];

impl Core {
    /// The row of a processor; where there is none, a modest one. Hypervisors give models that they make up: whatever has
    /// tiles is one of the first row with tiles at least.
    pub(super) fn of(caps: &HardwareCaps) -> &'static Self {
        let is = |(vendor, family, models): &(Vendor, u32, &[u32])| {
            caps.vendor == *vendor
                && caps.family == *family
                && (models.is_empty() || models.contains(&caps.model))
        };
        let has_tiles = caps.has(Feature::AmxInt8);
        let possible = |core: &&Core| !has_tiles || core.tile > 0.0;
        let found = ALL.iter().filter(possible).find(|core| core.parts.iter().any(is));
        let tiles = || ALL.iter().find(|core| has_tiles && core.tile > 0.0);
        found.or_else(tiles).unwrap_or(&ANY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craftsman_isa::recorded;

    #[test]
    fn recorded_processors_find_their_rows() {
        for (name, row) in [
            ("haswell", "haswell"),
            ("skylake-x", "skylake-x"),
            ("ice-lake", "ice-lake"),
            ("alder-lake", "alder-lake"),
            ("sapphire-rapids", "sapphire-rapids"),
            ("zen2", "zen2"),
            ("zen3", "zen3"),
            ("zen4", "zen4"),
            ("apple-m1", "any"),
            ("bare-x86-64", "any"),
        ] {
            assert_eq!(Core::of(&recorded::by_name(name).unwrap()).name, row);
        }
    }

    #[test]
    fn servers_of_a_generation_are_not_its_clients() {
        let mut caps = recorded::by_name("ice-lake").unwrap();
        caps.model = 106;
        assert_eq!(Core::of(&caps).name, "ice-lake-server");
    }

    #[test]
    fn a_model_that_was_made_up_hides_no_tiles() {
        let mut caps = recorded::by_name("sapphire-rapids").unwrap();
        caps.model = 167;
        assert_eq!(Core::of(&caps).name, "sapphire-rapids");
    }
}
