//! The neighbourhood of a configuration: what differs from it by one step in one parameter.

use crate::config::{KernelConfig, Tile};
use crate::key::{Batch, KernelKey};

/// Values of a tile's parameters that are worth trying, ascending. What a family cannot say it refuses.
struct Ladder {
    values: &'static [usize],
    get: fn(&Tile) -> usize,
    set: fn(Tile, usize) -> Tile,
}

const LADDERS: [Ladder; 5] = [
    Ladder {
        // Beyond four streams hardware prefetchers lose track.
        values: &[1, 2, 3, 4, 6, 8],
        get: |tile| tile.panels,
        // As many panels in a stream as before.
        set: |tile, panels| Tile { panels, streams: panels.div_ceil(tile.interleave()), ..tile },
    },
    Ladder {
        // The same panels, more or fewer of them side by side in memory; what does not divide them does not fit.
        values: &[1, 2, 4],
        get: |tile| tile.streams,
        set: |tile, streams| Tile { streams, ..tile },
    },
    Ladder {
        // As many as registers hold sums, on any tier; 8, 16 and 32 are what tiles take.
        values: &[1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 32],
        get: |tile| tile.tokens,
        set: |tile, tokens| Tile { tokens, ..tile },
    },
    Ladder {
        // 15 is what sixteen-bit sums hold of the masked planes.
        values: &[1, 2, 4, 8, 15, 16, 32],
        get: |tile| tile.unroll,
        set: |tile, unroll| Tile { unroll, ..tile },
    },
    Ladder {
        // Up to a page, where hardware prefetchers stop, and somewhat beyond.
        values: &[0, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192],
        get: |tile| tile.prefetch,
        set: |tile, prefetch| Tile { prefetch, ..tile },
    },
];

/// Configurations one step from `config`, in a fixed order. Not all of them need to exist.
pub(super) fn neighbours(key: &KernelKey, config: &KernelConfig) -> Vec<KernelConfig> {
    let tiles = LADDERS.iter().flat_map(|ladder| {
        let here = (ladder.get)(&config.tile);
        let below = ladder.values.iter().rev().find(|value| **value < here);
        let above = ladder.values.iter().find(|value| **value > here);
        below.into_iter().chain(above).map(|value| (ladder.set)(config.tile, *value))
    });
    let suits = |tile: &Tile| match key.batch {
        Batch::Decode => tile.tokens == 1,
        Batch::Small | Batch::Prefill => true,
    };
    tiles.filter(suits).filter(|tile| tile.fits(key)).map(|tile| KernelConfig { tile, ..*config }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ_in_one_parameter_and_can_be_named() {
        let key = "2560x2560-prefill-tensor-a8".parse().unwrap();
        let config: KernelConfig = "avx2-i2s.masked-2x3s2u15p2048".parse().unwrap();
        let around = neighbours(&key, &config);
        assert_eq!(around.len(), 9);
        for other in &around {
            // The number of streams follows the number of panels.
            let changed = |ladder: &&Ladder| (ladder.get)(&other.tile) != (ladder.get)(&config.tile);
            let streams_alone = other.tile.panels == config.tile.panels;
            let expected = if streams_alone { 1 } else { 2 };
            assert_eq!(LADDERS.iter().filter(changed).count(), expected, "{other}");
            assert_eq!(other.to_string().parse(), Ok(*other));
        }
        let key = "2560x2560-decode-tensor-a8".parse().unwrap();
        let config: KernelConfig = "avx2-i2s.masked-1x1s1u7p0".parse().unwrap();
        let names: Vec<_> = neighbours(&key, &config).iter().map(|config| config.tile).collect();
        let tile = |panels, unroll, prefetch| Tile { panels, streams: panels, tokens: 1, unroll, prefetch };
        assert_eq!(names, [tile(2, 7, 0), tile(1, 4, 0), tile(1, 8, 0), tile(1, 7, 256)]);
    }
}
