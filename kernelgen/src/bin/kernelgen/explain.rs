//! `kernelgen explain`

use clap::Args;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::cost::{Environment, Prediction};
use craftsman_kernelgen::store::Store;
use craftsman_kernelgen::tuning::{Answer, Residence, Tuning, TuningFile};
use craftsman_kernelgen::{Considered, KernelConfig, KernelKey, VERIFY_SEED, considered, verify_native};
use serde::Serialize;

use crate::machine::Machine;
use crate::{Failure, print, print_json, table};

/// Show why a kernel is chosen: what was considered, what was dropped and why, and what the model predicts of each,
/// beside what tuning measured.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Explain {
    /// What is to be computed, as in 2560x6912-decode-tensor-a8
    key: KernelKey,
    #[command(flatten)]
    machine: Machine,
    /// Where the weights are: cache or dram
    #[arg(long, default_value_t = Residence::Dram)]
    residence: Residence,
    /// How many threads divide the rows; without it, the number of cores
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Candidates to show
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
    /// Emit and verify the candidates that are shown
    #[arg(long)]
    verify: bool,
    /// For programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kernelgen explain 2560x6912-decode-tensor-a8
  kernelgen explain 4096x14336-decode-tensor-a8 --machine sapphire-rapids --residence dram
  kernelgen explain 2560x2560-prefill-tensor-a8 --threads 1 --residence cache --verify

Predicted times are cycles of one thread, from what the kernel executes and a table of processors; `limit` is what most of
them go to. Measured times are relative to the best that was measured, from `kernelgen tune`.";

/// A candidate, or what was dropped.
#[derive(Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    name: String,
    #[serde(flatten)]
    prediction: Option<Prediction>,
    /// Measured time relative to the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Explain {
    pub fn run(&self) -> Result<(), Failure> {
        if self.verify && self.machine.is_recorded() {
            return Err(Failure::Usage(
                "another machine's kernels can only be checked with `verify --simulate`".to_owned(),
            ));
        }
        let caps = self.machine.caps()?;
        let usual = Environment::usual(&caps);
        let environment =
            Environment { residence: self.residence, threads: self.threads.unwrap_or(usual.threads).max(1) };
        let tuning = self.tuning(&caps)?;
        let answer = tuning.answer(&self.key, environment.residence, environment.threads);
        let rows = self.rows(&caps, environment, answer);
        if self.json {
            return print_json(&rows);
        }
        self.show(&rows, answer, environment);
        Ok(())
    }

    /// What was measured on this machine; nothing for another.
    fn tuning(&self, caps: &HardwareCaps) -> Result<Tuning, Failure> {
        if self.machine.is_recorded() {
            return Ok(Tuning::default());
        }
        Ok(Tuning::new(TuningFile::new(&Store::from_env()?, caps).load()?))
    }

    fn rows(&self, caps: &HardwareCaps, environment: Environment, answer: Option<&Answer>) -> Vec<Row> {
        let all = considered(caps, &self.key, environment);
        let row = |(rank, considered): (usize, Considered)| match considered {
            Considered::Candidate { config, prediction } => Row {
                rank: Some(rank + 1),
                name: config.to_string(),
                prediction: Some(prediction),
                measured: answer.and_then(|answer| measured(answer, &config)),
                note: (self.verify && rank < self.top).then(|| self.verdict(&config, caps)),
            },
            Considered::Dropped { what, reason } => {
                Row { rank: None, name: what, prediction: None, measured: None, note: Some(reason) }
            }
        };
        all.into_iter().enumerate().map(row).collect()
    }

    fn verdict(&self, config: &KernelConfig, caps: &HardwareCaps) -> String {
        match verify_native(&self.key, config, caps, VERIFY_SEED) {
            Ok(_) => "exact".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn show(&self, rows: &[Row], answer: Option<&Answer>, environment: Environment) {
        let Environment { residence, threads } = environment;
        let candidates: Vec<_> = rows.iter().filter(|row| row.rank.is_some()).collect();
        let core =
            candidates.first().and_then(|row| row.prediction).map_or("?", |prediction| prediction.core);
        print(&format!(
            "{} from {residence} with {threads} threads: {} candidates, predicted for `{core}`\n",
            self.key,
            candidates.len()
        ));
        let best =
            candidates.first().and_then(|row| row.prediction).map_or(1.0, |prediction| prediction.cycles);
        let cells = candidates.iter().take(self.top).map(|row| cells(row, best));
        print(&table(
            &["rank", "candidate", "cycles", "relative", "measured", "computing", "reading", "limit", ""],
            cells,
        ));
        if candidates.len() > self.top {
            print(&format!("... and {} slower ones by prediction", candidates.len() - self.top));
        }
        let dropped: Vec<_> = rows.iter().filter(|row| row.rank.is_none()).collect();
        if !dropped.is_empty() {
            let cells =
                dropped.iter().map(|row| vec![row.name.clone(), row.note.clone().unwrap_or_default()]);
            print(&format!("\n{}", table(&["dropped", "because"], cells)));
        }
        match answer {
            Some(answer) => print(&format!(
                "\ntuned: {}, {:.2} times as fast as {}{}",
                answer.choice,
                answer.gain,
                answer.heuristic,
                if answer.finished { "" } else { "; the search is not finished" }
            )),
            None if self.machine.is_recorded() => {}
            None => print(&format!("\nnot tuned: `kernelgen tune {}` would measure", self.key)),
        }
    }
}

/// The measured time of a configuration, relative to the best that was measured.
fn measured(answer: &Answer, config: &KernelConfig) -> Option<f64> {
    let trial = answer.ranking.iter().find(|trial| trial.config == *config)?;
    let best = answer.ranking.iter().map(|trial| trial.ratio.median).fold(f64::INFINITY, f64::min);
    Some(trial.ratio.median / best)
}

fn cells(row: &Row, best: f64) -> Vec<String> {
    let prediction =
        |show: &dyn Fn(&Prediction) -> String| row.prediction.as_ref().map_or(String::new(), show);
    vec![
        row.rank.map_or(String::new(), |rank| rank.to_string()),
        row.name.clone(),
        prediction(&|p| format!("{:.0}", p.cycles)),
        prediction(&|p| format!("{:.2}", p.cycles / best)),
        row.measured.map_or(String::new(), |measured| format!("{measured:.2}")),
        prediction(&|p| format!("{:.0}", p.computing)),
        prediction(&|p| format!("{:.0}", p.reading)),
        prediction(&|p| p.bound.to_string()),
        row.note.clone().unwrap_or_default(),
    ]
}
