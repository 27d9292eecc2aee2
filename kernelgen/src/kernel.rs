//! Emitted kernels: first candidates, then, once verified, [`Kernel`]s with a safe call.

use craftsman_golden::{Granularity, TernaryMatrix};
use craftsman_isa::HardwareCaps;

use crate::activations::{Activations, InputForm, TOKEN_GRANULE};
use crate::code::{Code, EmitError};
use crate::config::KernelConfig;
use crate::key::{Batch, KernelKey};
use crate::memory::ExecutableMemory;
use crate::output::OutputColumns;
use crate::packed::{Layout, PackedMatrix};
use crate::perf_map;
use crate::vocabulary::{Arguments, Emitter};

/// Activations of one call: half of a second-level cache of 2 MiB. Tiles read 1 KiB of them for 66 cycles of products,
/// more than a third-level cache gives.
const ACTIVATION_BYTES: usize = 1 << 20;

/// The machine code of one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelCode {
    /// The product.
    pub product: Code,
    /// What makes the form of the activations that the product reads, where that is not rows.
    pub input: Option<Code>,
}

/// Emits the machine code of `key`, built as `config` says, for `caps`.
///
/// # Errors
/// When the key is out of range, or the backend or family cannot say it.
pub fn emit(key: &KernelKey, config: &KernelConfig, caps: &HardwareCaps) -> Result<KernelCode, EmitError> {
    key.check().map_err(EmitError::new)?;
    if !config.tile.fits(key) {
        return Err(EmitError::new(format_args!("{config}: the tile does not fit {key}")));
    }
    let (backend, family) = config.parts()?;
    let compile = |say: &dyn Fn(&mut dyn Emitter) -> Result<(), EmitError>| {
        let mut said = Ok(());
        let code = backend.compile(caps, &mut |emitter| said = say(emitter));
        said.and(code)
    };
    let product = compile(&|emitter| family.emit(key, config, emitter))?;
    let rows = family.input(key, config) == InputForm::rows(key.k);
    let input = (!rows).then(|| compile(&|emitter| family.emit_input(key, config, emitter))).transpose()?;
    Ok(KernelCode { product, input })
}

/// Packs a matrix, or the two of a gate/up pair, for kernels of `key` that are built as `config` says.
///
/// # Errors
/// When the configuration makes no sense for the key, the matrices are not the key's, or memory is short.
pub fn pack(
    key: &KernelKey,
    config: &KernelConfig,
    matrices: &[&TernaryMatrix],
) -> Result<PackedMatrix, EmitError> {
    key.check().map_err(EmitError::new)?;
    let (_, family) = config.parts()?;
    let fits = |matrix: &&TernaryMatrix| {
        (matrix.m(), matrix.k()) == (key.m, key.k) && matrix.scales().granularity() == key.scales
    };
    if matrices.len() != key.matrices() || !matrices.iter().all(fits) {
        return Err(EmitError::new(format_args!("these are not the weights of {key}")));
    }
    family
        .pack(matrices, &config.layout(key)?)
        .map_err(|error| EmitError::new(format_args!("no memory for packed weights: {error}")))
}

/// Executable code of this processor that has not been checked yet. Only [`verify`](crate::verify) runs it.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) key: KernelKey,
    pub(crate) config: KernelConfig,
    pub(crate) layout: Layout,
    form: InputForm,
    product: ExecutableMemory,
    input: Option<ExecutableMemory>,
}

impl Candidate {
    /// Makes `code` executable. The caller has seen to it that this processor can run the backend's code.
    pub(crate) fn new(key: KernelKey, config: KernelConfig, code: &KernelCode) -> Result<Self, EmitError> {
        let (_, family) = config.parts()?;
        let product = ExecutableMemory::new(&code.product)?;
        perf_map::record(product.code(), format_args!("{key}/{config}"));
        Ok(Self {
            layout: config.layout(&key)?,
            form: family.input(&key, &config),
            product,
            input: code.input.as_ref().map(ExecutableMemory::new).transpose()?,
            key,
            config,
        })
    }

