//! One packed layout for decode, small batches and prefill.
//!
//! A matrix is packed once, so its kernels must read the same layout, while the fastest ones for each batch class may
//! not. The layouts are tried in the order of
//! ```text
//! cost(layout) = sum over batch classes of weight x time(best kernel of that layout) / time(best kernel)
//! ```
//! with times as they were measured, or else as they are predicted. The weights say how much of a conversation's time
//! passes in a class: most of it in decode, a good part in prefill, which works through a long prompt in little time, and
//! the least in small batches.

use super::answer::{Answer, Trial};
use crate::config::KernelConfig;
use crate::key::{Batch, KernelKey};
use crate::packed::Layout;

/// Share of the time that passes in a batch class.
fn weight(batch: Batch) -> f64 {
    match batch {
        Batch::Decode => 0.6,
        Batch::Small => 0.1,
        Batch::Prefill => 0.3,
    }
}

/// What a way costs that an answer knows nothing of, relative to its choice: tuning did not come far with it.
const UNKNOWN: f64 = 2.0;

/// Ways to compute one key, the first to be tried first.
#[derive(Debug)]
pub(crate) struct Ranking {
    batch: Batch,
    ways: Vec<Way>,
}

#[derive(Debug)]
struct Way {
    config: KernelConfig,
    layout: Layout,
    /// Relative to the best.
    time: f64,
}

impl Ranking {
    /// `predicted` are all candidates with what they should take, the fastest first; `answer` what was measured of some.
    pub(crate) fn new(key: &KernelKey, answer: Option<&Answer>, predicted: &[(KernelConfig, f64)]) -> Self {
        let best = predicted.first().map_or(1.0, |(_, time)| *time);
        let unknown = if answer.is_some() { UNKNOWN } else { 1.0 };
        let mut times: Vec<_> = answer.into_iter().flat_map(measured).collect();
        for (config, time) in predicted {
            if !times.iter().any(|(known, _)| known == config) {
                times.push((*config, unknown * time / best));
            }
        }
        let way = |(config, time): (KernelConfig, f64)| {
            Some(Way { config, layout: config.layout(key).ok()?, time })
        };
        Self { batch: key.batch, ways: times.into_iter().filter_map(way).collect() }
    }

    /// The configurations, layout by layout.
    pub(crate) fn by(&self, layouts: &[Layout]) -> Vec<KernelConfig> {
        let ways =
            layouts.iter().flat_map(|layout| self.ways.iter().filter(move |way| way.layout == *layout));
        ways.map(|way| way.config).collect()
    }

    /// Relative time of the first way that reads `layout`; nothing can be computed at all if there is none.
    fn time(&self, layout: &Layout) -> f64 {
        let first = self.ways.iter().find(|way| way.layout == *layout);
        first.map_or(f64::INFINITY, |way| way.time)
    }
}

/// What an answer measured, relative to its choice: the choice, then the others, the fastest first.
fn measured(answer: &Answer) -> impl Iterator<Item = (KernelConfig, f64)> {
    let choice = answer.ranking.iter().filter(|trial| trial.config == answer.choice);
    let others = answer.ranking.iter().filter(|trial| trial.config != answer.choice);
    choice.chain(others).map(|trial| (trial.config, trial.ratio.median * answer.gain))
}

/// Every layout that some way reads, the cheapest for all batch classes first.
pub(crate) fn layouts(rankings: &[Ranking]) -> Vec<Layout> {
    let mut layouts: Vec<Layout> = Vec::new();
    for way in rankings.iter().flat_map(|ranking| &ranking.ways) {
        if !layouts.contains(&way.layout) {
            layouts.push(way.layout);
        }
    }
    let cost = |layout: &Layout| -> f64 {
        rankings.iter().map(|ranking| weight(ranking.batch) * ranking.time(layout)).sum()
    };
    layouts.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    layouts
}

/// What a finished answer keeps of its ranking: the choice, the heuristic choice, the first `few` and the best of each
/// layout, without their single samples.
pub(super) fn condense(answer: &mut Answer, few: usize) {
    let mut layouts = Vec::new();
    let (key, choice, heuristic) = (answer.question.key, answer.choice, answer.heuristic);
    let ranking = std::mem::take(&mut answer.ranking);
    for (rank, trial) in ranking.into_iter().enumerate() {
        let layout = trial.config.layout(&key).ok();
        let first_of_layout = !layouts.contains(&layout);
        layouts.push(layout);
        if rank < few || first_of_layout || trial.config == choice || trial.config == heuristic {
            answer.ranking.push(Trial { ratio: trial.ratio.summary(), out: false, ..trial });
        }
    }
}
