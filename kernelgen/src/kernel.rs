//! Emitted kernels: first candidates, then, once verified, [`Kernel`]s with a safe call.

use std::mem::MaybeUninit;

use craftsman_golden::Granularity;
use craftsman_isa::HardwareCaps;

use crate::activations::Activations;
use crate::code::{Code, EmitError};
use crate::config::KernelConfig;
use crate::key::{Batch, KernelKey};
use crate::memory::ExecutableMemory;
use crate::output::OutputColumns;
use crate::packed::{Layout, PackedMatrix};
use crate::vocabulary::{Arguments, Scratch};
use crate::{backend, family, perf_map};

/// Emits the machine code of `key`, built as `config` says, for `caps`.
///
/// # Errors
/// When the key is out of range, or the backend or family cannot say it.
pub fn emit(key: &KernelKey, config: &KernelConfig, caps: &HardwareCaps) -> Result<Code, EmitError> {
    key.check().map_err(EmitError::new)?;
    let backend = backend::by_name(config.backend).map_err(EmitError::new)?;
    let family = family::by_name(config.family).map_err(EmitError::new)?;
    let mut said = Ok(());
    let code = backend.compile(caps, &mut |emitter| said = family.emit(key, config, emitter));
    said.and(code)
}

/// The layout that kernels built as `config` says read.
pub(crate) fn layout(key: &KernelKey, config: &KernelConfig) -> Result<Layout, EmitError> {
    let backend = backend::by_name(config.backend).map_err(EmitError::new)?;
    let family = family::by_name(config.family).map_err(EmitError::new)?;
    Ok(family.layout(key.m, key.k, backend.lanes()))
}

/// Executable code of this processor that has not been checked yet. Only [`verify`](crate::verify) runs it.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) key: KernelKey,
    pub(crate) config: KernelConfig,
    pub(crate) layout: Layout,
    memory: ExecutableMemory,
}

impl Candidate {
    /// Makes `code` executable. The caller has seen to it that this processor can run the backend's code.
    pub(crate) fn new(key: KernelKey, config: KernelConfig, code: &Code) -> Result<Self, EmitError> {
        let layout = layout(&key, &config)?;
        let memory = ExecutableMemory::new(&code.bytes)?;
        perf_map::record(memory.code(), format_args!("{key}/{config}"));
        Ok(Self { key, config, layout, memory })
    }

    /// Runs on all rows of `weights`, which may be fewer than the key's, as long as the last panel is as full.
    pub(crate) fn run(&self, weights: &PackedMatrix, x: &Activations, out: &mut OutputColumns<'_>) {
        let packed = weights.layout();
        let rows = out.rows();
        let last =
            rows.end == packed.m && packed.m % packed.panel_rows == self.layout.m % self.layout.panel_rows;
        assert!(Layout { m: self.layout.m, ..*packed } == self.layout, "{packed:?} is not {:?}", self.layout);
        assert!(
            rows.start.is_multiple_of(packed.panel_rows) && rows.end <= packed.m,
            "{rows:?} of {packed:?}"
        );
        assert!(rows.end.is_multiple_of(packed.panel_rows) || last, "{rows:?} ends inside a panel");
        assert!(out.stride() == self.key.m && out.tokens() == x.tokens(), "output is {}", out.stride());
        assert!(x.k() == self.key.k && x.suits(self.key.scales), "activations of {}", x.k());
        assert!(self.key.batch == Batch::Prefill || x.tokens() == 1, "decode of {} tokens", x.tokens());
        if rows.is_empty() {
            return;
        }
        let mut scratch = MaybeUninit::<Scratch>::uninit();
        let first = rows.start / packed.panel_rows;
        let mut arguments = Arguments {
            weights: weights.bytes()[first * packed.panel_bytes..].as_ptr(),
            scales: weights.scales()[first * self.scale_stride()..].as_ptr(),
            activations: x.q().as_ptr(),
            token_words: x.words().as_ptr(),
            output: out.base().wrapping_add(rows.start),
            scratch: scratch.as_mut_ptr().cast(),
            panels: rows.len() / packed.panel_rows,
            tail: usize::from(!rows.len().is_multiple_of(packed.panel_rows)),
            tokens: x.tokens(),
            ..Arguments::default()
        };
        // SAFETY: the code was emitted for `key` and this processor (`new`). The checks above tie every buffer to the
        // key: packed panels from `first` to the end of `rows` with their scales; x.tokens() rows of padded
        // activations and their words (`Activations` sizes both from k and the block length); and the columns `rows`
        // of x.tokens() output rows that `out` alone may write. The work space is as large and aligned as promised.
        unsafe { self.memory.call(&mut arguments) }
    }

    /// Scales from one panel to the next.
    fn scale_stride(&self) -> usize {
        match self.key.scales {
            Granularity::Tensor => 0,
            Granularity::Row | Granularity::Block(_) => self.layout.panel_rows * self.key.blocks().1,
        }
    }
}

/// Machine code that has given golden's answer, bit for bit. There is no other way to have one.
#[derive(Debug)]
pub struct Kernel(pub(crate) Candidate);

impl Kernel {
    /// What it computes.
    pub fn key(&self) -> &KernelKey {
        &self.0.key
    }

    /// How it is built.
    pub fn config(&self) -> &KernelConfig {
        &self.0.config
    }

    /// The layout of the weights it reads.
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Computes `y[token, row] = (sum over k of trit * q) * scale / a` for the rows that `out` holds.
    ///
    /// # Panics
    /// When weights, activations and output are not those of this kernel's key and layout, or `out` begins or ends
    /// inside a panel: bugs in the caller.
    pub fn run(&self, weights: &PackedMatrix, x: &Activations, out: &mut OutputColumns<'_>) {
        assert_eq!(weights.layout(), self.layout(), "weights packed for another kernel");
        self.0.run(weights, x, out);
    }
}
