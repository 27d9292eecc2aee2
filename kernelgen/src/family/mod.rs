//! Algorithms with a packed layout of their own: one file and one row of [`ALL`] a family.

mod i2s;

use craftsman_golden::TernaryMatrix;

use crate::backend::Backend;
use crate::code::EmitError;
use crate::config::KernelConfig;
use crate::key::{KernelKey, NameError};
use crate::packed::{Layout, PackedMatrix};
use crate::vocabulary::Emitter;

/// Every family.
pub static ALL: &[&dyn Family] = &[&i2s::I2s];

/// A packed layout and the algorithm that multiplies with it.
pub trait Family: Sync {
    /// Its name in configurations, listings and files.
    fn name(&self) -> &'static str;
    /// What it is, for people.
    fn summary(&self) -> &'static str;
    /// Ways to compute with the same layout.
    fn variants(&self) -> &'static [&'static str];
    /// How this family would build `key` on `backend`, the best guess first; empty when it cannot.
    fn configs(&self, key: &KernelKey, backend: &dyn Backend) -> Vec<KernelConfig>;
    /// The layout of an `[m, k]` matrix for vectors of `lanes` 32-bit lanes.
    fn layout(&self, m: usize, k: usize, lanes: usize) -> Layout;
    /// Packs a matrix for vectors of `lanes` 32-bit lanes.
    ///
    /// # Errors
    /// When the operating system has no memory left.
    fn pack(&self, matrix: &TernaryMatrix, lanes: usize) -> std::io::Result<PackedMatrix>;
    /// Says the algorithm in `emitter`'s words.
    ///
    /// # Errors
    /// When the configuration makes no sense for the key. What the emitter cannot say it reports itself.
    fn emit(
        &self,
        key: &KernelKey,
        config: &KernelConfig,
        emitter: &mut dyn Emitter,
    ) -> Result<(), EmitError>;
}

/// The family called `name`.
///
/// # Errors
/// Names the families there are.
pub fn by_name(name: &str) -> Result<&'static dyn Family, NameError> {
    let names: Vec<_> = ALL.iter().map(|family| family.name()).collect();
    let found = ALL.iter().find(|family| family.name() == name);
    found.copied().ok_or_else(|| NameError::new(&format!("a family is one of {names:?}"), name))
}
