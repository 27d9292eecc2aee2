//! A short gated convolution over time, each feature by itself (LFM2).

use craftsman_kernelgen::float::Numbers;

use super::{Mixer, MixerScratch, Place};
use crate::ModelError;
use crate::cache::Kept;
use crate::layer::linear::{self, Linear, Product, Quantised};
use crate::layer::{Engine, Projection, sized};

/// `output(c . conv(b . x))` where `input` makes `b`, `c` and `x`, and the convolution reaches back over as many positions
/// as it has taps; those before the beginning count as zero.
#[derive(Debug)]
pub(crate) struct Convolution {
    /// `[3 hidden, hidden]`: `b`, then `c`, then `x`.
    pub(crate) input: Linear,
    /// `[hidden, hidden]`.
    pub(crate) output: Linear,
    /// `[taps, hidden]`, the oldest position first.
    pub(crate) weights: Vec<f32>,
    pub(crate) hidden: usize,
}

/// Buffers of [`Convolution`].
#[derive(Debug, Default)]
pub(super) struct ConvolutionScratch {
    wide: Vec<f32>,
    gated: Vec<f32>,
    mixed: Vec<f32>,
    quantised: Quantised,
}

impl Mixer for Convolution {
    fn bytes(&self) -> usize {
        self.input.bytes() + self.output.bytes() + self.weights.len() * size_of::<f32>()
    }

    fn projections(&self) -> Vec<Projection<'_>> {
        let all = [("shortconv.in_proj", &self.input), ("shortconv.out_proj", &self.output)];
        all.map(|(part, linear)| Projection::new(part, linear)).into()
    }

    fn adds(&self) -> bool {
        self.output.adds()
    }

    /// What the convolution reads.
    fn keeps(&self) -> Kept {
        Kept { streams: vec![self.hidden], reach: Some(self.taps()), rounds: false }
    }

    fn forward(
        &self,
        engine: &Engine<'_>,
        x: &[f32],
        place: &mut Place<'_, '_>,
        out: &mut [f32],
        scratch: &mut MixerScratch,
    ) -> Result<(), ModelError> {
        let (tokens, hidden) = (place.rotations.len(), self.hidden);
        let ConvolutionScratch { wide, gated, mixed, quantised } = &mut scratch.convolution;
        let wide = sized(wide, tokens * 3 * hidden);
        let (gated, mixed) = (sized(gated, tokens * hidden), sized(mixed, tokens * hidden));

        quantised.fill(x, tokens, [&self.input])?;
        linear::run(engine, vec![Product { linear: &self.input, x, input: quantised, out: &mut *wide }]);
        let part = |token: usize, part: usize| &wide[(3 * token + part) * hidden..][..hidden];
        engine.threads.rows(gated, hidden, |first, rows| {
            for (token, row) in rows.chunks_exact_mut(hidden).enumerate() {
                let factors = part(first + token, 0).iter().zip(part(first + token, 2));
                row.iter_mut().zip(factors).for_each(|(out, (b, x))| *out = b * x);
            }
        });
        place.append(0..1, gated);

        let place = &*place;
        engine.threads.rows(mixed, hidden, |first, rows| {
            let mut inputs = Vec::with_capacity(self.weights.len());
            for (token, row) in rows.chunks_exact_mut(hidden).enumerate() {
                self.inputs(place, first + token, &mut inputs);
                engine.ops.depthwise(&inputs, &self.weights[self.weights.len() - inputs.len()..], row);
                row.iter_mut().zip(part(first + token, 1)).for_each(|(out, c)| *out *= c);
            }
        });
        quantised.fill(mixed, tokens, [&self.output])?;
        linear::run(engine, vec![Product { linear: &self.output, x: mixed, input: quantised, out }]);
        Ok(())
    }
}

impl Convolution {
    fn taps(&self) -> usize {
        self.weights.len() / self.hidden
    }

    /// What a token's convolution reads, `[taps, hidden]`; at the beginning of a text fewer rows.
    fn inputs(&self, place: &Place<'_, '_>, token: usize, out: &mut Vec<f32>) {
        out.clear();
        let (cache, end) = place.seen(token);
        for rows in cache.rows(place.layer, 0, end.saturating_sub(self.taps())..end) {
            match rows.numbers {
                Numbers::F32(numbers) => out.extend_from_slice(numbers),
                _ => unreachable!("`keeps` says that its rows stay f32"),
            }
        }
    }
}
