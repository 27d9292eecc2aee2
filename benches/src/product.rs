//! Contestants of matrix products: emitted kernels, golden, the processor's ceiling and, as a feature, llama.cpp.

use std::hint::black_box;

use craftsman_golden::TernaryMatrix;
use craftsman_golden::gemm::ternary_gemm;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{
    Activations, Batch, KernelCompiler, KernelConfig, KernelKey, LinearOptions, OutputMatrix, TernaryLinear,
};

use craftsman_kernelgen::roofline::{PeakProbe, Stretch};

use crate::contest::Contestant;
use crate::suite::{Field, Subject};
use crate::ways::{Offer, UnusableKernel, ways};
use crate::{quantized_tokens, ternary_matrix};
use craftsman_kernelgen::clock::drive;

/// A matrix product `[m, k] x [k, tokens]`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Output features.
    pub m: usize,
    /// Input features.
    pub k: usize,
    /// Tokens.
    pub tokens: usize,
    /// Where the weights are.
    pub residence: Residence,
    /// Threads that divide the output features among them. They meet once a sample, not once a product.
    pub threads: usize,
}

/// Where the weights are when a product needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// In the smallest cache that holds them: every call multiplies with the same copy.
    Cache,
    /// In memory: calls go round copies that together are twice as large as the last cache.
    Dram,
    /// Where so many bytes are: calls go round copies that together are at least that large.
    Bytes(usize),
}

/// The last cache where nobody reports one.
const LAST_CACHE: u64 = 32 << 20;
/// A machine with a huge cache is not to run out of memory: copies of one contestant are no larger together.
const COPIES_LIMIT: u64 = 1 << 30;

impl Product {
    /// Multiply-adds.
    pub fn work(&self) -> f64 {
        (self.m * self.k * self.tokens) as f64
    }

    /// How many copies of weights of `bytes` bytes keep them out of the caches, or in them.
    pub fn copies(&self, caps: &HardwareCaps, bytes: usize) -> usize {
        match self.residence {
            Residence::Cache => 1,
            Residence::Bytes(all) => all.div_ceil(bytes.max(1)).max(1),
            Residence::Dram => {
                let last = caps.caches.l3.or(caps.caches.l2).map_or(LAST_CACHE, |cache| cache.size_bytes);
                ((2 * last).min(COPIES_LIMIT) as usize).div_ceil(bytes.max(1)) + 1
            }
        }
    }

    fn key(&self, w: &TernaryMatrix) -> KernelKey {
        KernelKey::new(self.m, self.k, Batch::of(self.tokens), w.granularity())
    }
}

/// Everything that is timed for `product`.
pub fn field(product: Product, caps: &HardwareCaps, offer: Offer) -> Field {
    let w = ternary_matrix(product.m, product.k);
    let (subjects, unusable) = subjects(product, caps, &w, offer);
    Field { subjects, references: references(product, caps, &w), unusable }
}

/// Every kernel that is offered for `product`, and those that could not be had.
pub fn subjects(
    product: Product,
    caps: &HardwareCaps,
    w: &TernaryMatrix,
    offer: Offer,
) -> (Vec<Subject>, Vec<UnusableKernel>) {
    let compiler = KernelCompiler::new(caps.clone());
    let key = product.key(w);
    let (mut subjects, mut unusable) = (Vec::new(), Vec::new());
    for (name, config) in ways(compiler.caps(), &key, offer) {
        match emitted(product, &compiler, w, config) {
            Ok(mut contestant) => {
                contestant.name = name;
                subjects.push(Subject { contestant, config: config.to_string() });
            }
            Err(reason) => unusable.push(UnusableKernel { key, config, reason }),
        }
    }
    (subjects, unusable)
}

fn references(product: Product, caps: &HardwareCaps, w: &TernaryMatrix) -> Vec<Contestant<'static>> {
    let mut references = vec![golden(product, caps, w)];
    references.extend(peak(caps, product.threads));
    // With more tokens a weight is used so often that reading it does not matter.
    references.extend((product.tokens <= 16).then(|| read(product, caps)).flatten());
    #[cfg(feature = "peers")]
    references.extend(crate::peers::contestants(product, caps, w));
    references
}

