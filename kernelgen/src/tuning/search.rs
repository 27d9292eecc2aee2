//! The search: successive halving over interleaved measurements, then the neighbourhood of the best.
//!
//! ```text
//! field = candidates
//! repeat:
//!     time each of the field in turn, and in between the heuristic choice; keep time / heuristic's time
//!     while the field is large: drop its slower half, time the rest again
//!     add the untried neighbours of the best few: one step in panels, tokens, unroll, prefetch
//! until there are none;  time the last few until their order is stable
//! ```
//! 1. *Ratios, not times.* The machine's speed drifts (other work, heat, clock), and drifts for all alike. Each time is
//!    divided by the mean of the heuristic choice's times just before and just after it.
//! 2. *Minima of two, medians of those.* Other work only makes slower: it seldom spoils two times in a row, and when it
//!    does, it spoils some ratios and not the middle one.
//! 3. *The first sample of each is distrusted*: it brings code and weights in and wakes the processor.
//! 4. *A tie goes to the heuristic choice*: tuning must not make anything slower. The best of many has been lucky, too,
//!    so the last few are judged by fresh samples.
//! 5. *Nothing is lost.* The state is an [`Answer`]; a search that was stopped or killed goes on from the stored one.
//!
//! The accepted drawback: what loses early, on few samples, is not looked at again; hence half of the field stays each
//! time, and whatever is close to the best.

use std::collections::HashSet;
use std::time::Duration;

use super::answer::{Answer, Question, Trial};
use super::space::neighbours;
use crate::config::KernelConfig;
use crate::roofline::{Samples, five_digits};

/// What a search asks the world. Time comes from here only, so that the search can be tested without any.
pub trait Stopwatch {
    /// Makes a configuration ready to be timed: emitted, verified, its weights packed.
    ///
    /// # Errors
    /// Why it cannot be had; it is then left out.
    fn admit(&mut self, config: &KernelConfig) -> Result<(), String>;
    /// The time of one call of an admitted configuration.
    fn time(&mut self, config: &KernelConfig) -> Duration;
    /// Lets go of what was made ready.
    fn dismiss(&mut self, config: &KernelConfig);
    /// How long the search has been going on.
    fn elapsed(&self) -> Duration;
}

/// How a search is going.
#[derive(Debug)]
pub struct Progress<'a> {
    /// What is known so far, to be shown or stored.
    pub search: &'a Search,
    /// How many are being measured.
    pub field: usize,
    /// How many were measured so far, those of an earlier run included.
    pub tried: usize,
}

/// Samples of each of the field between two decisions.
const ROUND_SAMPLES: usize = 3;
/// A field of this size is not halved any more.
const FINAL: usize = 4;
/// Whatever is not slower than this, relative to the best, stays in the field.
const CLOSE: f64 = 1.03;
/// How many of the best have their neighbours tried.
const PARENTS: usize = 3;
/// Candidates between two samples of the heuristic choice.
const BETWEEN_REFERENCES: usize = 4;
/// Samples that each of the last few has at least.
const ENOUGH: usize = 9;
/// For how many rounds the best must have been the best.
const STEADY_ROUNDS: usize = 3;
/// Rounds of the last few at most: what cannot be told apart by then is a tie.
const LAST_ROUNDS: usize = 24;
/// The best must lead by this much to be told from the second; less does not matter.
const TIE: f64 = 0.01;

/// A configuration in the search.
#[derive(Debug)]
struct Arm {
    config: KernelConfig,
    /// Time relative to the heuristic choice's, in the order they were measured.
    ratios: Vec<f64>,
    out: bool,
}

impl Arm {
    fn trial(&self) -> Option<Trial> {
        let ratio = Samples::new(self.ratios.clone())?;
        Some(Trial { config: self.config, ratio, out: self.out })
    }

    fn median(&self) -> f64 {
        Samples::new(self.ratios.clone()).map_or(f64::INFINITY, |samples| samples.median)
    }
}

/// A search for one question.
#[derive(Debug)]
pub struct Search {
    question: Question,
    heuristic: KernelConfig,
    /// Everything that was admitted; the first is the heuristic choice.
    arms: Vec<Arm>,
    /// Admitted or refused: not to be tried again.
    seen: HashSet<KernelConfig>,
    /// Seconds of a call of the heuristic choice.
    reference: Vec<f64>,
    finished: bool,
}

impl Search {
    /// A search that begins with the `heuristic` choice, and goes on from `before` when that began alike.
    pub fn new(question: Question, heuristic: KernelConfig, before: Option<&Answer>) -> Self {
        let mut search = Self {
            question,
            heuristic,
            arms: vec![Arm { config: heuristic, ratios: Vec::new(), out: false }],
            seen: HashSet::from([heuristic]),
            reference: Vec::new(),
            finished: false,
        };
        let alike = |before: &&Answer| before.question == question && before.heuristic == heuristic;
        if let Some(before) = before.filter(alike) {
            search.finished = before.finished;
            search.reference.push(before.heuristic_seconds);
            before.ranking.iter().for_each(|trial| search.recall(trial));
        }
        search
    }

