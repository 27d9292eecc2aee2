//! The feed-forward part of a block: one gated product, or experts, whose weights are read when they are first needed.

use std::sync::{Arc, PoisonError};

use craftsman_kernelgen::Epilogue;

use super::{Loader, Stack, Weights};
use crate::ModelError;
use crate::architecture::Activation;
use crate::config::ExpertConfig;
use crate::layer::{Entry, ExpertPool, ExpertSource, Experts, Gated, Linear};

/// The tensors of one layer's experts.
#[derive(Debug)]
struct LayerExperts {
    loader: Arc<Loader>,
    entry: EntryStacks,
    down: Stack,
    limit: Option<f32>,
}

/// Gate and up of each expert.
#[derive(Debug)]
enum EntryStacks {
    /// One stack, whose matrices hold the gate's rows, then those of up.
    Both(Stack),
    Apart {
        gate: Stack,
        up: Stack,
    },
}

impl ExpertSource for LayerExperts {
    fn pack(&self, expert: usize) -> Result<Gated, ModelError> {
        let Self { loader, entry, down, limit } = self;
        let pack = || {
            let (names, weights) = match entry {
                EntryStacks::Both(both) => ([&both.name[..]; 2], loader.halves_of(both, expert)?),
                EntryStacks::Apart { gate, up } => (
                    [&gate.name[..], &up.name[..]],
                    [loader.expert(gate, expert)?, loader.expert(up, expert)?],
                ),
            };
            Ok(Gated {
                entry: loader.entry(names, weights, *limit)?,
                down: loader.linear(&down.name, loader.expert(down, expert)?, Epilogue::None)?,
                activation: loader.config.activation,
                limit: *limit,
                sub_norm: None,
            })
        };
        pack().map_err(|error: ModelError| error.expert(expert))
    }
}

impl Loader {
    /// The gated product of a block without experts.
    pub(super) fn gated(&self, name: &dyn Fn(&str) -> String) -> Result<Gated, ModelError> {
        let ffn = self.config.ffn;
        let mut gated = self.gated_of(["ffn_gate", "ffn_up", "ffn_down"].map(name), ffn, Epilogue::Add)?;
        gated.sub_norm = self.norm_if(self.row.sub_norms, &name("ffn_sub_norm"), ffn)?;
        Ok(gated)
    }

    fn gated_of(&self, names: [String; 3], ffn: usize, epilogue: Epilogue) -> Result<Gated, ModelError> {
        let [gate, up, down] = names;
        let hidden = self.config.hidden;
        let entry = [self.matrix(&gate, [ffn, hidden])?, self.matrix(&up, [ffn, hidden])?];
        Ok(Gated {
            entry: self.entry([&gate, &up], entry, None)?,
            down: self.linear(&down, self.matrix(&down, [hidden, ffn])?, epilogue)?,
            activation: self.config.activation,
            limit: None,
            sub_norm: None,
        })
    }

    /// The experts of a block with their router.
    pub(super) fn experts(
        self: &Arc<Self>,
        layer: usize,
        name: &dyn Fn(&str) -> String,
        config: ExpertConfig,
    ) -> Result<Experts, ModelError> {
        let router = self.dense(&name("ffn_gate_inp"), [config.count, self.config.hidden])?;
        let shared = ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"].map(name);
        let shared = (config.shared > 0).then(|| self.gated_of(shared, config.shared, Epilogue::None));
        let bias = name("exp_probs_b").replace(".weight", ".bias");
        let bias = self.checkpoint.has(&bias).then(|| self.vector(&bias, config.count));
        Ok(Experts {
            router: Linear::Dense(Arc::new(router)),
            bias: bias.transpose()?,
            shared: shared.transpose()?.map(Box::new),
            pool: self.pool(layer, name, config)?,
            routing: config.routing(),
        })
    }

    /// The experts themselves: all packed, or for now only looked at.
    fn pool(
        self: &Arc<Self>,
        layer: usize,
        name: &dyn Fn(&str) -> String,
        config: ExpertConfig,
    ) -> Result<ExpertPool, ModelError> {
        let (count, ffn, hidden) = (config.count, config.ffn, self.config.hidden);
        let both = name("ffn_gate_up_exps");
        let entry = if self.checkpoint.has(&both) {
            EntryStacks::Both(self.stack(&both, [count, 2 * ffn, hidden])?)
        } else {
            EntryStacks::Apart {
                gate: self.stack(&name("ffn_gate_exps"), [count, ffn, hidden])?,
                up: self.stack(&name("ffn_up_exps"), [count, ffn, hidden])?,
            }
        };
        let down = self.stack(&name("ffn_down_exps"), [count, hidden, ffn])?;
        let source = LayerExperts { loader: Arc::clone(self), entry, down, limit: config.limit };
        if self.resident {
            return ExpertPool::resident(layer, count, Box::new(source));
        }
        let each = self.trial(&source)?;
        Ok(ExpertPool::new(layer, count, each, Box::new(source)))
    }

    /// Packed bytes of one expert. The first expert of the first layer is packed for it and for its kernels, which are
    /// made now and not when a token waits for them; layers stored alike need no trial of their own.
    fn trial(&self, source: &LayerExperts) -> Result<usize, ModelError> {
        let stacks = match &source.entry {
            EntryStacks::Both(both) => vec![both, &source.down],
            EntryStacks::Apart { gate, up } => vec![gate, up, &source.down],
        };
        let type_name =
            |stack: &Stack| self.checkpoint.info(&stack.tensor(0)).map(|info| info.type_name.clone());
        let types = stacks.into_iter().map(type_name).collect::<Result<Vec<_>, _>>()?;
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&bytes) = trials.get(&types) {
            return Ok(bytes);
        }
        let bytes = source.pack(0)?.bytes();
        trials.insert(types, bytes);
        Ok(bytes)
    }

    /// Gate and up in one kernel, if both are ternary and alike, and nothing comes before the activation.
    fn entry(
        &self,
        names: [&str; 2],
        weights: [Weights; 2],
        limit: Option<f32>,
    ) -> Result<Entry, ModelError> {
        let [gate, up] = weights;
        if let (Weights::Ternary(gate), Weights::Ternary(up)) = (&gate, &up)
            && gate.granularity() == up.granularity()
            && limit.is_none()
        {
            let epilogue = match self.config.activation {
                Activation::Silu => Epilogue::Silu,
                Activation::Relu2 => Epilogue::Relu2,
            };
            return Ok(Entry::Fused(self.fused(names[0], &[gate, up], epilogue)?));
        }
        let [gate, up] = [(names[0], gate), (names[1], up)]
            .map(|(name, weights)| self.linear(name, weights, Epilogue::None));
        Ok(Entry::Apart { gate: gate?, up: up? })
    }
}
