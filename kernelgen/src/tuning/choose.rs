//! One packed layout for decode, small batches and prefill.
//!
//! A matrix is packed once, so its kernels must read the same layout, while the fastest ones for each batch class may
//! not. For each layout that some answer knows, the best kernel of each class costs its time relative to the best of
//! that class; the layouts are tried in the order of
//! ```text
//! cost(layout) = sum over batch classes of weight x time(best kernel of that layout) / time(best kernel)
//! ```
//! The weights say how much of a conversation's time passes there: most of it in decode, a good part in prefill, which
//! works through a long prompt in little time, and the least in small batches.

use crate::config::KernelConfig;
use crate::key::Batch;
use crate::packed::Layout;

use super::answer::{Answer, Trial};

/// Share of the time that passes in a batch class.
fn weight(batch: Batch) -> f64 {
    match batch {
        Batch::Decode => 0.6,
        Batch::Small => 0.1,
        Batch::Prefill => 0.3,
    }
}

/// What a class costs whose answer knows nothing of a layout, relative to its best: it did not come far.
const UNKNOWN: f64 = 2.0;

/// What `layout_of` a configuration is, if it makes sense for the key of an answer.
pub(crate) type LayoutOf<'f> = &'f dyn Fn(&Answer, &KernelConfig) -> Option<Layout>;

/// The configurations of `answers[wanted]`, the answers being those of one matrix, in the order in which they are to be
/// tried: layout by layout, the cheapest for all answers first. The order of layouts is the same for each `wanted`.
pub(crate) fn order(answers: &[&Answer], wanted: usize, layout_of: LayoutOf<'_>) -> Vec<KernelConfig> {
    let mut layouts: Vec<(Layout, f64)> = Vec::new();
    for answer in answers {
        for layout in answer.ranking.iter().filter_map(|trial| layout_of(answer, &trial.config)) {
            if !layouts.iter().any(|(known, _)| *known == layout) {
                layouts.push((layout, cost(answers, &layout, layout_of)));
            }
        }
    }
    layouts.sort_by(|a, b| a.1.total_cmp(&b.1));
    let answer = answers[wanted];
    layouts
        .iter()
        .filter_map(|(layout, _)| best(answer, layout, layout_of))
        .map(|trial| trial.config)
        .collect()
}

fn cost(answers: &[&Answer], layout: &Layout, layout_of: LayoutOf<'_>) -> f64 {
    let cost = |answer: &&Answer| {
        let ratio = best(answer, layout, layout_of).map_or(UNKNOWN, |trial| trial.ratio.median * answer.gain);
        weight(answer.question.key.batch) * ratio
    };
    answers.iter().map(cost).sum()
}

/// The best of a layout: the answer's choice if it reads that, or else the fastest.
fn best<'a>(answer: &'a Answer, layout: &Layout, layout_of: LayoutOf<'_>) -> Option<&'a Trial> {
    let reads = |trial: &&Trial| layout_of(answer, &trial.config).as_ref() == Some(layout);
    let chosen = answer.ranking.iter().filter(reads).find(|trial| trial.config == answer.choice);
    let median = |trial: &&Trial| trial.ratio.median;
    chosen.or_else(|| answer.ranking.iter().filter(reads).min_by(|a, b| median(a).total_cmp(&median(b))))
}

/// What a finished answer keeps of its ranking: the choice, the heuristic choice, the first `few` and the best of each
/// layout, without their single samples.
pub(crate) fn condense(answer: &mut Answer, few: usize, layout_of: LayoutOf<'_>) {
    let mut layouts = Vec::new();
    let (choice, heuristic) = (answer.choice, answer.heuristic);
    let ranking = std::mem::take(&mut answer.ranking);
    for (rank, trial) in ranking.into_iter().enumerate() {
        let layout = layout_of(answer, &trial.config);
        let first_of_layout = !layouts.contains(&layout);
        layouts.push(layout);
        if rank < few || first_of_layout || trial.config == choice || trial.config == heuristic {
            answer.ranking.push(Trial { ratio: trial.ratio.summary(), out: false, ..trial });
        }
    }
}
