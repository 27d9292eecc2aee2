//! How a kernel is built: [`KernelConfig`].

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::backend::{self, Backend};
use crate::code::EmitError;
use crate::family::{self, Family};
use crate::key::{KernelKey, NameError, number};
use crate::packed::Layout;

/// How much of the output a kernel holds in registers, and how it walks memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Panels of rows that are processed together; of a pair, 1 is gate first and then up.
    pub panels: usize,
    /// Streams through the weights that they form: `panels / streams` of them alternate in memory, step by step.
    pub streams: usize,
    /// Tokens that are processed together.
    pub tokens: usize,
    /// Steps of the family that a round of the innermost loop takes.
    pub unroll: usize,
    /// How far ahead of the weights the cache is asked for them, in bytes; 0 for not at all.
    pub prefetch: usize,
}

/// One way to build a kernel; immutable once selected.
///
/// Its name is structured, stands alike in logs, listings, benches and file names, and parses back:
/// `avx512vnni-i2s.planes-4x1s4u8p2048` is backend, family with its variant, panels x tokens, streams, unroll, prefetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelConfig {
    /// Name of the backend, a row of [`backend::ALL`].
    pub backend: &'static str,
    /// Name of the family, a row of [`family::ALL`].
    pub family: &'static str,
    /// Name of the family's variant.
    pub variant: &'static str,
    /// Tile, unroll and prefetch distance.
    pub tile: Tile,
}

impl KernelConfig {
    /// The backend and the family that the names stand for.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(crate) fn parts(&self) -> Result<(&'static dyn Backend, &'static dyn Family), EmitError> {
        let backend = backend::by_name(self.backend).map_err(EmitError::new)?;
        let family = family::by_name(self.family).map_err(EmitError::new)?;
        Ok((backend, family))
    }

    /// The layout of weights that a kernel for `key`, built so, reads.
    ///
    /// # Errors
    /// When the configuration makes no sense for the key.
    pub fn layout(&self, key: &KernelKey) -> Result<Layout, EmitError> {
        let (backend, family) = self.parts()?;
        family.layout(key, self, backend.lanes())
    }
}

impl fmt::Display for KernelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tile { panels, tokens, streams, unroll, prefetch } = self.tile;
        let Self { backend, family, variant, .. } = self;
        write!(f, "{backend}-{family}.{variant}-{panels}x{tokens}s{streams}u{unroll}p{prefetch}")
    }
}

impl Serialize for KernelConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for KernelConfig {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shape = || NameError::new("a kernel configuration reads BACKEND-FAMILY.VARIANT-PxTsSuUpD", text);
        let mut fields = text.split('-');
        let (Some(backend), Some(algorithm), Some(tile), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(shape());
        };
        let (family, variant) = algorithm.split_once('.').ok_or_else(shape)?;
        let family = family::by_name(family)?;
        let variants = family.variants();
        let known = variants.iter().find(|known| **known == variant);
        Ok(Self {
            backend: backend::by_name(backend)?.name(),
            family: family.name(),
            variant: known.ok_or_else(|| NameError::new(&format!("one of {variants:?}"), variant))?,
            tile: tile.parse()?,
        })
    }
}

impl FromStr for Tile {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shape = || NameError::new("a tile reads PxTsSuUpD", text);
        let (panels, rest) = text.split_once('x').ok_or_else(shape)?;
        let (tokens, rest) = rest.split_once('s').ok_or_else(shape)?;
        let (streams, rest) = rest.split_once('u').ok_or_else(shape)?;
        let (unroll, prefetch) = rest.split_once('p').ok_or_else(shape)?;
        let tile = Self {
            panels: number(panels)?,
            streams: number(streams)?,
            tokens: number(tokens)?,
            unroll: number(unroll)?,
            prefetch: number(prefetch)?,
        };
        let sane = (1..=16).contains(&tile.panels)
            && tile.streams > 0
            && tile.panels.is_multiple_of(tile.streams)
            && (1..=64).contains(&tile.tokens)
            && (1..=64).contains(&tile.unroll)
            && tile.prefetch <= 1 << 20;
        if sane { Ok(tile) } else { Err(NameError::new("a tile of sensible size", text)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_has_a_name_that_parses_back() {
        for backend in backend::ALL {
            for family in family::ALL {
                for variant in family.variants() {
                    let tile = Tile { panels: 4, streams: 2, tokens: 1, unroll: 8, prefetch: 2048 };
                    let config =
                        KernelConfig { backend: backend.name(), family: family.name(), variant, tile };
                    assert_eq!(config.to_string().parse(), Ok(config));
                }
            }
        }
    }

    #[test]
    fn unknown_names_say_what_is_known() {
        let error = "sse9-i2s.masked-1x1s1u1p0".parse::<KernelConfig>().unwrap_err().to_string();
        assert!(error.contains("avx2") && error.contains("sse9"), "{error}");
    }
}
