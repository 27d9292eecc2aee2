//! How each ISA tier says the vector vocabulary: one file and one row of [`ALL`] a backend.

mod amx;
mod avx2;
mod avx512bitalg;
mod avx512bw;
mod avx512vnni;
mod avxvnni;
mod i8mm;
mod neon;
mod neondot;
mod portable;
mod relaxedsimd;
mod simd128;

use craftsman_isa::{Feature, HardwareCaps};

use crate::code::{Code, EmitError};
use crate::key::NameError;
use crate::vocabulary::{Accumulation, Emitter, Word};

/// Every backend, the most capable first: the order in which the selector tries them.
pub static ALL: &[&dyn Backend] = &[
    &amx::AMX,
    &avx512vnni::AVX512_VNNI,
    &avx512bitalg::AVX512_BITALG,
    &avxvnni::AVX_VNNI,
    &avx512bw::AVX512_BW,
    &avx2::AVX2,
    &i8mm::I8MM,
    &neondot::NEON_DOT,
    &neon::NEON,
    &relaxedsimd::RELAXED_SIMD,
    &simd128::SIMD128,
    &portable::Portable,
];

/// What is said of an ISA tier.
#[derive(Debug)]
pub struct Tier {
    /// Its name in configurations, listings and files.
    pub name: &'static str,
    /// What it is, for people.
    pub summary: &'static str,
    /// What a processor must have to run its code.
    pub requires: &'static [Feature],
}

/// An ISA tier that kernels can be emitted for.
pub trait Backend: Sync {
    /// What is said of it.
    fn tier(&self) -> &Tier;
    /// 32-bit lanes of its vectors.
    fn lanes(&self) -> usize;
    /// How it multiplies.
    fn accumulation(&self) -> Accumulation;
    /// How many vector registers a family may count on; a compiler that spills names a comfortable number.
    fn registers(&self) -> usize;
    /// Whether it has `word`, for families that need it.
    fn says(&self, word: Word) -> bool;
    /// The words for which this backend exists beside a lesser one that says everything else alike. Whoever needs none
    /// of them is served by the lesser one.
    fn adds(&self) -> &'static [Word] {
        &[]
    }
    /// How many instructions it takes to say `word`, about, for the model of what kernels cost.
    fn instructions(&self, _: Word) -> usize {
        1
    }
    /// Machine code, for `caps`, of the kernel that `say` says.
    ///
    /// # Errors
    /// When this build of Craftsman cannot emit for that processor, or the first thing this tier cannot say.
    fn compile(&self, caps: &HardwareCaps, say: &mut dyn FnMut(&mut dyn Emitter)) -> Result<Code, EmitError>;

    /// See [`Tier::name`].
    fn name(&self) -> &'static str {
        self.tier().name
    }

    /// See [`Tier::summary`].
    fn summary(&self) -> &'static str {
        self.tier().summary
    }

    /// See [`Tier::requires`].
    fn requires(&self) -> &'static [Feature] {
        self.tier().requires
    }

    /// Whether a processor can run this backend's code.
    fn runs_on(&self, caps: &HardwareCaps) -> bool {
        self.requires().iter().all(|&feature| caps.features.contains(feature))
    }

    /// Whether an algorithm that needs these words is to be said by this backend.
    fn serves(&self, needs: &[Word]) -> bool {
        let adds = self.adds();
        needs.iter().all(|&word| self.says(word))
            && (adds.is_empty() || needs.iter().any(|word| adds.contains(word)))
    }
}

/// The first thing that `build` makes of a backend of `caps`, best first, where no special words are needed; `dropped`
/// hears of each failure.
///
/// # Errors
/// What was wrong with the last backend that was tried.
pub(crate) fn first_right<T>(
    caps: &HardwareCaps,
    build: impl Fn(&dyn Backend) -> Result<T, EmitError>,
    dropped: impl Fn(&'static str, &EmitError),
) -> Result<T, EmitError> {
    let mut last = EmitError::new("no backend runs here");
    for backend in ALL.iter().filter(|backend| backend.runs_on(caps) && backend.serves(&[])) {
        match build(*backend) {
            Ok(built) => return Ok(built),
            Err(error) => {
                dropped(backend.name(), &error);
                last = error;
            }
        }
    }
    Err(last)
}

/// The backend called `name`.
///
/// # Errors
/// Names the backends there are.
pub fn by_name(name: &str) -> Result<&'static dyn Backend, NameError> {
    let names: Vec<_> = ALL.iter().map(|backend| backend.name()).collect();
    let found = ALL.iter().find(|backend| backend.name() == name);
    found.copied().ok_or_else(|| NameError::new(&format!("a backend is one of {names:?}"), name))
}
