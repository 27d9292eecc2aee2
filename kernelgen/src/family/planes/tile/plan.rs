//! What is planned before anything is said: which tiles to try, what they hold, and the order in which k is walked.

use super::super::input::STEP;
use super::super::packing::Plan;
use crate::activations::TOKEN_GRANULE;
use crate::config::Tile;
use crate::key::{Batch, KernelKey};
use crate::vocabulary::tiles::{REGISTERS, ROW_BYTES, ROWS};
use crate::vocabulary::{TileRegister, TileShape};

/// Columns of a tile.
pub(super) const COLUMNS: usize = ROW_BYTES;

/// A way to walk k.
#[derive(Debug)]
pub(in super::super) struct Variant {
    pub(in super::super) name: &'static str,
    /// In as many parts side by side as a round visits tiles: so weights come as several streams, which memory likes.
    pub(super) split: bool,
}

/// Every way.
pub(in super::super) static VARIANTS: [Variant; 2] =
    [Variant { name: "tile", split: false }, Variant { name: "split", split: true }];

impl Variant {
    pub(in super::super) fn by_name(name: &str) -> Option<&'static Self> {
        VARIANTS.iter().find(|variant| variant.name == name)
    }
}

/// Tiles worth trying for panels of `panel_rows` rows, by variant.
pub(in super::super) fn tiles(key: &KernelKey, panel_rows: usize) -> Vec<(&'static str, Tile)> {
    // Up to eight tokens take 10.4 cycles a product instead of 16.6; 32 halve the planes made.
    let (tokens, ahead): (&[usize], &[usize]) = match key.batch {
        Batch::Decode => return Vec::new(),
        Batch::Small => (&[16, 8], &[4096, 0]),
        Batch::Prefill => (&[16, 32], &[0, 4096]),
    };
    let matrices = key.matrices();
    let panels = key.m.div_ceil(panel_rows);
    let mut tiles = Vec::new();
    for interleave in [1, 2, 4].into_iter().filter(|&n| n == 1 || (matrices == 1 && n <= panels)) {
        let (panels, streams) = (matrices * interleave, matrices);
        for &tokens in tokens {
            for &prefetch in ahead {
                let variants: &[(usize, usize)] =
                    if prefetch > 0 { &[(1, 4), (0, 2)] } else { &[(0, 2), (0, 1)] };
                tiles.extend(variants.iter().map(|&(variant, unroll)| {
                    (VARIANTS[variant].name, Tile { panels, streams, tokens, unroll, prefetch })
                }));
            }
        }
    }
    tiles
}

/// How many planes and tokens have sums in tiles at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) planes: usize,
    /// Tiles of tokens.
    pub(super) tokens: usize,
    /// Tokens of each.
    pub(super) rows: usize,
}

impl Grid {
    /// The grid for `tokens` tokens at a time, which must divide what the activations' words are padded to.
    pub(super) fn new(plan: &Plan, tokens: usize) -> Option<Self> {
        if tokens < 2 || !TOKEN_GRANULE.is_multiple_of(tokens) {
            return None;
        }
        let tiles = tokens.div_ceil(ROWS);
        // Beside the sums: the activations, and a plane.
        let planes = (REGISTERS - tiles - 1) / tiles;
        Some(Self { planes: planes.min(plan.planes.len()), tokens: tiles, rows: tokens / tiles })
    }

    pub(super) fn sum(self, plane: usize, token: usize) -> TileRegister {
        TileRegister((plane * self.tokens + token) as u32)
    }

    pub(super) fn activations(self, token: usize) -> TileRegister {
        TileRegister((self.planes * self.tokens + token) as u32)
    }

    /// How many tiles are left for planes.
    pub(super) fn spare(self) -> usize {
        REGISTERS - (self.planes + 1) * self.tokens
    }

    /// The tile for a plane: those that are left take turns.
    pub(super) fn weights(self, plane: usize) -> TileRegister {
        TileRegister((REGISTERS - self.spare() + plane % self.spare()) as u32)
    }

    pub(super) fn shapes(self) -> [TileShape; REGISTERS] {
        let first = self.weights(0).0 as usize;
        std::array::from_fn(|tile| TileShape {
            rows: if tile < first { self.rows } else { ROWS },
            row_bytes: ROW_BYTES,
        })
    }
}

/// 64 columns of weights on their way: where they lie, counted in tiles from the pointers on, how many of their steps
/// exist, and which of two buffers their planes are made in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) tile: usize,
    pub(super) steps: usize,
    pub(super) buffer: usize,
}

/// In which order a walk visits the tiles of its columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// Full tiles, and steps of the last, partial one.
    full: usize,
    rest: usize,
    /// Tiles that a round of the loop visits.
    pub(super) unroll: usize,
    /// As so many parts of k side by side, each a stream of memory, as a round visits tiles; or one after the other.
    split: bool,
}

impl Order {
    pub(super) fn new(columns: usize, unroll: usize, split: bool) -> Self {
        Self { full: columns / COLUMNS, rest: (columns % COLUMNS).div_ceil(STEP), unroll, split }
    }

    /// Visits in all.
    pub(super) fn visits(self) -> usize {
        self.full + usize::from(self.rest > 0)
    }

    /// Rounds of the loop. The last one is left out of it, because it knows what follows.
    pub(super) fn rounds(self) -> usize {
        (self.full / self.unroll).saturating_sub(1)
    }

    /// How many tiles a round moves on by.
    pub(super) fn pace(self) -> usize {
        if self.split { 1 } else { self.unroll }
    }

    /// Whether planes are made one visit ahead of their products, in the other buffer.
    pub(super) fn makes_ahead(self) -> bool {
        self.unroll > 1
    }

    /// What is visited at `visit`, seen from pointers that have moved on by `moved` tiles.
    pub(super) fn place(self, visit: usize, moved: usize) -> Place {
        Place {
            tile: self.tile(visit) - moved,
            steps: if visit == self.full { self.rest } else { ROWS },
            buffer: if self.makes_ahead() { visit % 2 } else { 0 },
        }
    }

    /// Which tile is visited at `visit`; after the full ones comes the partial one.
    fn tile(self, visit: usize) -> usize {
        let part = self.full / self.unroll;
        let side_by_side = self.split && visit < part * self.unroll;
        if side_by_side { visit % self.unroll * part + visit / self.unroll } else { visit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_visited_once() {
        for columns in 1..1500 {
            for (unroll, split) in [(1, false), (2, false), (4, false), (4, true), (8, true)] {
                let order = Order::new(columns, unroll, split);
                let mut tiles: Vec<_> = (0..order.visits()).map(|visit| order.place(visit, 0).tile).collect();
                tiles.sort_unstable();
                assert!(tiles.into_iter().eq(0..columns.div_ceil(COLUMNS)), "{columns} {order:?}");
                let steps: usize = (0..order.visits()).map(|visit| order.place(visit, 0).steps).sum();
                assert_eq!(steps, columns.div_ceil(STEP), "{order:?}");
            }
        }
    }

    /// What a round says from its pointers holds for every round, and for what is made ahead of the next.
    #[test]
    fn rounds_are_alike() {
        for (columns, unroll, split) in [(1280, 2, false), (1300, 4, true), (1216, 8, false), (2048, 4, true)]
        {
            let order = Order::new(columns, unroll, split);
            for round in 0..order.rounds() {
                for visit in 0..=unroll {
                    let (said, meant) =
                        (order.place(visit, 0), order.place(round * unroll + visit, round * order.pace()));
                    assert_eq!((said.tile, said.steps, said.buffer), (meant.tile, meant.steps, meant.buffer));
                }
            }
        }
    }
}
