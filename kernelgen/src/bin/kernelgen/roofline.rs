//! `kernelgen roofline`

use std::collections::BTreeSet;

use clap::Args;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::roofline::{Level, Roofline, Samples, Thoroughness, measure};
use craftsman_kernelgen::store::{Machine, Store};
use serde::Serialize;

use crate::progress::Progress;
use crate::{Failure, print, print_json, table};

/// Measure what this machine can do at most: reading, level by level, and multiplying bytes.
///
/// Every figure is a distribution: the median, and how wide the middle half of the samples is. Reading is tried in one
/// to eight streams with and without prefetch, in turn, and the best way counts. The result is kept, so that `tune`
/// and `explain` can say which share of it a kernel reaches.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// Thread counts, as in 1,2,8; without it, 1 and every power of two up to the number of cores, and that number
    #[arg(long, value_delimiter = ',', value_name = "N")]
    threads: Vec<usize>,
    /// Samples of each figure
    #[arg(long, default_value_t = Thoroughness::default().samples, value_name = "N")]
    samples: usize,
    /// Only a few short samples: seconds instead of a minute, and less to be relied on
    #[arg(long, conflicts_with = "samples")]
    quick: bool,
    /// Show what was measured before instead of measuring
    #[arg(long, conflicts_with_all = ["threads", "samples", "quick"])]
    show: bool,
    /// For programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kernelgen roofline                  measure with 1 thread up to all cores, keep the result, show it
  kernelgen roofline --threads 1 --quick
  kernelgen roofline --show --json    what was measured before, for programs

The result lies in the folder that CRAFTSMAN_TUNING names, or else in `craftsman` in the user's cache folder.";

/// Samples of a quick measurement, and the bytes of each.
const QUICK: Thoroughness = Thoroughness { samples: 3, sample_bytes: 32 << 20, memory_bytes: 1 << 30 };
/// More threads than any machine has are a slip of the finger.
const MAX_THREADS: usize = 4096;

#[derive(Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    #[serde(flatten)]
    roofline: &'a Roofline,
}

impl Command {
    pub fn run(&self) -> Result<(), Failure> {
        let caps = HardwareCaps::from_env().map_err(|error| Failure::Usage(error.to_string()))?;
        let (store, machine) = (Store::from_env()?, Machine::new(&caps));
        let roofline = if self.show {
            let loaded = Roofline::load(&store, &machine)?;
            loaded.ok_or_else(|| {
                Failure::Usage("nothing was measured yet: run `kernelgen roofline`".to_owned())
            })?
        } else {
            let roofline = self.measure(&caps)?;
            roofline.save(&store, &machine)?;
            roofline
        };
        if self.json {
            return print_json(&Report { machine: &machine, roofline: &roofline });
        }
        print(&text(&roofline));
        Ok(())
    }

    fn measure(&self, caps: &HardwareCaps) -> Result<Roofline, Failure> {
        let threads = thread_counts(&self.threads, caps)?;
        let thoroughness = if self.quick {
            QUICK
        } else {
            Thoroughness { samples: self.samples.max(1), ..Thoroughness::default() }
        };
        let progress = Progress::new(1);
        let mut show = |what: &str, done: usize, total: usize| progress.show(what, done as u64, total as u64);
        measure(caps, &threads, thoroughness, &mut show).map_err(|error| Failure::Kernel(error.to_string()))
    }
}

/// The thread counts asked for, or 1, 2, 4 ... and all cores.
pub fn thread_counts(asked: &[usize], caps: &HardwareCaps) -> Result<BTreeSet<usize>, Failure> {
    if let Some(wrong) = asked.iter().find(|count| !(1..=MAX_THREADS).contains(*count)) {
        return Err(Failure::Usage(format!("--threads takes counts from 1 to {MAX_THREADS}, not {wrong}")));
    }
    if !asked.is_empty() {
        return Ok(asked.iter().copied().collect());
    }
    let cores = caps.physical_cores.max(1) as usize;
    Ok((0..usize::BITS).map(|power| 1 << power).take_while(|count| *count < cores).chain([cores]).collect())
}

fn text(roofline: &Roofline) -> String {
    let cells = |rate: &Samples, unit: &str| {
        let spread = format!("±{:.1} %", rate.spread() * 50.0);
        [format!("{:.1} {unit}", rate.median / 1e9), spread, format!("{:.1}", rate.max / 1e9)]
    };
    let reads = roofline.reads.iter().map(|read| {
        let way = format!("{} streams, prefetch {}", read.streams, read.prefetch);
        let [rate, spread, most] = cells(&read.rate, "GB/s");
        vec![format!("read {}", read.level), read.threads.to_string(), rate, spread, most, way]
    });
    let products = roofline.products.iter().map(|products| {
        let [rate, spread, most] = cells(&products.rate, "G/s");
        vec![
            format!("products {}", products.backend),
            products.threads.to_string(),
            rate,
            spread,
            most,
            String::new(),
        ]
    });
    let header = ["", "threads", "median", "middle half", "most", "fastest way"];
    let mut text = table(&header, reads.chain(products));
    if !roofline.reads.iter().any(|read| read.level == Level::L3) {
        text.push_str("\nNo figure for L3: this processor does not report one.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use craftsman_isa::recorded;

    #[test]
    fn thread_counts_reach_all_cores() {
        let caps = HardwareCaps { physical_cores: 12, ..recorded::by_name("zen4").unwrap() };
        assert_eq!(thread_counts(&[], &caps).unwrap(), BTreeSet::from([1, 2, 4, 8, 12]));
        assert_eq!(thread_counts(&[3, 1], &caps).unwrap(), BTreeSet::from([1, 3]));
        assert!(thread_counts(&[0], &caps).is_err());
    }
}
