//! Sweeps: products that differ in one thing.

use std::thread::available_parallelism;

use craftsman_benches::contest::{Contestant, Plan, Times, contest};
use craftsman_benches::product::{self, Product, Residence};
use craftsman_benches::ternary_matrix;
use craftsman_benches::ways::Offer;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::roofline::Samples;

use crate::failure::Failure;
use crate::plot::{Axis, Line, Plot, Scale};
use crate::terminal::trimmed;

/// Products that differ in one thing, and how their cost is drawn.
pub struct Sweep {
    /// Its name, in files too.
    pub name: &'static str,
    /// Heading of its section.
    pub title: &'static str,
    /// What a reader should know, true on any machine.
    pub about: &'static str,
    x: Axis,
    y: Axis,
    cost: fn(&Times, Product) -> Option<Samples>,
    /// Caches are marked on the x axis.
    bytes: bool,
    points: Vec<Point>,
}

/// A product, where it stands on the x axis, and what its lines are called beside their way.
struct Point {
    x: f64,
    product: Product,
    suffix: &'static str,
}

const fn plain(label: &'static str, scale: Scale) -> Axis {
    Axis { label, scale, format: integer }
}

const MICROSECONDS: Axis = Axis { label: "microseconds a token", scale: Scale::Linear, format: trimmed };
const RATE: Axis = Axis { label: "GMAC/s", scale: Scale::Linear, format: trimmed };
const BYTES: Axis = Axis { label: "bytes of packed weights", scale: Scale::Log2, format: bytes };

fn integer(value: f64) -> String {
    format!("{value:.0}")
}

fn bytes(value: f64) -> String {
    match value.log2().round() as u32 {
        exponent @ 0..20 => format!("{} KiB", (1_u64 << exponent) >> 10),
        exponent => format!("{} MiB", (1_u64 << exponent.min(60)) >> 20),
    }
}

fn per_token(times: &Times, product: Product) -> Option<Samples> {
    Samples::new(times.seconds.iter().map(|seconds| seconds * 1e6 / product.tokens as f64).collect())
}

fn rate(times: &Times, product: Product) -> Option<Samples> {
    Samples::new(times.seconds.iter().map(|seconds| product.work() / seconds / 1e9).collect())
}

fn product(m: usize, k: usize) -> Product {
    Product { m, k, tokens: 1, residence: Residence::Cache, threads: 1 }
}

fn point(x: usize, product: Product) -> Point {
    Point { x: x as f64, product, suffix: "" }
}

/// A projection's side in a model of two billion weights.
const SIDE: usize = 2560;
/// The same where only the machinery is checked.
const SHORT_SIDE: usize = 128;

/// Every sweep.
pub fn all(caps: &HardwareCaps, short: bool) -> Vec<Sweep> {
    let side = if short { SHORT_SIDE } else { SIDE };
    vec![columns(side), rows(side), tokens(side, short), threads(side, short), working_set(caps, short)]
}

fn columns(side: usize) -> Sweep {
    let ks = (1..=8).map(|step| step * side * 4 / 5);
    Sweep {
        name: "k",
        title: "With the columns (k)",
        about: "One token, weights in cache. Every column costs the same; what is left at k = 0 is the price of a call: \
                loops over panels, scales and stores.",
        x: plain("k, input features", Scale::Linear),
        y: MICROSECONDS,
        cost: per_token,
        bytes: false,
        points: ks.map(|k| point(k, product(side, k))).collect(),
    }
}

fn rows(side: usize) -> Sweep {
    let ms = (1..=8).map(|step| step * side * 4 / 5);
    Sweep {
        name: "m",
        title: "With the rows (m)",
        about: "One token, weights in cache. Every row costs the same: panels of rows are walked one after the other.",
        x: plain("m, output features", Scale::Linear),
        y: MICROSECONDS,
        cost: per_token,
        bytes: false,
        points: ms.map(|m| point(m, product(m, side))).collect(),
    }
}

fn tokens(side: usize, short: bool) -> Sweep {
    let largest = if short { 8 } else { 512 };
    let counts = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512].into_iter();
    Sweep {
        name: "n",
        title: "With the tokens (n)",
        about: "A square matrix in cache, one thread. Tokens that are multiplied together share the unpacking of the weights, \
                so that one of many costs less than one alone; a count that does not fill the kernel's tile costs more.",
        x: plain("n, tokens at once", Scale::Log2),
        y: MICROSECONDS,
        cost: per_token,
        bytes: false,
        points: counts
            .filter(|&n| n <= largest)
            .map(|n| point(n, Product { tokens: n, ..product(side, side) }))
            .collect(),
    }
}

