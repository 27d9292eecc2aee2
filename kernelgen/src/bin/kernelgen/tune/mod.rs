//! `kernelgen tune`

mod files;
mod keys;
mod plot;
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::KernelKey;
use craftsman_kernelgen::roofline::{Level, Roofline};
use craftsman_kernelgen::store::{Machine, Store, write_aside};
use craftsman_kernelgen::tuning::{Answer, Question, Residence, Tuner, TuningFile};

use crate::progress::Progress;
use crate::{Failure, print, print_json, table};

/// Find the fastest kernels of this machine by running them, and keep the answers.
///
/// Every candidate is verified before it is timed. Candidates are timed in turn and compared with the kernel that would
/// be chosen without tuning, so that other work on the machine hits all alike; the slower half drops out, again and
/// again, and the neighbours of the best are tried. A search that is stopped goes on where it was the next time.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Tune {
    #[command(subcommand)]
    action: Option<files::Action>,
    /// What to tune, as in 2560x6912-decode-tensor-a8; without it, the shapes of common models
    keys: Vec<KernelKey>,
    /// A model, whose shapes `craftsman inspect MODEL --keys` tells; or such a list, one key a line, `-` for standard
    /// input
    #[arg(long, value_name = "MODEL", conflicts_with = "keys")]
    model: Option<PathBuf>,
    /// Seconds that all of it may take
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS")]
    budget: f64,
    /// Thread counts to tune for, as in 1,4; without it, the number of cores
    #[arg(long, value_delimiter = ',', value_name = "N")]
    threads: Vec<usize>,
    /// Where the weights are when they are read
    #[arg(long, value_enum, default_value_t = From::Both)]
    residence: From,
    /// Forget earlier answers to these questions
    #[arg(long)]
    again: bool,
    /// A page of plots: candidates against the roofline, and what tile and prefetch distance do
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// For programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  kernelgen tune                                               the shapes of common models, five minutes
  kernelgen tune 2560x6912-decode-tensor-a8 --budget 20        one product
  kernelgen tune --model model.gguf                            what a model needs
  kernelgen tune --threads 1,2 --residence dram --report tuning.html
  kernelgen tune show                                          what is known
  kernelgen tune export answers.json                           to give to an equal machine
  kernelgen tune import answers.json
  kernelgen tune clear                                         forget it

Answers lie in the folder that CRAFTSMAN_TUNING names, or else in `craftsman` in the user's cache folder, a file a machine.
`craftsman` and the library use them when they load a model; CRAFTSMAN_LOG=info says which kernels were selected.
Shares of the roofline need `kernelgen roofline` first.";

/// Where weights are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// The nearest cache that holds the matrix
    Cache,
    /// Main memory
    Dram,
    /// One answer for each
    Both,
}

impl From {
    fn residences(self) -> &'static [Residence] {
        match self {
            Self::Cache => &[Residence::Cache],
            Self::Dram => &[Residence::Dram],
            Self::Both => &Residence::ALL,
        }
    }
}

impl Tune {
    pub fn run(&self) -> Result<(), Failure> {
        let caps = HardwareCaps::from_env().map_err(|error| Failure::Usage(error.to_string()))?;
        let store = Store::from_env()?;
        let file = TuningFile::new(&store, &caps);
        if let Some(action) = &self.action {
            return action.run(&file, &caps);
        }
        let roofline = Roofline::load(&store, &Machine::new(&caps))?;
        let questions = self.questions(&caps)?;
        if self.again {
            file.forget(|answer| questions.contains(&answer.question))?;
        }
        let answers = self.search(&questions, &Tuner::new(caps.clone(), &file, roofline.clone()))?;
        if let Some(path) = &self.report {
            let page = report::page(&caps, roofline.as_ref(), &answers).map_err(Failure::File)?;
            let failed = |error| Failure::File(format!("cannot write {}: {error}", path.display()));
            write_aside(path, failed, |out| out.write_all(page.as_bytes()).map_err(failed))?;
        }
        show(&answers, self.json)
    }