    /// Takes over what an earlier run measured.
    fn recall(&mut self, trial: &Trial) {
        let Trial { config, ratio, out } = trial;
        // A finished answer keeps no single samples.
        let ratios = if ratio.all.is_empty() {
            vec![ratio.median; ratio.count.min(ENOUGH)]
        } else {
            ratio.all.clone()
        };
        if self.seen.insert(*config) {
            self.arms.push(Arm { config: *config, ratios, out: *out });
        } else if *config == self.heuristic {
            self.arms[0].ratios = ratios;
        }
    }

    /// Whether an earlier run came to the end.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Searches among `candidates` and around them until the answer is stable or `watch` says that `budget` is over.
    /// `observe` is called after each round.
    ///
    /// # Errors
    /// Why the heuristic choice cannot be had: there is nothing to compare with.
    pub fn run(
        &mut self,
        candidates: &[KernelConfig],
        watch: &mut dyn Stopwatch,
        budget: Duration,
        observe: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), String> {
        watch.admit(&self.heuristic)?;
        watch.time(&self.heuristic);
        self.readmit(watch);
        let mut run = Run { search: self, watch, budget, observe };
        run.baseline();
        while !run.search.finished && !run.over() {
            let newcomers = run.search.newcomers(candidates);
            if newcomers.is_empty() {
                run.search.finished = run.settle();
                break;
            }
            run.admit(&newcomers);
            run.halve();
        }
        Ok(())
    }

    /// What is to be tried next: the candidates, then the neighbours of the best.
    fn newcomers(&self, candidates: &[KernelConfig]) -> Vec<KernelConfig> {
        let unseen = |configs: &[KernelConfig]| -> Vec<KernelConfig> {
            configs.iter().copied().filter(|config| !self.seen.contains(config)).collect()
        };
        let untried = unseen(candidates);
        if untried.is_empty() { unseen(&self.around_the_best()) } else { untried }
    }

    /// Makes ready again the faster half of what a stopped run was measuring.
    fn readmit(&mut self, watch: &mut dyn Stopwatch) {
        let field = self.field();
        for (rank, at) in field.iter().enumerate() {
            let arm = &mut self.arms[*at];
            arm.out = rank >= FINAL.max(field.len() / 2) || watch.admit(&arm.config).is_err();
            if !arm.out {
                watch.time(&arm.config);
            }
        }
    }

    /// Places of those still measured, the fastest first; the heuristic choice, which always is, not among them.
    fn field(&self) -> Vec<usize> {
        let mut field: Vec<_> = (1..self.arms.len()).filter(|&at| !self.arms[at].out).collect();
        field.sort_by(|&a, &b| self.arms[a].median().total_cmp(&self.arms[b].median()));
        field
    }

    /// Neighbours of the best few, the heuristic choice being one of them if it is.
    fn around_the_best(&self) -> Vec<KernelConfig> {
        let mut best: Vec<_> = self.field().into_iter().chain([0]).collect();
        best.sort_by(|&a, &b| self.arms[a].median().total_cmp(&self.arms[b].median()));
        let parents = best.into_iter().take(PARENTS).map(|at| &self.arms[at].config);
        parents.flat_map(|config| neighbours(&self.question.key, config)).collect()
    }

    /// What is known now.
    pub fn answer(&self) -> Answer {
        let mut ranking: Vec<_> = self.arms.iter().filter_map(Arm::trial).collect();
        ranking.sort_by(|a, b| a.ratio.median.total_cmp(&b.ratio.median));
        let surely_faster = |trial: &&Trial| {
            let likely = trial.ratio.median + trial.uncertainty().max(TIE);
            // Of few samples the uncertainty is uncertain, too.
            trial.ratio.count >= ROUND_SAMPLES && likely < 1.0 && trial.ratio.high < 1.0
        };
        let best = ranking
            .iter()
            .filter(|trial| !trial.out)
            .find(surely_faster)
            .filter(|best| best.config != self.heuristic);
        Answer {
            question: self.question,
            choice: best.map_or(self.heuristic, |best| best.config),
            gain: best.map_or(1.0, |best| five_digits(1.0 / best.ratio.median)),
            share: None,
            finished: self.finished,
            heuristic: self.heuristic,
            heuristic_seconds: Samples::new(self.reference.clone())
                .map_or(0.0, |samples| five_digits(samples.median)),
            ranking,
        }
    }
}

