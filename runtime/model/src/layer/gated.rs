//! The gated feed-forward part, for one set of weights or for many experts at once.

use craftsman_golden::float::clamp_gated;
use craftsman_kernelgen::float::FloatOps;

use super::linear::{self, Linear, Product, Quantised};
use super::{Engine, Norm, Projection, sized};
use crate::ModelError;
use crate::architecture::Activation;

/// `down(norm(activation(gate * x) . (up * x)))`.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) entry: Entry,
    pub(crate) down: Linear,
    pub(crate) activation: Activation,
    /// What the gate is clamped to from above, and `up` from both sides, before the activation.
    pub(crate) limit: Option<f32>,
    /// RMS norm before `down`.
    pub(crate) sub_norm: Option<Norm>,
}

/// What makes `activation(gate * x) . (up * x)`.
#[derive(Debug)]
pub(crate) enum Entry {
    /// One kernel, for ternary matrices of one granularity.
    Fused(Linear),
    /// Two products, and the activation afterwards.
    Apart { gate: Linear, up: Linear },
}

impl Entry {
    /// The projections that read its input.
    fn readers(&self) -> impl Iterator<Item = &Linear> {
        let (first, second) = match self {
            Self::Fused(pair) => (pair, None),
            Self::Apart { gate, up } => (gate, Some(up)),
        };
        std::iter::once(first).chain(second)
    }

    /// Features that it makes.
    fn m(&self) -> usize {
        match self {
            Self::Fused(both) | Self::Apart { up: both, .. } => both.m(),
        }
    }
}

/// Some tokens for one [`Gated`]: rows of the output that follow those of the group before.
pub(crate) struct Group<'a> {
    pub(crate) gated: &'a Gated,
    /// Which of the inputs it reads; groups may share one.
    pub(crate) input: usize,
    pub(crate) rows: usize,
}

/// Buffers of [`forward`]; reused from layer to layer.
#[derive(Debug, Default)]
pub(crate) struct GatedScratch {
    gate: Vec<f32>,
    up: Vec<f32>,
    inputs: Vec<Quantised>,
    inner: Vec<Quantised>,
}

