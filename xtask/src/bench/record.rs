//! What a run leaves behind: one line of JSON.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::roofline::Samples;
use craftsman_kernelgen::store::Machine;
use serde::{Deserialize, Serialize};

/// The version of the line's format. A reader refuses newer ones.
pub const FORMAT: u32 = 1;

/// One run of the suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// See [`FORMAT`].
    pub format: u32,
    /// When, in UTC: `2026-11-21T05:06:13Z`.
    pub date: String,
    /// What was checked out; absent outside of a repository.
    pub commit: Option<String>,
    /// Whether the sources differed from the commit.
    pub modified: bool,
    /// Where; runs of machines that differ in anything of it are not compared.
    pub machine: Machine,
    /// What the processor calls itself.
    pub brand: String,
    /// Whether it only checked the machinery.
    pub short: bool,
    /// What was measured.
    pub figures: Vec<Figure>,
}

/// One thing that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The row of the suite.
    pub regime: String,
    /// Backend and family, `selected`, or a whole configuration: the same for as long as histories are.
    pub way: String,
    /// How it was built this time.
    pub config: String,
    /// The yardstick of the history.
    pub reference: String,
    /// How many times as fast as the reference, within a round.
    pub ratio: Samples,
    /// The same beside other references, for information; `peak` and `read` are what the processor can do at most.
    pub beside: BTreeMap<String, Samples>,
    /// Microseconds a call.
    pub microseconds: Samples,
    /// Multiply-adds a second / 1e9, of products.
    pub gmacs: Option<f64>,
    /// Bytes of weights a second / 1e9, of products.
    pub gbytes: Option<f64>,
}

impl Figure {
    /// What it is compared by.
    pub fn name(&self) -> String {
        format!("{} {}", self.regime, self.way)
    }
}

impl Run {
    /// What was just measured, here and now.
    pub fn now(caps: &HardwareCaps, short: bool, figures: Vec<Figure>) -> Self {
        let commit = git(&["rev-parse", "HEAD"]);
        let modified = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            format: FORMAT,
            date: date(since.as_secs()),
            commit,
            modified,
            machine: Machine::new(caps),
            brand: caps.brand.trim().to_owned(),
            short,
            figures,
        }
    }

    /// The commit as people write it, with a mark when there was more than the commit.
    pub fn label(&self) -> String {
        let commit = self.commit.as_deref().unwrap_or("no commit");
        format!("{}{}", commit.get(..9).unwrap_or(commit), if self.modified { "+" } else { "" })
    }
}

/// What git answers; nothing where there is no git or no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Seconds since 1970 as a date in UTC.
///
/// Days to a civil date as in Howard Hinnant's `chrono`-Compatible Low-Level Date Algorithms: years begin in March, so that
/// a leap day is a year's last; 719,468 days lie between 0000-03-01 and 1970-01-01.
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", era * 400 + year + carry, second % 60)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run whose figures are called so and have these ratios, five per cent up and down.
    pub fn run(ratios: &[(&str, f64)]) -> Run {
        let spread = |median: f64| Samples::new(vec![median * 0.9, median, median * 1.1]).unwrap().summary();
        let figures = ratios.iter().map(|&(way, ratio)| Figure {
            regime: "decode".to_owned(),
            way: way.to_owned(),
            config: format!("{way}-1x1"),
            reference: "golden".to_owned(),
            ratio: spread(ratio),
            beside: BTreeMap::new(),
            microseconds: spread(10.0),
            gmacs: Some(1.0),
            gbytes: None,
        });
        let caps = HardwareCaps::detect();
        Run { commit: Some("0123456789abcdef".to_owned()), ..Run::now(&caps, false, figures.collect()) }
    }

    #[test]
    fn dates_are_civil() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
