//! Random products, computed in random ways, against golden.
//!
//! Shapes lie around the edges of vectors, panels, tiles and scale blocks more often than elsewhere, since that is where
//! kernels go wrong; ways to compute begin with what the families would offer, and go on to whatever a name can say. The
//! cases follow from the seed and the processor alone.

use std::fmt;

use craftsman_golden::Granularity;
use craftsman_isa::HardwareCaps;

use crate::backend::{self, Backend};
use crate::config::{KernelConfig, Tile};
use crate::family;
use crate::key::{Batch, Epilogue, KernelKey};
use crate::verify::Random;

/// One product, one way to compute it, and the seed of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// What is computed.
    pub key: KernelKey,
    /// How.
    pub config: KernelConfig,
    /// Seed of weights and activations.
    pub seed: u64,
}

impl fmt::Display for Case {
    /// The command that checks this case alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, config, seed } = self;
        write!(f, "kernelgen verify {key} --config {config} --seed {seed}")
    }
}

/// How large cases may be.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Rows at most.
    pub m: usize,
    /// Columns at most.
    pub k: usize,
    /// Weights at most: a wide matrix is low.
    pub weights: usize,
}

impl Size {
    /// For kernels that run.
    pub const NATIVE: Self = Self { m: 4_000, k: 40_000, weights: 1 << 20 };
    /// For kernels that are interpreted, thousands of times slower.
    pub const SIMULATED: Self = Self { m: 400, k: 2_000, weights: 1 << 13 };
}

/// How often a way is drawn that cannot compute the product that is drawn with it, before there seems to be none.
const TRIES: usize = 1000;

/// An endless sequence of cases for one processor.
#[derive(Debug)]
pub struct Cases {
    random: Random,
    ways: Vec<(usize, usize, &'static str)>,
    size: Size,
}

impl Cases {
    /// The cases that follow from `seed`, for every backend that a processor with `caps` can run; none when there is
    /// no backend.
    pub fn new(caps: &HardwareCaps, seed: u64, size: Size) -> Self {
        let mut ways = Vec::new();
        for (b, backend) in backend::ALL.iter().enumerate().filter(|(_, backend)| backend.runs_on(caps)) {
            for (f, family) in family::ALL.iter().enumerate() {
                let said =
                    family.variants().into_iter().filter(|variant| backend.serves(family.needs(variant)));
                ways.extend(said.map(|variant| (b, f, variant)));
            }
        }
        Self { random: Random::new(seed), ways, size }
    }

    fn case(&mut self) -> Option<Case> {
        (0..TRIES).find_map(|_| {
            let (b, f, variant) = *self.ways.get(self.random.below(self.ways.len().max(1)))?;
            let (backend, family) = (backend::ALL[b], family::ALL[f]);
            let key = self.key(backend);
            let mut offered = family.configs(&key, backend);
            offered.retain(|config| config.variant == variant);
            let offered = offered.get(self.random.below(offered.len().max(1)))?;
            let config = KernelConfig { tile: self.tile(&key, offered.tile), ..*offered };
            Some(Case { key, config, seed: self.random.next() })
        })
    }

    fn key(&mut self, backend: &dyn Backend) -> KernelKey {
        let Size { m, k, weights } = self.size;
        let k = self.length(&[1, 4, 12, 64, 60, 128, 256], k);
        let m = self.length(
            &[1, backend.lanes(), 4 * backend.lanes(), 5 * backend.lanes()],
            m.min(weights / k).max(1),
        );
        let scales = match self.random.below(5) {
            0 | 1 => Granularity::Tensor,
            2 => Granularity::Row,
            _ => Granularity::Block([64, 128, 256][self.random.below(3)]),
        };
        let batch = Batch::ALL[self.random.below(Batch::ALL.len())];
        let epilogue = if self.random.below(2) == 0 {
            Epilogue::None
        } else {
            Epilogue::ALL[self.random.below(Epilogue::ALL.len())]
        };
        let activation_bits = if self.random.below(4) == 0 { 4 } else { 8 };
        KernelKey { activation_bits, epilogue, ..KernelKey::new(m, k, batch, scales) }
    }

    /// A length up to `most`: some multiple of one of `units`, one less or one more; small far more often than large.
    fn length(&mut self, units: &[usize], most: usize) -> usize {
        let unit = units[self.random.below(units.len())];
        let scale = 1 << self.random.below(usize::BITS as usize - most.leading_zeros() as usize);
        let length = (self.random.below(scale) / unit + 1) * unit;
        (length + self.random.below(3)).saturating_sub(1).clamp(1, most)
    }

    /// `tile`, perhaps with other values of some parameters.
    fn tile(&mut self, key: &KernelKey, mut tile: Tile) -> Tile {
        for _ in 0..self.random.below(4) {
            let changed = self.changed(tile);
            if changed.fits(key) {
                tile = changed;
            }
        }
        if key.batch == Batch::Decode {
            tile.tokens = 1;
        }
        tile
    }