    fn questions(&self, caps: &HardwareCaps) -> Result<Vec<Question>, Failure> {
        let keys = match &self.model {
            Some(path) => keys::read(path)?,
            None if self.keys.is_empty() => keys::standard()?,
            None => self.keys.clone(),
        };
        let cores = [caps.physical_cores.max(1) as usize];
        let asked = if self.threads.is_empty() { &cores[..] } else { &self.threads };
        let threads = crate::roofline::thread_counts(asked, caps)?;
        let mut questions = Vec::new();
        for (&key, &residence) in
            keys.iter().flat_map(|key| self.residence.residences().iter().map(move |r| (key, r)))
        {
            let asked = threads.iter().map(|&threads| Question { key, residence, threads });
            questions.extend(asked.filter(|question| makes_sense(question, caps)));
        }
        if questions.is_empty() {
            return Err(Failure::Usage(
                "none of these matrices fits a cache: try --residence dram".to_owned(),
            ));
        }
        Ok(questions)
    }

    fn search(&self, questions: &[Question], tuner: &Tuner<'_>) -> Result<Vec<Answer>, Failure> {
        let budget = Duration::try_from_secs_f64(self.budget)
            .map_err(|_| Failure::Usage(format!("--budget takes seconds, not {}", self.budget)))?;
        let start = Instant::now();
        let progress = Progress::new(budget.as_millis() as u64);
        let mut answers = Vec::new();
        for (at, question) in questions.iter().enumerate() {
            let left = budget.saturating_sub(start.elapsed());
            let share = left / (questions.len() - at) as u32;
            let answer = tuner.answer(*question, share, &mut |now| {
                let best = now.search.answer();
                let message = format!(
                    "{}/{} {question}: {} {:.2}x, {} of {} left",
                    at + 1,
                    questions.len(),
                    best.choice,
                    best.gain,
                    now.field,
                    now.tried
                );
                progress.show(message, start.elapsed().as_millis() as u64, budget.as_millis() as u64);
            });
            answers.push(answer.map_err(|error| Failure::Kernel(error.to_string()))?);
        }
        Ok(answers)
    }
}

/// A matrix that no cache holds has no answer for weights in a cache. Two bits a weight are what most packings take.
fn makes_sense(question: &Question, caps: &HardwareCaps) -> bool {
    let Question { key, residence, threads } = question;
    let bytes = key.m * key.k / 4 / threads;
    *residence == Residence::Dram || Level::holding(&caps.caches, bytes, *threads) != Level::Dram
}

/// A table for people, or the answers for programs.
fn show(answers: &[Answer], json: bool) -> Result<(), Failure> {
    if json {
        return print_json(&answers);
    }
    let rows = answers.iter().map(|answer| {
        let Question { key, residence, threads } = answer.question;
        let chosen = answer.ranking.iter().find(|trial| trial.config == answer.choice);
        let spread = chosen.map_or(String::new(), |trial| format!("±{:.1} %", trial.ratio.spread() * 50.0));
        let share = answer.share.map_or("?".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let time = format!("{:.1} us", answer.heuristic_seconds / answer.gain * 1e6);
        let (threads, gain) = (threads.to_string(), format!("{:.2}x", answer.gain));
        let state = if answer.finished { "" } else { "not finished" };
        let choice = answer.choice.to_string();
        vec![
            key.to_string(),
            residence.to_string(),
            threads,
            choice,
            time,
            share,
            gain,
            spread,
            state.to_owned(),
        ]
    });
    let header = ["key", "weights", "threads", "kernel", "time", "roofline", "gain", "spread", ""];
    print(&table(&header, rows));
    let unfinished = answers.iter().filter(|answer| !answer.finished).count();
    if unfinished > 0 {
        eprintln!("{unfinished} searches ran out of time: the same command goes on with them");
    }
    if answers.iter().any(|answer| answer.finished && answer.share.is_none()) {
        eprintln!("shares need the machine's roofline: run `kernelgen roofline`, then tune --again");
    }
    Ok(())
}
