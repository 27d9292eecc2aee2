//! The real stopwatch: verified kernels on packed weights, timed.
//!
//! From cache, every call reads the same packed matrix; from main memory, calls go round through copies of it that
//! together are more than twice the last cache, so that none is there any more when its turn comes. Each thread computes
//! its own rows, as in a model, call after call without waiting for the others.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use craftsman_golden::TernaryMatrix;

use super::answer::{Question, Residence};
use super::search::Stopwatch;
use crate::activations::Activations;
use crate::clock::drive;
use crate::code::EmitError;
use crate::compiler::KernelCompiler;
use crate::config::KernelConfig;
use crate::cost;
use crate::family;
use crate::kernel::Kernel;
use crate::output::OutputMatrix;
use crate::packed::{Layout, PackedMatrix};
use crate::roofline::Level;
use crate::verify::{Random, random_weights};

/// How long a sample is to take at least: long beside the clock's steps and the start of the threads.
const SAMPLE: Duration = Duration::from_millis(2);
/// Calls of one sample at most.
const MAX_CALLS: usize = 1 << 16;
/// The weights that main memory's copies take together, relative to the last cache.
const CACHES: u64 = 2;
/// The same where the size of the last cache is not known, in bytes.
const UNKNOWN_CACHE: u64 = 64 << 20;

/// A matrix in one layout: one copy, or as many as leave the cache behind.
type Copies = Vec<PackedMatrix>;

/// A configuration that can be timed.
#[derive(Debug)]
struct Arm {
    kernel: Kernel,
    copies: Arc<Copies>,
    /// The copy that the next call reads.
    next: usize,
    calls: usize,
}

/// Times the kernels of one question.
#[derive(Debug)]
pub(super) struct Bench<'c> {
    compiler: &'c KernelCompiler,
    question: Question,
    matrices: Vec<TernaryMatrix>,
    x: Activations,
    output: Vec<f32>,
    packed: HashMap<Layout, Weak<Copies>>,
    arms: HashMap<KernelConfig, Arm>,
    start: Instant,
}

impl<'c> Bench<'c> {
    /// # Errors
    /// When the key is out of range.
    pub(super) fn new(compiler: &'c KernelCompiler, question: Question) -> Result<Self, EmitError> {
        let start = Instant::now();
        let key = question.key;
        key.check().map_err(EmitError::new)?;
        let mut random = Random::new(0);
        let matrices: Result<_, _> =
            (0..key.matrices()).map(|_| random_weights(&key, key.m, &mut random)).collect();
        let matrices = matrices?;
        let n = cost::tokens(key.batch);
        let q: Vec<i8> = (0..n * key.k).map(|_| random.next() as i8 >> (8 - key.activation_bits)).collect();
        let x =
            Activations::from_quantized(&q, &vec![1.0; n], key.k, key.scales).with_bits(key.activation_bits);
        let output = vec![0.0; n * key.m];
        let (packed, arms) = (HashMap::new(), HashMap::new());
        Ok(Self { compiler, question, matrices, x, output, packed, arms, start })
    }

    fn arm(&mut self, config: &KernelConfig) -> Result<Arm, String> {
        let kernel = self.compiler.verified(&self.question.key, config).map_err(|error| error.to_string())?;
        kernel.prepare(&mut self.x);
        let copies =
            self.copies(kernel.layout()).map_err(|error| format!("no memory for the weights: {error}"))?;
        Ok(Arm { kernel, copies, next: 0, calls: 1 })
    }

    /// Finds how many calls make a sample. Each number is tried twice: other work makes a few calls seem to be enough.
    fn calibrate(&mut self, config: &KernelConfig) {
        loop {
            let call = self.time(config).min(self.time(config));
            let Some(arm) = self.arms.get_mut(config) else { return };
            let sample = call * arm.calls as u32;
            if sample >= SAMPLE || arm.calls >= MAX_CALLS {
                return;
            }
            let factor = SAMPLE.as_secs_f64() / sample.as_secs_f64().max(1e-9);
            // Little by little, since the first calls, which bring everything in, say little.
            arm.calls = (arm.calls as f64 * factor.clamp(1.5, 16.0)).ceil().min(MAX_CALLS as f64) as usize;
        }
    }

    /// The matrix in `layout`, packed when nobody holds it any more.
    fn copies(&mut self, layout: &Layout) -> std::io::Result<Arc<Copies>> {
        if let Some(copies) = self.packed.get(layout).and_then(Weak::upgrade) {
            return Ok(copies);
        }
        let family = family::by_name(layout.family).map_err(std::io::Error::other)?;
        let matrices: Vec<_> = self.matrices.iter().collect();
        let mut copies = vec![family.pack(&matrices, layout)?];
        for _ in 1..self.count(copies[0].size()) {
            copies.push(copies[0].duplicate()?);
        }
        let copies = Arc::new(copies);
        self.packed.insert(*layout, Arc::downgrade(&copies));
        Ok(copies)
    }

    /// How many copies of `bytes` there have to be.
    fn count(&self, bytes: usize) -> usize {
        match self.question.residence {
            Residence::Cache => 1,
            Residence::Dram => {
                let caches = &self.compiler.caps().caches;
                let last = caches.l3.or(caches.l2).map_or(UNKNOWN_CACHE, |cache| cache.size_bytes);
                (last * CACHES).div_ceil(bytes.max(1) as u64) as usize + 1
            }
        }
    }

    /// Bytes of weights that a call of `config` reads, and from where, if it is ready to be timed.
    pub(super) fn reads(&self, config: &KernelConfig) -> Option<(u64, Level)> {
        let bytes = self.arms.get(config)?.copies[0].size();
        let level = match self.question.residence {
            Residence::Cache => {
                let threads = self.question.threads;
                Level::holding(&self.compiler.caps().caches, bytes / threads, threads)
            }
            Residence::Dram => Level::Dram,
        };
        Some((bytes as u64, level))
    }
}

impl Arm {
    /// The time of `calls` calls of all threads together.
    fn run(&mut self, x: &Activations, output: &mut OutputMatrix<'_>, threads: usize) -> Duration {
        let parts = output.split(self.kernel.layout().panel_rows, threads);
        let Self { kernel, copies, next, calls } = self;
        let seconds = drive(parts, *calls, |part, call| {
            kernel.run(&copies[(*next + call) % copies.len()], x, part);
        });
        *next = (*next + *calls) % copies.len();
        Duration::from_secs_f64(seconds)
    }
}

impl Stopwatch for Bench<'_> {
    fn admit(&mut self, config: &KernelConfig) -> Result<(), String> {
        if !self.arms.contains_key(config) {
            let arm = self.arm(config)?;
            self.arms.insert(*config, arm);
            self.calibrate(config);
        }
        Ok(())
    }

    fn time(&mut self, config: &KernelConfig) -> Duration {
        // The search times only what it has admitted.
        let Some(arm) = self.arms.get_mut(config) else { return Duration::MAX };
        let n = self.x.tokens();
        let mut output = OutputMatrix::new(&mut self.output, n, self.question.key.m);
        arm.run(&self.x, &mut output, self.question.threads) / arm.calls as u32
    }

    fn dismiss(&mut self, config: &KernelConfig) {
        self.arms.remove(config);
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
