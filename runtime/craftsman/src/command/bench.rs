//! `craftsman bench`: how fast a model runs, beside what the machine can do.

use std::num::NonZeroUsize;
use std::time::Instant;

use craftsman::kernelgen::roofline::{self, Level, PeakProbe, Samples, Thoroughness};
use craftsman::{BatchEntry, Checkpoint, KvOptions, KvPool, Model, ModelError, Session};
use serde::Serialize;

use super::{ExpertRow, KernelRow, kernel_rows, kernel_table, load, open, print_json};
use crate::cli::{Bench, Shared};
use crate::failure::Failure;
use crate::progress::{self, Progress};
use crate::table::{self, table};

/// Tokens generated when the command line does not say; llama-bench's number.
const DEFAULT_TOKENS: usize = 128;

/// Everything that was measured.
#[derive(Serialize)]
struct Report {
    model: String,
    architecture: &'static str,
    weight_bytes: usize,
    weight_bytes_per_token: usize,
    /// The experts that the tests needed.
    experts: Option<ExpertRow>,
    /// Products of a weight and an activation in the blocks' matrices.
    products_per_token: u64,
    processor: String,
    tier: String,
    threads: usize,
    load_seconds: f64,
    emit_milliseconds: f64,
    verify_milliseconds: f64,
    /// Bytes a second that the same threads read from memory in this run.
    memory_bandwidth: Option<Samples>,
    /// Products of two bytes a second that the same threads make in this run, in the instructions of `tier`.
    byte_products: Option<Samples>,
    tests: Vec<Test>,
    kernels: Vec<KernelRow>,
}

/// One test: pp N, tg N, or tg N x SESSIONS.
#[derive(Serialize)]
struct Test {
    name: String,
    tokens: usize,
    tokens_per_second: Samples,
    /// Bytes of weights a second that decoding read; of a prompt, whose tokens share the weights, nothing.
    weight_bytes_per_second: Option<f64>,
}

/// Measures and reports.
pub fn run(arguments: &Bench, shared: &Shared) -> Result<(), Failure> {
    let checkpoint = open(arguments.model.as_deref(), shared)?;
    let model = load(&checkpoint, shared)?;
    let kv = KvOptions { kind: shared.kv, ..KvOptions::default() };
    let pool = KvPool::new(&model, kv);
    let bench = Runner { model: &model, pool: &pool, repetitions: arguments.repetitions, seed: shared.seed };
    let (prompt, generated) = (arguments.prompt_tokens, shared.max_tokens.unwrap_or(DEFAULT_TOKENS));
    if let Some(tokens) = [prompt, generated].into_iter().find(|&tokens| tokens > model.context()) {
        let limit = model.context();
        return Err(Failure::usage(format!(
            "{tokens} tokens do not fit into the model's context of {limit}"
        )));
    }
    let decodes = if arguments.sessions.get() > 1 { 2 } else { 1 };
    let progress = progress::bar("measuring", bench.steps(prompt, decodes * generated));
    let mut tests = Vec::new();
    tests.extend(bench.prefill(prompt, &progress)?);
    tests.extend(bench.decode(generated, 1, &progress)?);
    if arguments.sessions.get() > 1 {
        tests.extend(bench.decode(generated, arguments.sessions.get(), &progress)?);
    }
    let ceilings = Ceilings::measure(&model, &progress)?;
    drop(progress);
    let report = report(&checkpoint, &model, tests, ceilings);
    if shared.json { print_json(&report) } else { super::print(&text(&report)) }
}

/// How often the loop of products runs, some milliseconds each.
const PRODUCT_RUNS: usize = 64;

/// What the machine can do at most.
struct Ceilings {
    bandwidth: Option<Samples>,
    products: Option<Samples>,
}

impl Ceilings {
    /// Measures them with as many threads as the model uses.
    fn measure(model: &Model, progress: &Progress) -> Result<Self, Failure> {
        let (caps, threads) = (model.caps(), model.threads());
        progress.message("memory bandwidth");
        let bandwidth = roofline::read_rate(caps, Level::Dram, threads, Thoroughness::default())?;
        progress.message("integer products");
        let products = PeakProbe::new(caps)?.measure(threads, PRODUCT_RUNS);
        let bandwidth = bandwidth.map(|read| read.rate);
        Ok(Self { bandwidth, products })
    }
}