/// Writes every group's rows to `out`, `[sum of rows, hidden]`; `inputs[group.input]` is `[group.rows, hidden]`.
pub(crate) fn forward(
    engine: &Engine<'_>,
    groups: &[Group<'_>],
    inputs: &[&[f32]],
    out: &mut [f32],
    scratch: &mut GatedScratch,
) -> Result<(), ModelError> {
    let GatedScratch { gate, up, inputs: quantised, inner } = scratch;
    quantise_inputs(groups, inputs, quantised)?;
    let width = groups.iter().map(|group| group.rows * group.gated.entry.m()).sum();
    let (gate, up) = (sized(gate, width), sized(up, width));
    let mut products = Vec::with_capacity(2 * groups.len());
    let (mut gates, mut ups) = (&mut *gate, &mut *up);
    for group in groups {
        let (x, input) = (inputs[group.input], &quantised[group.input]);
        let len = group.rows * group.gated.entry.m();
        let (gate, up) = (gates.split_off_mut(..len), ups.split_off_mut(..len));
        // The last of an entry's products ends in `up`.
        let outs = match group.gated.entry {
            Entry::Fused(_) => [up, None],
            Entry::Apart { .. } => [gate, up],
        };
        let readers = group.gated.entry.readers().zip(outs);
        products.extend(readers.map(|(linear, out)| Product {
            linear,
            x,
            input,
            out: out.unwrap_or_default(),
        }));
    }
    linear::run(engine, products);
    activate(engine, groups, gate, up);
    quantise_inner(groups, up, inner)?;
    let (mut up, mut out) = (&*up, out);
    let mut products = Vec::with_capacity(groups.len());
    for (group, input) in groups.iter().zip(&*inner) {
        let (x, rest) = up.split_at(group.rows * group.gated.entry.m());
        up = rest;
        let len = group.rows * group.gated.down.m();
        products.push(Product {
            linear: &group.gated.down,
            x,
            input,
            out: out.split_off_mut(..len).unwrap_or_default(),
        });
    }
    linear::run(engine, products);
    Ok(())
}

fn quantise_inputs(
    groups: &[Group<'_>],
    inputs: &[&[f32]],
    quantised: &mut Vec<Quantised>,
) -> Result<(), ModelError> {
    quantised.resize_with(quantised.len().max(inputs.len()), Quantised::default);
    for (index, (x, quantised)) in inputs.iter().zip(quantised).enumerate() {
        let readers = groups.iter().filter(|group| group.input == index);
        let rows = readers.clone().next().map_or(0, |group| group.rows);
        quantised.fill(x, rows, readers.flat_map(|group| group.gated.entry.readers()))?;
    }
    Ok(())
}

/// `up = norm(activation(gate) . up)`, row by row, as far as no kernel has done it.
fn activate(engine: &Engine<'_>, groups: &[Group<'_>], gate: &mut [f32], up: &mut [f32]) {
    let mut jobs = Vec::with_capacity(groups.len().max(engine.threads.count()));
    let (mut gate, mut up) = (gate, up);
    for group in groups {
        let width = group.gated.entry.m();
        // What a fused kernel made is ready, unless a norm follows.
        let done = matches!(group.gated.entry, Entry::Fused(_)) && group.gated.sub_norm.is_none();
        let len = group.rows * width;
        // One group alone is divided among the threads; many are work enough as they are.
        let shares = if groups.len() == 1 { engine.threads.count() } else { 1 };
        let stretch = group.rows.div_ceil(shares).max(1) * width;
        let parts = gate
            .split_off_mut(..len)
            .unwrap_or_default()
            .chunks_mut(stretch)
            .zip(up.split_off_mut(..len).unwrap_or_default().chunks_mut(stretch));
        jobs.extend(parts.filter(|_| !done).map(|(gates, ups)| (group.gated, gates, ups)));
    }
    engine.threads.run(jobs, |(gated, gates, ups)| gated.activate(engine.ops, gates, ups));
}

fn quantise_inner(groups: &[Group<'_>], up: &[f32], inner: &mut Vec<Quantised>) -> Result<(), ModelError> {
    inner.resize_with(inner.len().max(groups.len()), Quantised::default);
    let mut up = up;
    for (group, quantised) in groups.iter().zip(inner) {
        let (x, rest) = up.split_at(group.rows * group.gated.entry.m());
        up = rest;
        quantised.fill(x, group.rows, [&group.gated.down])?;
    }
    Ok(())
}

impl Gated {
    /// Its projections under the names of gate, up and down; a gate and up in one kernel are the gate.
    pub(crate) fn projections(&self, [gate, up, down]: [&'static str; 3]) -> Vec<Projection<'_>> {
        let entry = self.entry.readers().zip([gate, up]);
        let all = entry.chain([(&self.down, down)]);
        all.map(|(linear, part)| Projection::new(part, linear)).collect()
    }

    /// Bytes of packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.entry.readers().chain([&self.down]).map(Linear::bytes).sum()
    }

    /// The activated rows replace `up`; `gate` is used up.
    fn activate(&self, ops: FloatOps, gate: &mut [f32], up: &mut [f32]) {
        if let Some(limit) = self.limit {
            clamp_gated(gate, up, limit);
        }
        match (&self.entry, self.activation) {
            (Entry::Fused(_), _) => {}
            (Entry::Apart { .. }, Activation::Silu) => ops.silu_mul(gate, up),
            (Entry::Apart { .. }, Activation::Relu2) => ops.relu2_mul(gate, up),
        }
        let Some(Norm { weight, epsilon }) = &self.sub_norm else { return };
        for (row, spare) in up.chunks_exact_mut(weight.len()).zip(gate.chunks_exact_mut(weight.len())) {
            ops.rms_norm(row, weight, *epsilon, spare);
            row.copy_from_slice(spare);
        }
    }
}
