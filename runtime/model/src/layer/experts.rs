//! A mixture of experts: each token goes through the few that its router chooses.
//!
//! Tokens are grouped by expert, and each expert that has any runs one product over its group. A token's experts are
//! summed in ascending order, each by `out = mul_add(weight, expert's output, out)` from 0 on: the order does not depend
//! on which tokens are processed together, so one token at a time gives the same bits as many.

use craftsman_golden::float::router;

use super::gated::{self, Gated, GatedScratch, Group};
use super::linear::{self, Linear, Product, Quantised};
use super::{Engine, sized};
use crate::ModelError;
use crate::config::ExpertConfig;

/// The experts of one layer and their router.
#[derive(Debug)]
pub(crate) struct Experts {
    /// `[experts, hidden]`, always dense, in f32.
    router: Linear,
    list: Vec<Gated>,
    config: ExpertConfig,
}

/// Buffers of [`Experts::forward`].
#[derive(Debug, Default)]
pub(crate) struct ExpertScratch {
    logits: Vec<f32>,
    routes: Vec<Route>,
    gathered: Vec<f32>,
    answers: Vec<f32>,
    unquantised: Quantised,
}

/// One expert of one token.
#[derive(Debug, Clone, Copy)]
struct Route {
    expert: usize,
    token: usize,
    weight: f32,
}

impl Experts {
    /// A mixture of `experts` behind `router`, a dense matrix.
    pub(crate) fn new(router: Linear, experts: Vec<Gated>, config: ExpertConfig) -> Self {
        Self { router, list: experts, config }
    }

    /// Bytes of packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.router.bytes() + self.list.iter().map(Gated::bytes).sum::<usize>()
    }

    /// Bytes of packed weights that one token reads: the router and the experts it uses, which are all of one size.
    pub(crate) fn bytes_per_token(&self) -> usize {
        self.router.bytes() + self.list.iter().take(self.config.used).map(Gated::bytes).sum::<usize>()
    }

    /// Writes the mixture for `x`, `[tokens, hidden]`, to `out`, `[tokens, hidden]`.
    pub(crate) fn forward(
        &self,
        engine: &Engine<'_>,
        x: &[f32],
        layer: usize,
        out: &mut [f32],
        scratch: &mut ExpertScratch,
        inner: &mut GatedScratch,
    ) -> Result<(), ModelError> {
        let width = self.router.k();
        self.route(engine, x, layer, scratch);
        let ExpertScratch { routes, gathered, answers, .. } = scratch;
        let inputs = gather(x, width, routes, gathered);
        let answers = sized(answers, routes.len() * width);
        let groups: Vec<Group<'_>> = routes
            .chunk_by(|a, b| a.expert == b.expert)
            .enumerate()
            .map(|(index, group)| Group {
                gated: &self.list[group[0].expert],
                input: index.min(inputs.len() - 1),
                rows: group.len(),
            })
            .collect();
        gated::forward(engine, &groups, &inputs, answers, inner)?;
        engine.threads.rows(out, width, |first, rows| {
            rows.fill(0.0);
            let last = first + rows.len() / width;
            for (route, answer) in routes.iter().zip(answers.chunks_exact(width)) {
                if (first..last).contains(&route.token) {
                    engine.ops.axpy(
                        route.weight,
                        answer,
                        &mut rows[(route.token - first) * width..][..width],
                    );
                }
            }
        });
        Ok(())
    }

    /// Fills `scratch.routes`, sorted by expert, then by token.
    fn route(&self, engine: &Engine<'_>, x: &[f32], layer: usize, scratch: &mut ExpertScratch) {
        let ExpertScratch { logits, routes, unquantised, .. } = scratch;
        let experts = self.list.len();
        let logits = sized(logits, x.len() / self.router.k() * experts);
        linear::run(engine, vec![Product { linear: &self.router, x, input: unquantised, out: &mut *logits }]);
        routes.clear();
        for (token, logits) in logits.chunks_exact(experts).enumerate() {
            for (expert, weight) in router(logits, self.config.used, self.config.renormalise) {
                let weight = if self.config.scale == 1.0 { weight } else { weight * self.config.scale };
                tracing::trace!(name: "ExpertRouted", layer, token, expert, weight);
                routes.push(Route { expert, token, weight });
            }
        }
        routes.sort_by_key(|route| (route.expert, route.token));
    }
}

/// The inputs of the groups: of a single token that token's row for all of them, else the rows of each group copied
/// together.
fn gather<'a>(x: &'a [f32], width: usize, routes: &[Route], gathered: &'a mut Vec<f32>) -> Vec<&'a [f32]> {
    if x.len() == width {
        return vec![x];
    }
    let gathered = sized(gathered, routes.len() * width);
    for (route, row) in routes.iter().zip(gathered.chunks_exact_mut(width)) {
        row.copy_from_slice(&x[route.token * width..][..width]);
    }
    let mut rest = &*gathered;
    let groups = routes.chunk_by(|a, b| a.expert == b.expert);
    groups.map(|group| rest.split_off(..group.len() * width).unwrap_or_default()).collect()
}
