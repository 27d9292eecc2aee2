//! `cargo xtask bench growth`: how cost grows, as one page of plots.

mod page;
mod sweep;

use std::process::ExitCode;
use std::time::Duration;

use craftsman_benches::contest::Plan;
use craftsman_isa::HardwareCaps;

use super::history::write_file;
use crate::cli;
use crate::failure::Failure;
use crate::terminal::{bar, print};

/// Points are many and lines show trends: fewer rounds do.
const PLAN: Plan = Plan { rounds: 25, sample: Duration::from_millis(2), budget: Duration::from_secs(20) };
/// Enough to draw a line.
const SHORT_PLAN: Plan =
    Plan { rounds: 7, sample: Duration::from_micros(50), budget: Duration::from_millis(200) };
/// Steps of the progress bar that a sweep takes.
const STEPS: usize = 100;

/// Measures every sweep and writes the page and its plots.
pub fn run(arguments: &cli::Growth) -> Result<ExitCode, Failure> {
    let caps = HardwareCaps::from_env().map_err(|error| Failure::Usage(error.to_string()))?;
    let sweeps = sweep::all(&caps, arguments.short);
    let plan = if arguments.short { SHORT_PLAN } else { PLAN };
    let progress = bar(sweeps.len() * STEPS);
    let mut measured = Vec::new();
    for (at, sweep) in sweeps.into_iter().enumerate() {
        progress.set_message(sweep.name);
        let mut step =
            |done: usize, all: usize| progress.set_position((at * STEPS + done * STEPS / all) as u64);
        let lines = sweep.measure(&caps, plan, &mut step)?;
        measured.push((sweep, lines));
    }
    progress.finish_and_clear();
    for (sweep, lines) in &measured {
        let path = arguments.out.join("plots").join(sweep.file());
        write_file(&path, &sweep.plot(&caps, lines).svg()?)?;
    }
    let path = arguments.out.join("growth.md");
    write_file(&path, &page::page(&caps, &measured))?;
    print(&format!("wrote {} and {} plots beside it", path.display(), measured.len()))?;
    Ok(ExitCode::SUCCESS)
}