    /// `tile` with another value of one parameter.
    fn changed(&mut self, tile: Tile) -> Tile {
        match self.random.below(4) {
            0 => {
                let streams = 1 + self.random.below(3);
                Tile { streams, panels: streams * (1 + self.random.below(3)), ..tile }
            }
            1 => Tile { tokens: 1 + self.random.below(8), ..tile },
            2 => Tile { unroll: 1 + self.random.below(32), ..tile },
            _ => Tile { prefetch: self.random.below(65) * 128, ..tile },
        }
    }
}

impl Iterator for Cases {
    type Item = Case;

    fn next(&mut self) -> Option<Case> {
        self.case()
    }
}

/// The smallest case to be found that still fails: dimensions and parameters are halved, and what need not be there is
/// left out, as long as `fails` holds.
pub fn shrink(case: Case, fails: &mut dyn FnMut(&Case) -> bool) -> Case {
    let mut smallest = case;
    while let Some(smaller) = smaller(&smallest).into_iter().find(|smaller| fails(smaller)) {
        smallest = smaller;
    }
    smallest
}

/// Cases with less in them, the boldest first. Each is smaller in some way and larger in none, so shrinking ends.
fn smaller(case: &Case) -> Vec<Case> {
    let Case { key, config, .. } = *case;
    let less = |value: usize| {
        [value / 2, value - value / 4, value - 1].into_iter().filter(move |less| *less < value)
    };
    let mut keys: Vec<_> = less(key.m).map(|m| KernelKey { m, ..key }).collect();
    keys.extend(less(key.k).map(|k| KernelKey { k, ..key }));
    if key.epilogue != Epilogue::None {
        keys.push(KernelKey { epilogue: Epilogue::None, ..key });
    }
    if key.scales != Granularity::Tensor {
        keys.push(KernelKey { scales: Granularity::Tensor, ..key });
    }
    let tile = config.tile;
    let mut tiles: Vec<_> = less(tile.tokens).map(|tokens| Tile { tokens, ..tile }).collect();
    tiles.extend(less(tile.unroll).map(|unroll| Tile { unroll, ..tile }));
    if tile.streams > 1 {
        tiles.push(Tile { panels: tile.panels / tile.streams, streams: 1, ..tile });
    }
    if tile.prefetch > 0 {
        tiles.push(Tile { prefetch: 0, ..tile });
    }
    let keys = keys.into_iter().filter(|key| key.check().is_ok()).map(|key| Case { key, ..*case });
    let nameable = |config: &KernelConfig| config.to_string().parse::<KernelConfig>().is_ok();
    let configs = tiles.into_iter().map(|tile| KernelConfig { tile, ..config }).filter(nameable);
    keys.chain(configs.map(|config| Case { config, ..*case })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::VerifyError;
    use craftsman_isa::recorded;

    #[test]
    fn cases_follow_from_the_seed_and_can_be_named() {
        let caps = recorded::by_name("sapphire-rapids").unwrap();
        let cases = |seed| Cases::new(&caps, seed, Size::NATIVE).take(300).collect::<Vec<_>>();
        assert_eq!(cases(1), cases(1));
        assert_ne!(cases(1), cases(2));
        for Case { key, config, .. } in cases(1) {
            assert_eq!(key.to_string().parse(), Ok(key));
            assert_eq!(config.to_string().parse(), Ok(config));
            assert!(key.m * key.k <= Size::NATIVE.weights.max(key.k));
        }
    }

    #[test]
    fn most_cases_can_be_said_and_all_are_right() {
        let caps = HardwareCaps::detect();
        let small = Size { m: 200, k: 400, weights: 1 << 12 };
        let mut said = 0;
        for case in Cases::new(&caps, 3, small).take(60) {
            match crate::verify_native(&case.key, &case.config, &caps, case.seed) {
                Ok(_) => said += 1,
                Err(VerifyError::Emit(_)) => {}
                Err(error) => panic!("{case}: {error}"),
            }
        }
        assert!(said > 20, "{said} of 60");
    }

    #[test]
    fn a_failure_shrinks_to_what_it_takes() {
        let case = Case {
            key: "321x1000-prefill-block64-a8-silu".parse().unwrap(),
            config: "avx2-i2s.masked-4x7s2u15p4096".parse().unwrap(),
            seed: 1,
        };
        let mut tried = 0;
        let smallest = shrink(case, &mut |case| {
            tried += 1;
            case.key.k > 130 && case.config.tile.tokens > 2
        });
        assert_eq!(smallest.key.to_string(), "1x131-prefill-tensor-a8");
        assert_eq!(smallest.config.to_string(), "avx2-i2s.masked-2x3s1u1p0");
        assert!(tried < 200, "{tried}");
    }
}
