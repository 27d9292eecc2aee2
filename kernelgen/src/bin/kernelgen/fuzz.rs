//! `kernelgen fuzz`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::fuzz::{Case, Cases, Size, shrink};
use craftsman_kernelgen::{VERIFY_SEED, VerifyError, verify_native, verify_simulated};
use serde::Serialize;

use crate::machine::Machine;
use crate::progress::Progress;
use crate::{Failure, print, print_json, table};

/// Check random kernels for random products against golden, bit for bit.
///
/// Products are of any shape, scale rule, batch, epilogue and activation width, and the ways to compute them whatever a
/// configuration's name can say: most of them nobody would choose, and all of them must be right. The cases follow from
/// the seed alone. A failure is made smaller and printed as the command that shows it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Fuzz {
    /// How long to go on
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    seconds: f64,
    /// How many cases at most
    #[arg(long, value_name = "N")]
    cases: Option<usize>,
    /// Seed of the cases
    #[arg(long, default_value_t = VERIFY_SEED)]
    seed: u64,
    /// Interpret the code instead of running it: for other processors, and to check every memory access
    #[arg(long)]
    simulate: bool,
    /// Print each case before it is checked, to see which one kills the process
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    machine: Machine,
    /// For programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kernelgen fuzz --seconds 60                                   a minute on this processor
  kernelgen fuzz --simulate --machine sapphire-rapids           kernels of a processor that is not here
  kernelgen fuzz --cases 100000 --seconds 3600 --seed 7         the same cases each time

Exit codes: 0 all kernels were right; 1 one was wrong, with the command that shows it; 2 the command line is.";

/// Failures after which it is clear enough that something is wrong.
const ENOUGH_FAILURES: usize = 5;
/// Smaller cases that are tried for each failure: simulated ones take their time.
const SHRINK_TRIALS: usize = 400;

/// What came out.
#[derive(Debug, Default, Serialize)]
struct Report {
    seed: u64,
    seconds: f64,
    /// Kernels that gave golden's answer, by backend and family.
    exact: BTreeMap<String, u64>,
    /// Configurations that their family or backend refused.
    refused: u64,
    /// Commands that show a wrong kernel, and what is wrong with it.
    failures: Vec<String>,
}

impl Fuzz {
    pub fn run(&self) -> Result<(), Failure> {
        if self.machine.is_recorded() && !self.simulate {
            return Err(Failure::Usage(
                "another machine's kernels can only be checked with --simulate".to_owned(),
            ));
        }
        let limit = Duration::try_from_secs_f64(self.seconds)
            .map_err(|_| Failure::Usage(format!("--seconds takes seconds, not {}", self.seconds)))?;
        let caps = self.machine.caps()?;
        let report = self.fuzz(&caps, limit);
        if self.json {
            print_json(&report)?;
        } else {
            let rows = report.exact.iter().map(|(kind, count)| vec![kind.clone(), count.to_string()]);
            print(&table(&["kernels", "exact"], rows));
            let exact: u64 = report.exact.values().sum();
            let (seed, seconds, refused) = (report.seed, report.seconds, report.refused);
            print(&format!(
                "{exact} kernels exact in {seconds:.0} s, seed {seed}; {refused} configurations refused"
            ));
        }
        match (&report.failures[..], report.exact.is_empty()) {
            ([], false) => Ok(()),
            ([], true) => Err(Failure::Kernel("nothing could be checked".to_owned())),
            (failures, _) => Err(Failure::Kernel(format!(
                "{} kernels are wrong; please report this:\n{}",
                failures.len(),
                failures.join("\n")
            ))),
        }
    }

    fn fuzz(&self, caps: &HardwareCaps, limit: Duration) -> Report {
        let size = if self.simulate { Size::SIMULATED } else { Size::NATIVE };
        let start = Instant::now();
        let progress = Progress::new(limit.as_millis() as u64);
        let mut report = Report { seed: self.seed, ..Report::default() };
        let cases = Cases::new(caps, self.seed, size).take(self.cases.unwrap_or(usize::MAX));
        for (number, case) in cases.enumerate() {
            if start.elapsed() >= limit || report.failures.len() >= ENOUGH_FAILURES {
                break;
            }
            if self.trace {
                eprintln!("{}", self.command(&case));
            }
            progress.show(
                format!("{number} cases, {} wrong: {} by {}", report.failures.len(), case.key, case.config),
                start.elapsed().as_millis() as u64,
                limit.as_millis() as u64,
            );
            self.one(case, caps, &mut report);
        }
        report.seconds = start.elapsed().as_secs_f64();
        report
    }

    fn one(&self, case: Case, caps: &HardwareCaps, report: &mut Report) {
        match self.check(&case, caps) {
            Ok(()) => {
                let kind = format!("{}-{}.{}", case.config.backend, case.config.family, case.config.variant);
                *report.exact.entry(kind).or_default() += 1;
            }
            Err(VerifyError::Emit(_)) => report.refused += 1,
            Err(_) => {
                let mut trials = 0;
                let smallest = shrink(case, &mut |smaller| {
                    trials += 1;
                    let wrong = || {
                        matches!(
                            self.check(smaller, caps),
                            Err(VerifyError::Mismatch(_) | VerifyError::Fault(_))
                        )
                    };
                    trials <= SHRINK_TRIALS && wrong()
                });
                let what = self.check(&smallest, caps).err().map_or(String::new(), |error| error.to_string());
                report.failures.push(format!(
                    "{}\n  {what}\n  found as {}",
                    self.command(&smallest),
                    self.command(&case)
                ));
            }
        }
    }

    fn check(&self, case: &Case, caps: &HardwareCaps) -> Result<(), VerifyError> {
        let Case { key, config, seed } = case;
        if self.simulate {
            verify_simulated(key, config, caps, *seed).map(drop)
        } else {
            verify_native(key, config, caps, *seed).map(drop)
        }
    }

    fn command(&self, case: &Case) -> String {
        let simulate = if self.simulate { " --simulate" } else { "" };
        format!("{case}{simulate}{}", self.machine.argument())
    }
}
