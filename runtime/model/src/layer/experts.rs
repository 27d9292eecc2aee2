//! A mixture of experts: each token goes through the few that its router chooses.
//!
//! Tokens are grouped by expert, and each expert that has any runs one product over its group. A token's experts are
//! summed in ascending order, each by `out = mul_add(weight, expert's output, out)`, from the answer of the shared
//! expert on, which every token uses, or from 0: the order does not depend on which tokens are processed together, so one
//! token at a time gives the same bits as many.

use craftsman_golden::float::{Routing, router};

use super::gated::{self, Gated, GatedScratch, Group};
use super::linear::{self, Linear, Product, Quantised};
use super::{Engine, ExpertPool, Projection, sized};
use crate::ModelError;

/// The experts of one layer and their router.
#[derive(Debug)]
pub(crate) struct Experts {
    /// `[experts, hidden]`, always dense, in f32.
    pub(crate) router: Linear,
    /// Added to the scores when experts are chosen.
    pub(crate) bias: Option<Vec<f32>>,
    /// What every token uses.
    pub(crate) shared: Option<Box<Gated>>,
    pub(crate) pool: ExpertPool,
    pub(crate) routing: Routing,
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
    /// The projections of the shared expert and of those that are packed.
    pub(crate) fn projections(&self) -> Vec<Projection<'_>> {
        let shared = self
            .shared
            .iter()
            .flat_map(|gated| gated.projections(["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"]));
        let own = self.pool.iter().flat_map(|(expert, gated)| {
            let all = gated.projections(["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]);
            all.into_iter().map(move |projection| Projection { expert, ..projection })
        });
        shared.chain(own).collect()
    }

    /// Bytes of packed weights in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.common_bytes() + self.pool.bytes()
    }

    /// Bytes of packed weights that one token reads: the router and the experts it uses.
    pub(crate) fn bytes_per_token(&self) -> usize {
        self.common_bytes() + self.pool.bytes_of(self.routing.top_k)
    }

    /// Bytes of what every token reads.
    fn common_bytes(&self) -> usize {
        self.router.bytes() + self.shared.as_deref().map_or(0, Gated::bytes)
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
        let inputs = gather(x, width, self.shared.is_some(), routes, gathered);
        let shared = self.shared.iter().map(|gated| (&**gated, x.len() / width));
        let chosen = routes.chunk_by(|a, b| a.expert == b.expert);
        let (chosen, rows): (Vec<_>, Vec<_>) = chosen.map(|group| (group[0].expert, group.len())).unzip();
        let chosen = self.pool.select(engine, &chosen)?.into_iter().zip(rows);
        let last = inputs.len() - 1;
        let groups = shared.chain(chosen).enumerate();
        let groups: Vec<Group<'_>> =
            groups.map(|(index, (gated, rows))| Group { gated, input: index.min(last), rows }).collect();
        let common = if self.shared.is_some() { x.len() } else { 0 };
        let answers = sized(answers, common + routes.len() * width);
        gated::forward(engine, &groups, &inputs, answers, inner)?;
        let (common, answers) = answers.split_at(common);
        engine.threads.rows(out, width, |first, rows| {
            match common.get(first * width..first * width + rows.len()) {
                Some(common) => rows.copy_from_slice(common),
                None => rows.fill(0.0),
            }
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
        let experts = self.pool.count();
        let logits = sized(logits, x.len() / self.router.k() * experts);
        linear::run(engine, vec![Product { linear: &self.router, x, input: unquantised, out: &mut *logits }]);
        routes.clear();
        for (token, logits) in logits.chunks_exact(experts).enumerate() {
            for (expert, weight) in router(logits, self.bias.as_deref(), &self.routing) {
                tracing::trace!(name: "ExpertRouted", layer, token, expert, weight);
                routes.push(Route { expert, token, weight });
            }
        }
        if let Some(recorder) = engine.recorder {
            let chosen = routes.iter().map(|route| route.expert);
            recorder.record(layer, self.routing.gate, experts, logits, chosen);
        }
        routes.sort_by_key(|route| (route.expert, route.token));
    }
}

/// The inputs of the groups: of a single token that token's row for all of them, else for the shared expert, if there is
/// one, all rows, and for the others the rows of each group copied together.
fn gather<'a>(
    x: &'a [f32],
    width: usize,
    shared: bool,
    routes: &[Route],
    gathered: &'a mut Vec<f32>,
) -> Vec<&'a [f32]> {
    if x.len() == width {
        return vec![x];
    }
    let gathered = sized(gathered, routes.len() * width);
    for (route, row) in routes.iter().zip(gathered.chunks_exact_mut(width)) {
        row.copy_from_slice(&x[route.token * width..][..width]);
    }
    let mut rest = &*gathered;
    let groups = routes.chunk_by(|a, b| a.expert == b.expert);
    let groups = groups.map(|group| rest.split_off(..group.len() * width).unwrap_or_default());
    shared.then_some(x).into_iter().chain(groups).collect()
}
