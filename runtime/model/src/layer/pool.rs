//! The experts of one layer, each decoded and packed when a token is first routed to it.
//!
//! An expert is packed once, however many sessions ask for it at the same time: one packs, the others wait for that
//! expert alone. What is packed does not depend on when, so neither do results. An expert that cannot be packed fails the
//! pass that needs it, and stays as it was.

use std::fmt::Debug;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use super::{Engine, Gated};
use crate::ModelError;

/// Where the experts of one layer come from.
pub(crate) trait ExpertSource: Debug + Send + Sync {
    /// Decodes and packs expert number `expert`.
    fn pack(&self, expert: usize) -> Result<Gated, ModelError>;
}

/// The experts of one layer.
#[derive(Debug)]
pub(crate) struct ExpertPool {
    layer: usize,
    slots: Vec<Slot>,
    /// What packs those that are not packed; nothing when all are.
    source: Option<Box<dyn ExpertSource>>,
    /// Packed bytes of one; they are all of one size.
    each: usize,
}

#[derive(Debug, Default)]
struct Slot {
    packed: OnceLock<Gated>,
    /// Held by who packs it.
    packing: Mutex<()>,
}

impl ExpertPool {
    /// `count` experts, which take `each` bytes when they are packed, and none of which is.
    pub(crate) fn new(layer: usize, count: usize, each: usize, source: Box<dyn ExpertSource>) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(count, Slot::default);
        Self { layer, slots, source: Some(source), each }
    }

    /// `count` experts, all packed now.
    pub(crate) fn resident(
        layer: usize,
        count: usize,
        source: Box<dyn ExpertSource>,
    ) -> Result<Self, ModelError> {
        let mut pool = Self::new(layer, count, 0, source);
        for expert in 0..count {
            pool.each = pool.get(expert)?.bytes();
        }
        pool.source = None;
        Ok(pool)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Those that are packed, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Gated)> {
        self.slots.iter().enumerate().filter_map(|(expert, slot)| Some((expert, slot.packed.get()?)))
    }

    /// How many are packed.
    pub(crate) fn packed(&self) -> usize {
        self.iter().count()
    }

    /// Bytes of those that are packed.
    pub(crate) fn bytes(&self) -> usize {
        self.iter().map(|(_, gated)| gated.bytes()).sum()
    }

    /// Bytes of `count` packed experts.
    pub(crate) fn bytes_of(&self, count: usize) -> usize {
        self.each * count
    }

    /// The experts `chosen`; those that are not packed yet are packed side by side.
    pub(crate) fn select(&self, engine: &Engine<'_>, chosen: &[usize]) -> Result<Vec<&Gated>, ModelError> {
        let missing = chosen.iter().copied().filter(|&expert| self.slots[expert].packed.get().is_none());
        // An expert that fails here fails again below, where the first of them is reported.
        engine.threads.run(missing.collect(), |expert| drop(self.get(expert)));
        chosen.iter().map(|&expert| self.get(expert)).collect()
    }

    fn get(&self, expert: usize) -> Result<&Gated, ModelError> {
        let Slot { packed, packing } = &self.slots[expert];
        if let Some(gated) = packed.get() {
            return Ok(gated);
        }
        let _turn = packing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gated) = packed.get() {
            return Ok(gated);
        }
        let start = Instant::now();
        let source = self.source.as_deref().expect("only a pool whose experts are all packed has no source");
        let gated = source.pack(expert)?;
        let (layer, bytes, seconds) = (self.layer, gated.bytes(), start.elapsed().as_secs_f64());
        tracing::debug!(name: "ExpertPagedIn", layer, expert, bytes, seconds);
        Ok(packed.get_or_init(|| gated))
    }
}