fn report(checkpoint: &Checkpoint, model: &Model, tests: Vec<Test>, ceilings: Ceilings) -> Report {
    let kernels = kernel_rows(&model.kernels());
    let total = |time: fn(&KernelRow) -> f64| kernels.iter().map(time).sum::<f64>() / 1e3;
    Report {
        model: checkpoint.path().display().to_string(),
        architecture: model.config().architecture,
        weight_bytes: model.weight_bytes(),
        weight_bytes_per_token: model.weight_bytes_per_token(),
        experts: model.expert_use().map(ExpertRow::from),
        products_per_token: products_per_token(checkpoint, model),
        processor: model.caps().brand.trim().to_string(),
        tier: model.caps().tier().to_string(),
        threads: model.threads(),
        load_seconds: model.load_time().as_secs_f64(),
        emit_milliseconds: total(|row| row.emit_microseconds),
        verify_milliseconds: total(|row| row.verify_microseconds),
        memory_bandwidth: ceilings.bandwidth,
        byte_products: ceilings.products,
        tests,
        kernels,
    }
}

/// The tests of one model.
struct Runner<'a> {
    model: &'a Model,
    pool: &'a KvPool,
    repetitions: NonZeroUsize,
    seed: u64,
}

impl Runner<'_> {
    /// Progress steps of both tests: one a prompt, one a generated token; every test runs once more to warm up.
    fn steps(&self, prompt: usize, generated: usize) -> u64 {
        (self.repetitions.get() + 1) as u64 * (u64::from(prompt > 0) + generated as u64)
    }

    /// One prompt of `tokens` tokens into an empty context.
    fn prefill(&self, tokens: usize, progress: &Progress) -> Result<Option<Test>, ModelError> {
        let prompt = self.random_tokens(tokens);
        self.test(format!("pp {tokens}"), tokens, || {
            progress.message(format!("prompt of {tokens} tokens"));
            let mut session = self.pool.session();
            let start = Instant::now();
            session.prefill(&prompt)?;
            progress.advance(1);
            Ok(start.elapsed().as_secs_f64())
        })
    }

    /// `tokens` tokens one by one from an empty context, in each of `sessions` at once.
    fn decode(
        &self,
        tokens: usize,
        sessions: usize,
        progress: &Progress,
    ) -> Result<Option<Test>, ModelError> {
        let generated = self.random_tokens(tokens * sessions);
        let name = if sessions > 1 { format!("tg {tokens} x {sessions}") } else { format!("tg {tokens}") };
        let test = self.test(name, tokens * sessions, || {
            progress.message(format!("{tokens} tokens one by one, {sessions} at once"));
            let mut all: Vec<Session> = (0..sessions).map(|_| self.pool.session()).collect();
            let start = Instant::now();
            for step in generated.chunks_exact(sessions) {
                let entries = all.iter_mut().zip(step.chunks(1));
                let entries = entries.map(|(session, tokens)| BatchEntry { session, tokens, wanted: 1 });
                Session::prefill_batch(&mut entries.collect::<Vec<_>>())?;
                progress.advance(1);
            }
            Ok(start.elapsed().as_secs_f64())
        })?;
        // Sessions share what a pass reads, unless they are routed to different experts.
        let bytes = self.model.weight_bytes_per_token() as f64;
        Ok(test.map(|test| Test {
            weight_bytes_per_second: (sessions == 1).then_some(test.tokens_per_second.median * bytes),
            ..test
        }))
    }

    /// Runs `seconds` once to warm up and then as often as asked; `None` of no tokens.
    fn test(
        &self,
        name: String,
        tokens: usize,
        seconds: impl Fn() -> Result<f64, ModelError>,
    ) -> Result<Option<Test>, ModelError> {
        if tokens == 0 {
            return Ok(None);
        }
        seconds()?;
        let rates = (0..self.repetitions.get()).map(|_| seconds().map(|seconds| tokens as f64 / seconds));
        let samples = Samples::new(rates.collect::<Result<_, _>>()?);
        Ok(samples.map(|tokens_per_second| Test {
            name,
            tokens,
            tokens_per_second,
            weight_bytes_per_second: None,
        }))
    }

    /// Tokens that differ, so that experts are chosen as they would be.
    fn random_tokens(&self, count: usize) -> Vec<u32> {
        let vocabulary = self.model.config().vocab as u64;
        let mut state = self.seed;
        let mut next = || {
            // Knuth's MMIX generator; the high bits are the good ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % vocabulary) as u32
        };
        (0..count).map(|_| next()).collect()
    }
}