/// The kernel that `config` describes, or why it cannot be had.
fn emitted(
    product: Product,
    compiler: &KernelCompiler,
    w: &TernaryMatrix,
    config: KernelConfig,
) -> Result<Contestant<'static>, String> {
    let Product { m, k, tokens, threads, .. } = product;
    let pack = || {
        compiler
            .linear_with(&[w], LinearOptions { preferred: &[config], ..LinearOptions::default() })
            .map_err(|error| error.to_string())
    };
    let mut linears = vec![pack()?];
    check(&linears[0], tokens, &config)?;
    for _ in 1..product.copies(compiler.caps(), linears[0].size()) {
        linears.push(pack()?);
    }
    let bytes = linears[0].size() as f64;
    let (q, a) = quantized_tokens(tokens, k);
    let mut x = Activations::from_quantized(&q, &a, k, linears[0].scales());
    linears[0].prepare(&mut x);
    let (mut y, mut first) = (vec![0.0; tokens * m], 0);
    Ok(Contestant::new(config.to_string(), product.work(), bytes, move |calls| {
        let granule = linears[0].panel_rows();
        let mut output = OutputMatrix::new(black_box(&mut y), tokens, m);
        let seconds = drive(output.split(granule, threads), calls, |part, call| {
            linears[(first + call) % linears.len()].run(&x, part);
        });
        first = (first + calls) % linears.len();
        seconds
    }))
}

/// Whether `linear` got the kernel that was asked for.
pub(crate) fn check(linear: &TernaryLinear, tokens: usize, config: &KernelConfig) -> Result<(), String> {
    let found = linear.kernel(tokens).config();
    if found == config { Ok(()) } else { Err(format!("{found} came instead; the log says why")) }
}

/// Golden's scalar code as the compiler vectorises it for the baseline of the architecture, one token after another.
fn golden(product: Product, caps: &HardwareCaps, w: &TernaryMatrix) -> Contestant<'static> {
    let Product { m, k, threads, .. } = product;
    let edge = |part: usize| m * part / threads;
    let part = |part: usize| w.rows(edge(part)..edge(part + 1)).expect("every thread has rows");
    let matrices: Vec<TernaryMatrix> = (0..threads.min(m)).map(part).collect();
    let copies = vec![matrices; product.copies(caps, m * k)];
    let (q, a) = quantized_tokens(1, k);
    let mut first = 0;
    Contestant::new("golden", (m * k) as f64, (m * k) as f64, move |calls| {
        let seconds = drive((0..copies[0].len()).collect(), calls, |&mut part, call| {
            let w = &copies[(first + call) % copies.len()][part];
            black_box(ternary_gemm(w, black_box(&q), &a));
        });
        first = (first + calls) % copies.len();
        seconds
    })
}

/// Byte products of the best backend and nothing else: the ceiling of arithmetic.
fn peak(caps: &HardwareCaps, threads: usize) -> Option<Contestant<'static>> {
    let probe = PeakProbe::new(caps).ok()?;
    Some(Contestant::new("peak", probe.products() as f64 * threads as f64, 0.0, move |calls| {
        drive(vec![(); threads], calls, |(), _| probe.run())
    }))
}

/// Reading and nothing else, from where the weights are: the ceiling of bandwidth.
fn read(product: Product, caps: &HardwareCaps) -> Option<Contestant<'static>> {
    let threads = product.threads;
    // Two bits a weight; how large exactly does not matter within a cache, nor beyond all of them.
    let bytes = product.m * product.k / 4;
    let bytes = bytes * product.copies(caps, bytes) / threads;
    let stretches = (0..threads).map(|_| Stretch::new(caps, bytes).ok()).collect::<Option<Vec<_>>>()?;
    let bytes = stretches.iter().map(Stretch::bytes).sum::<usize>() as f64;
    Some(Contestant::new("read", 0.0, bytes, move |calls| {
        drive(stretches.iter().collect(), calls, |stretch, _| stretch.read())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_in_memory_fit_no_cache() {
        let caps = HardwareCaps::detect();
        let product = Product { m: 64, k: 64, tokens: 1, residence: Residence::Dram, threads: 1 };
        let last = caps.caches.l3.or(caps.caches.l2).map_or(LAST_CACHE, |cache| cache.size_bytes);
        assert!(product.copies(&caps, 1 << 20) as u64 * (1 << 20) > (2 * last).min(COPIES_LIMIT));
        assert_eq!(Product { residence: Residence::Cache, ..product }.copies(&caps, 64), 1);
    }
}