fn threads(side: usize, short: bool) -> Sweep {
    let all = available_parallelism().map_or(1, usize::from);
    let points = (1..=all).flat_map(|threads| {
        let cached = Product { threads, ..product(side, side) };
        // Small matrices would take thousands of copies to fill the memory.
        let (memory, residence) =
            if short { (cached, Residence::Cache) } else { (product(4096, 14336), Residence::Dram) };
        let memory = Product { threads, residence, ..memory };
        [(cached, ", in cache"), (memory, ", from memory")]
    });
    Sweep {
        name: "threads",
        title: "With the threads",
        about: "One token. From cache every core adds its own arithmetic; from memory threads share one bandwidth, and adding \
                more of them stops paying where it is used up.",
        x: plain("threads", Scale::Linear),
        y: RATE,
        cost: rate,
        bytes: false,
        points: points
            .map(|(product, suffix)| Point { x: product.threads as f64, product, suffix })
            .collect(),
    }
}

/// Weights of one matrix, at two bits each: larger sets are several of them.
const LARGEST_MATRIX: usize = 4 << 20;

fn working_set(caps: &HardwareCaps, short: bool) -> Sweep {
    let last = caps.caches.l3.or(caps.caches.l2).map_or(32 << 20, |cache| cache.size_bytes as usize);
    let largest = if short { 1 << 16 } else { (last * 4).next_power_of_two().min(1 << 30) };
    let sizes = (14..=30).map(|exponent| 1_usize << exponent).filter(|&size| size <= largest);
    let points = sizes.map(|size| {
        // Rows of 2048 columns: 512 bytes at two bits a weight.
        let m = size.min(LARGEST_MATRIX) / 512;
        point(size, Product { residence: Residence::Bytes(size), ..product(m, 2048) })
    });
    Sweep {
        name: "working-set",
        title: "With the working set",
        about: "One token, one thread; weights of the given size are gone through over and over. Where they no longer fit a \
                cache, the next one's bandwidth decides.",
        x: BYTES,
        y: RATE,
        cost: rate,
        bytes: true,
        points: points.collect(),
    }
}

/// What was measured of a way: a line of the plot.
pub type Lines = Vec<Line>;

impl Sweep {
    /// The name of its plot.
    pub fn file(&self) -> String {
        format!("growth-{}.svg", self.name)
    }

    /// Measures all points interleaved, every family on the best backend.
    pub fn measure(
        &self,
        caps: &HardwareCaps,
        plan: Plan,
        step: &mut dyn FnMut(usize, usize),
    ) -> Result<Lines, Failure> {
        let (mut contestants, mut places) = (Vec::<Contestant<'_>>::new(), Vec::new());
        for (at, point) in self.points.iter().enumerate() {
            let w = ternary_matrix(point.product.m, point.product.k);
            let (subjects, unusable) = product::subjects(point.product, caps, &w, Offer::BestBackend);
            if let Some(kernel) = unusable.into_iter().next() {
                return Err(Failure::Broken(kernel.to_string()));
            }
            places.extend(subjects.iter().map(|_| at));
            contestants.extend(subjects.into_iter().map(|subject| subject.contestant));
        }
        let times = contest(&mut contestants, plan, step);
        let mut lines = Lines::new();
        for (times, at) in times.iter().zip(places) {
            let point = &self.points[at];
            let Some(cost) = (self.cost)(times, point.product) else { continue };
            let (name, value) = (format!("{}{}", times.name, point.suffix), (point.x, cost.summary()));
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push(value),
                None => lines.push(Line { name, points: vec![value] }),
            }
        }
        Ok(lines)
    }

    /// The picture.
    pub fn plot(&self, caps: &HardwareCaps, lines: &Lines) -> Plot {
        let caches = [("L1", caps.caches.l1d), ("L2", caps.caches.l2), ("L3", caps.caches.l3)];
        let marks =
            caches.into_iter().filter_map(|(name, cache)| Some((cache?.size_bytes as f64, name.to_owned())));
        Plot {
            title: format!(
                "{} {}",
                if self.y.label == RATE.label { "Speed" } else { "Cost" },
                self.title.to_lowercase()
            ),
            x: self.x,
            y: self.y,
            lines: lines.clone(),
            marks: marks.filter(|_| self.bytes).collect(),
        }
    }

    /// How an x value is written.
    pub fn x_text(&self, x: f64) -> String {
        (self.x.format)(x)
    }

    /// What the axes count.
    pub fn labels(&self) -> (&'static str, &'static str) {
        (self.x.label, self.y.label)
    }

    /// Whether a straight line is a fair description.
    pub fn straight(&self) -> bool {
        self.x.scale == Scale::Linear && self.y.label == MICROSECONDS.label
    }
}