    /// Makes the form of `x` that the product reads, if it is not there yet.
    pub(crate) fn prepare(&self, x: &mut Activations) {
        let Some(input) = &self.input else { return };
        self.check_input(x);
        x.make_form(self.form, |x, bytes| {
            let mut arguments = Arguments {
                source: x.q().as_ptr().cast(),
                activations: bytes.as_ptr(),
                token_words: x.words().as_ptr(),
                tokens: x.tokens(),
                ..Arguments::default()
            };
            // SAFETY: the code was emitted for `key` and this processor (`new`). It reads x.tokens() rows of padded
            // activations of the key's k (`check_input`) and writes their form, for which `make_form` gives as many
            // bytes as the family asks for that many tokens.
            unsafe { input.call(&mut arguments) }
        });
    }

    fn check_input(&self, x: &Activations) {
        assert!(x.k() == self.key.k && x.suits(self.key.scales), "activations of {}", x.k());
        assert!(x.bits() <= self.key.activation_bits, "activations of {} bits", x.bits());
        assert!(self.key.batch != Batch::Decode || x.tokens() == 1, "decode of {} tokens", x.tokens());
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
        self.check_input(x);
        let activations = x.form(&self.form).expect("prepare the activations first");
        if rows.is_empty() {
            return;
        }
        let first = rows.start / packed.panel_rows * packed.matrices();
        let step = self.tokens_per_call();
        for token in (0..x.tokens()).step_by(step) {
            let mut arguments = Arguments {
                weights: weights.bytes()[first * packed.panel_bytes..].as_ptr(),
                scales: weights.scales()[first * self.scale_stride()..].as_ptr(),
                activations: activations.wrapping_add(self.form.token_offset(token)),
                token_words: x.words()[token * (1 + self.key.blocks().1)..].as_ptr(),
                output: out.base().wrapping_add(token * self.key.m + rows.start),
                panels: rows.len() / packed.panel_rows,
                tail: usize::from(!rows.len().is_multiple_of(packed.panel_rows)),
                tokens: step.min(x.tokens() - token),
                ..Arguments::default()
            };
            // SAFETY: the code was emitted for `key` and this processor (`new`). The checks above tie every buffer to
            // the key: packed panels from `first` to the end of `rows` with their scales; the tokens from `token` on,
            // no more than x.tokens() in all, of activations in the form that the family names and their words
            // (`Activations` sizes both from k and the block length); and the columns `rows` of these tokens' output
            // rows, that `out` alone may write.
            unsafe { self.product.call(&mut arguments) }
        }
    }

    /// How many tokens a call takes, so that their activations, which every panel reads again, stay in the
    /// second-level cache. Weights come from memory once a call, which so many products hide.
    fn tokens_per_call(&self) -> usize {
        let token = self.form.group_bytes.div_ceil(self.form.group);
        (ACTIVATION_BYTES / token / TOKEN_GRANULE).max(1) * TOKEN_GRANULE
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

    /// Makes the form of `x` that this kernel reads. Kernels of other matrices with the same input share it.
    ///
    /// # Panics
    /// When the activations are not those of this kernel's key: a bug in the caller.
    pub fn prepare(&self, x: &mut Activations) {
        self.0.prepare(x);
    }

    /// Computes `y[token, row] = (sum over k of trit * q) * scale / a`, and the key's epilogue, for the rows that `out`
    /// holds.
    ///
    /// # Panics
    /// When weights, activations and output are not those of this kernel's key and layout, the activations have not been
    /// [prepared](Self::prepare), or `out` begins or ends inside a panel: bugs in the caller.
    pub fn run(&self, weights: &PackedMatrix, x: &Activations, out: &mut OutputColumns<'_>) {
        assert_eq!(weights.layout(), self.layout(), "weights packed for another kernel");
        self.0.run(weights, x, out);
    }
}
