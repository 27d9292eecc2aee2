//! The feed-forward part of a block: one gated product, or experts.

use std::sync::Arc;

use craftsman_kernelgen::Epilogue;

use super::{Loader, Weights};
use crate::ModelError;
use crate::architecture::Activation;
use crate::config::ExpertConfig;
use crate::layer::{Entry, Experts, Gated, Linear};

impl Loader<'_> {
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
        &self,
        name: &dyn Fn(&str) -> String,
        config: ExpertConfig,
    ) -> Result<Experts, ModelError> {
        let (hidden, ffn) = (self.config.hidden, config.ffn);
        let router = self.dense(&name("ffn_gate_inp"), [config.count, hidden])?;
        let [gate, up, down] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"].map(name);
        let entries = self.entries(name, [&gate, &up], config)?;
        let downs = self.stack(&down, [config.count, hidden, ffn])?;
        let (activation, limit) = (self.config.activation, config.limit);
        let experts = entries.into_iter().zip(downs).map(|(pair, d)| {
            let entry = self.entry([&gate, &up], pair, limit)?;
            let down = self.linear(&down, d, Epilogue::None)?;
            Ok(Gated { entry, down, activation, limit, sub_norm: None })
        });
        let shared = ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"].map(name);
        let shared = (config.shared > 0).then(|| self.gated_of(shared, config.shared, Epilogue::None));
        let bias = name("exp_probs_b").replace(".weight", ".bias");
        let bias = self.checkpoint.has(&bias).then(|| self.vector(&bias, config.count));
        Ok(Experts {
            router: Linear::Dense(Arc::new(router)),
            bias: bias.transpose()?,
            shared: shared.transpose()?.map(Box::new),
            list: experts.collect::<Result<_, ModelError>>()?,
            routing: config.routing(),
        })
    }

    /// Gate and up of each expert: two stacks, or one whose matrices hold the gate's rows, then those of up.
    fn entries(
        &self,
        name: &dyn Fn(&str) -> String,
        [gate, up]: [&str; 2],
        config: ExpertConfig,
    ) -> Result<Vec<[Weights; 2]>, ModelError> {
        let (count, ffn, hidden) = (config.count, config.ffn, self.config.hidden);
        let both = name("ffn_gate_up_exps");
        if self.checkpoint.has(&both) {
            return self.split_stack(&both, [count, ffn, hidden]);
        }
        let (gates, ups) = (self.stack(gate, [count, ffn, hidden])?, self.stack(up, [count, ffn, hidden])?);
        Ok(gates.into_iter().zip(ups).map(|(gate, up)| [gate, up]).collect())
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
