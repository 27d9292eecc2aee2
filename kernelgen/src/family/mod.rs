//! Algorithms with a packed layout of their own: one file or folder and one row of [`ALL`] a family.

mod planes;
mod sliced;
mod tl;

use craftsman_golden::TernaryMatrix;

use crate::activations::InputForm;
use crate::backend::Backend;
use crate::code::EmitError;
use crate::config::KernelConfig;
use crate::key::{KernelKey, NameError};
use crate::packed::{Layout, PackedMatrix};
use crate::vocabulary::{Emitter, Word};

/// Every family.
pub static ALL: &[&dyn Family] = &[
    &planes::I2S,
    &planes::BASE3,
    &planes::I2S_SIGNED,
    &planes::BASE3_SIGNED,
    &tl::TL1,
    &tl::TL2,
    &sliced::SLICED,
];

/// A packed layout and the algorithm that multiplies with it.
pub trait Family: Sync {
    /// Its name in configurations, listings and files.
    fn name(&self) -> &'static str;
    /// What it is, for people.
    fn summary(&self) -> &'static str;
    /// Ways to compute with the same layout.
    fn variants(&self) -> Vec<&'static str>;
    /// Words beyond those that every backend has, without which a variant cannot be said.
    fn needs(&self, variant: &str) -> &'static [Word];
    /// How this family would build `key` on `backend`, which serves what a variant needs; empty when it cannot.
    fn configs(&self, key: &KernelKey, backend: &dyn Backend) -> Vec<KernelConfig>;
    /// The layout that a kernel reads, for vectors of `lanes` 32-bit lanes.
    ///
    /// # Errors
    /// When the configuration makes no sense for the key.
    fn layout(&self, key: &KernelKey, config: &KernelConfig, lanes: usize) -> Result<Layout, EmitError>;
    /// The form in which a kernel reads the activations.
    fn input(&self, key: &KernelKey, config: &KernelConfig) -> InputForm;
    /// Packs a matrix, or a gate/up pair of equal shape and granularity.
    ///
    /// # Errors
    /// When the operating system has no memory left.
    fn pack(&self, matrices: &[&TernaryMatrix], layout: &Layout) -> std::io::Result<PackedMatrix>;
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
    /// Says how the activations get from quantised rows ([`Field::Source`](crate::vocabulary::Field::Source)) into the
    /// form that [`input`](Self::input) names ([`Field::Activations`](crate::vocabulary::Field::Activations)), for all
    /// tokens. Not called for rows.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    fn emit_input(
        &self,
        key: &KernelKey,
        config: &KernelConfig,
        emitter: &mut dyn Emitter,
    ) -> Result<(), EmitError> {
        let (_, _) = (config, emitter);
        Err(EmitError::new(format_args!("{key}: {} reads rows", self.name())))
    }
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