fn text(report: &Report) -> String {
    let header = ["test", "threads", "tokens/s", "slowest .. fastest", "weights read", "products"];
    let rows = report.tests.iter().map(|test| row(test, report));
    let threads = report.threads;
    let experts = report.experts.as_ref().map(|used| format!("experts          {used}\n"));
    format!(
        "model            {}, {}\n\
         weights          {} packed, {} read by a token, {} products a token\n\
         {}processor        {}, tier {}, {threads} threads\n\
         memory read      {}\n\
         int8 products    {}\n\
         loaded in        {:.3} s; kernels were emitted in {:.2} ms, verified in {:.1} ms\n\n{}\n\n{}",
        report.model,
        report.architecture,
        table::bytes(report.weight_bytes as u64),
        table::bytes(report.weight_bytes_per_token as u64),
        table::count(report.products_per_token),
        experts.unwrap_or_default(),
        report.processor,
        report.tier,
        ceiling("GB/s", report.memory_bandwidth.as_ref()),
        ceiling("GMAC/s", report.byte_products.as_ref()),
        report.load_seconds,
        report.emit_milliseconds,
        report.verify_milliseconds,
        table(&header, &[1, 2, 3, 4, 5], rows),
        kernel_table(&report.kernels),
    )
}

/// What the machine can do at most: the fastest pass. The others say how quiet the machine was.
fn ceiling(unit: &str, samples: Option<&Samples>) -> String {
    samples.map_or_else(String::new, |samples| {
        let [median, min, max] = [samples.median, samples.min, samples.max].map(|rate| rate / 1e9);
        format!("{max:.2} {unit} at best (median {median:.2}, worst {min:.2})")
    })
}

fn row(test: &Test, report: &Report) -> Vec<String> {
    let rate = &test.tokens_per_second;
    let share = |value: f64, unit: &str, ceiling: Option<&Samples>| {
        let share =
            ceiling.map_or_else(String::new, |ceiling| format!(" ({:.0} %)", value / ceiling.max * 100.0));
        format!("{:.2} {unit}{share}", value / 1e9)
    };
    let weights = test.weight_bytes_per_second;
    vec![
        test.name.clone(),
        report.threads.to_string(),
        format!("{:.2}", rate.median),
        format!("{:.2} .. {:.2}", rate.min, rate.max),
        weights.map_or_else(String::new, |value| share(value, "GB/s", report.memory_bandwidth.as_ref())),
        share(rate.median * report.products_per_token as f64, "GMAC/s", report.byte_products.as_ref()),
    ]
}

/// Products of a weight and an activation that the blocks' matrices make for one token. The head, which multiplies
/// floats, and attention, which has no weights, are not counted.
fn products_per_token(checkpoint: &Checkpoint, model: &Model) -> u64 {
    let matrices =
        checkpoint.tensors().filter(|tensor| tensor.name.starts_with("blk.") && tensor.shape.len() > 1);
    let products = matrices.map(|tensor| {
        let all = tensor.shape.iter().map(|&size| size as u64).product::<u64>();
        let experts = model.config().experts.filter(|_| tensor.name.contains("_exps."));
        experts.map_or(all, |experts| all / experts.count as u64 * experts.used as u64)
    });
    products.sum()
}