/// A search that is running.
struct Run<'r> {
    search: &'r mut Search,
    watch: &'r mut dyn Stopwatch,
    budget: Duration,
    observe: &'r mut dyn FnMut(&Progress<'_>),
}

impl Run<'_> {
    fn over(&self) -> bool {
        self.watch.elapsed() >= self.budget
    }

    /// Measures the heuristic choice against itself, so that there is an answer however small the budget.
    fn baseline(&mut self) {
        let heuristic = self.search.heuristic;
        for _ in 0..ROUND_SAMPLES {
            let [before, after] = [(); 2].map(|()| self.sample(&heuristic));
            self.search.reference.push(before);
            self.search.arms[0].ratios.push(after / before);
        }
    }

    /// Takes new configurations into the field.
    fn admit(&mut self, configs: &[KernelConfig]) {
        for config in configs {
            if self.over() {
                return;
            }
            if !self.search.seen.insert(*config) {
                continue;
            }
            match self.watch.admit(config) {
                Ok(()) => {
                    self.watch.time(config);
                    self.search.arms.push(Arm { config: *config, ratios: Vec::new(), out: false });
                }
                Err(reason) => tracing::debug!(name: "CandidateRefused", %config, reason),
            }
        }
    }

    /// Measures the field and drops its slower half until only few, or close ones, are left.
    fn halve(&mut self) {
        loop {
            for _ in 0..ROUND_SAMPLES {
                self.round(&self.search.field());
            }
            let field = self.search.field();
            let median = |at: &usize| self.search.arms[*at].median();
            let limit = field.first().map_or(f64::INFINITY, |best| median(best) * CLOSE);
            let slow =
                |(rank, at): &(usize, usize)| *rank >= FINAL.max(field.len() / 2) && median(at) > limit;
            let drop: Vec<_> = field.iter().copied().enumerate().filter(slow).map(|(_, at)| at).collect();
            if drop.is_empty() || self.over() {
                return;
            }
            self.drop_out(&drop);
        }
    }

    fn drop_out(&mut self, places: &[usize]) {
        for &at in places {
            self.search.arms[at].out = true;
            self.watch.dismiss(&self.search.arms[at].config);
        }
    }

    /// Measures the best few until one of them has been the best for some rounds and leads by more than the noise.
    /// Whether that, or the end of all rounds, came before the end of the budget.
    fn settle(&mut self) -> bool {
        let mut last = self.search.field();
        let others = last.split_off(FINAL.min(last.len()));
        self.drop_out(&others);
        for &at in &last {
            self.search.arms[at].ratios.clear();
        }
        let mut leaders = Vec::new();
        for _ in 0..LAST_ROUNDS {
            if self.over() && !leaders.is_empty() {
                return false;
            }
            self.round(&last);
            leaders.push(self.search.answer().choice);
            let steady =
                leaders.iter().rev().take(STEADY_ROUNDS).filter(|choice| leaders.last() == Some(choice));
            if steady.count() == STEADY_ROUNDS && self.told_apart() {
                break;
            }
        }
        true
    }

    /// Whether the best few have enough samples, and the first leads the second by more than their uncertainty, or by
    /// so little that it does not matter.
    fn told_apart(&self) -> bool {
        let field = self.search.field();
        let best: Vec<_> = field.iter().take(2).filter_map(|&at| self.search.arms[at].trial()).collect();
        let [first, second] = &best[..] else { return true };
        let lead = second.ratio.median - first.ratio.median;
        let noise = first.uncertainty() + second.uncertainty();
        first.ratio.count >= ENOUGH && (lead > noise || (lead < TIE * first.ratio.median && noise < TIE))
    }

    /// Seconds of one call, the less of two in a row.
    fn sample(&mut self, config: &KernelConfig) -> f64 {
        let [first, second] = [(); 2].map(|()| self.watch.time(config).as_secs_f64());
        first.min(second)
    }

    /// Times each of `places` once, in turn, with the heuristic choice before, after and in between.
    fn round(&mut self, places: &[usize]) {
        let heuristic = self.search.heuristic;
        let mut before = self.sample(&heuristic);
        self.search.reference.push(before);
        for group in places.chunks(BETWEEN_REFERENCES) {
            let configs = group.iter().map(|&at| self.search.arms[at].config).collect::<Vec<_>>();
            let times: Vec<_> = configs.iter().map(|config| self.sample(config)).collect();
            let after = self.sample(&heuristic);
            for (&at, time) in group.iter().zip(times) {
                self.search.arms[at].ratios.push(time / f64::midpoint(before, after));
            }
            self.search.arms[0].ratios.push(after / before);
            before = after;
            if self.over() {
                break;
            }
        }
        let (field, tried) = (self.search.field().len(), self.search.arms.len());
        (self.observe)(&Progress { search: self.search, field, tried });
    }
}
