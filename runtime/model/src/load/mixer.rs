//! What mixes the positions of a block.

use std::sync::Arc;

use craftsman_kernelgen::float::DenseData;

use super::Loader;
use crate::ModelError;
use crate::architecture::QueryKeyNorms;
use crate::config::{LatentConfig, Mixing};
use crate::container::{Matrix, dense_matrix};
use crate::layer::{Convolution, Grouped, Latent, Linear, Mixer, Norm, Queries};

/// Added to the mean square in the norms of compressed rows. Hugging Face's `DeepSeek` and GLM classes give these norms no
/// epsilon of the configuration, which leaves their default; GGUF has no key for it.
const LATENT_EPSILON: f32 = 1e-6;

type Name<'a> = &'a dyn Fn(&str) -> String;

impl Loader {
    pub(super) fn mixer(&self, name: Name<'_>, mixing: Mixing) -> Result<Box<dyn Mixer>, ModelError> {
        Ok(match mixing {
            Mixing::Grouped { window, positions } => Box::new(self.grouped(name, window, positions)?),
            Mixing::Latent(sizes) => Box::new(self.latent(name, sizes)?),
            Mixing::Convolution { taps } => Box::new(self.convolution(name, taps)?),
        })
    }

    fn grouped(&self, name: Name<'_>, window: Option<usize>, positions: bool) -> Result<Grouped, ModelError> {
        let config = &self.config;
        let (hidden, query, kv) = (config.hidden, config.query_width(), config.kv_width());
        let norm = |part, full| {
            let width = match self.row.query_key_norms {
                QueryKeyNorms::None => return Ok(None),
                QueryKeyNorms::Head => config.head_dim,
                QueryKeyNorms::Full => full,
            };
            self.norm(&name(part), width).map(Some)
        };
        Ok(Grouped {
            q: self.projection(&name("attn_q"), [query, hidden])?,
            k: self.projection(&name("attn_k"), [kv, hidden])?,
            v: self.projection(&name("attn_v"), [kv, hidden])?,
            o: self.adding(&name("attn_output"), [hidden, query])?,
            q_norm: norm("attn_q_norm", query)?,
            k_norm: norm("attn_k_norm", kv)?,
            sub_norm: self.norm_if(self.row.sub_norms, &name("attn_sub_norm"), query)?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            rope: positions.then_some(config.rope.pairing),
            window,
        })
    }

    fn convolution(&self, name: Name<'_>, taps: usize) -> Result<Convolution, ModelError> {
        let hidden = self.config.hidden;
        let kernel = name("shortconv.conv");
        self.check(&kernel, &[hidden, taps])?;
        let kernel = self.checkpoint.dense(&kernel)?.widened();
        Ok(Convolution {
            input: self.projection(&name("shortconv.in_proj"), [3 * hidden, hidden])?,
            output: self.adding(&name("shortconv.out_proj"), [hidden, hidden])?,
            weights: transposed(&kernel, taps),
            hidden,
        })
    }

    fn latent(&self, name: Name<'_>, sizes: LatentConfig) -> Result<Latent, ModelError> {
        let config = &self.config;
        let LatentConfig { rank, turned, value, scale, .. } = sizes;
        let norm = |part, width| {
            let norm = self.norm(&name(part), width)?;
            Ok::<_, ModelError>(Norm { epsilon: LATENT_EPSILON, ..norm })
        };
        let query = config.query_width();
        let queries = match sizes.query_rank {
            None => Queries::Direct(self.projection(&name("attn_q"), [query, config.hidden])?),
            Some(rank) => Queries::Compressed {
                down: self.projection(&name("attn_q_a"), [rank, config.hidden])?,
                norm: norm("attn_q_a_norm", rank)?,
                up: self.projection(&name("attn_q_b"), [query, rank])?,
            },
        };
        let (key_up, value_up) = self.absorbed(name, sizes)?;
        Ok(Latent {
            queries,
            down: self.projection(&name("attn_kv_a_mqa"), [rank + turned, config.hidden])?,
            norm: norm("attn_kv_a_norm", rank)?,
            key_up,
            value_up,
            o: self.adding(&name("attn_output"), [config.hidden, config.heads * value])?,
            turned,
            scale,
            pairing: config.rope.pairing,
        })
    }

    /// For each head the transposed key projection and the value projection. Current GGUF files have them apart and the
    /// first transposed; legacy ones and Hugging Face folders have one matrix `attn_kv_b`, `[heads, straight + value]`
    /// rows of it.
    ///
    /// What they are multiplied with are not the inputs that a ternary projection would quantise, so they are dense even
    /// where they are stored as trits.
    fn absorbed(
        &self,
        name: Name<'_>,
        sizes: LatentConfig,
    ) -> Result<(Vec<Linear>, Vec<Linear>), ModelError> {
        let LatentConfig { rank, straight, value, .. } = sizes;
        let heads = self.config.heads;
        let (key, both) = (name("attn_k_b"), name("attn_kv_b"));
        if self.checkpoint.has(&key) {
            let values = name("attn_v_b");
            self.check(&key, &[heads, rank, straight])?;
            self.check(&values, &[heads, value, rank])?;
            let linears = |name: &str| {
                let matrices = self.checkpoint.experts(name)?;
                matrices.iter().map(|matrix| self.dense_linear(name, matrix)).collect::<Result<_, _>>()
            };
            return Ok((linears(&key)?, linears(&values)?));
        }
        self.check(&both, &[heads * (straight + value), rank])?;
        let all = self.checkpoint.matrix(&both)?.to_f32();
        let heads = all.chunks_exact((straight + value) * rank).map(|head| {
            let (key, values) = head.split_at(straight * rank);
            let key = self.packed_values(&both, [rank, straight], transposed(key, rank))?;
            Ok((key, self.packed_values(&both, [value, rank], values.to_vec())?))
        });
        Ok(heads.collect::<Result<Vec<_>, ModelError>>()?.into_iter().unzip())
    }

    fn dense_linear(&self, name: &str, matrix: &Matrix) -> Result<Linear, ModelError> {
        match matrix {
            Matrix::Dense(dense) => Ok(Linear::Dense(Arc::new(self.packed(name, dense)?))),
            Matrix::Ternary(_) => self.packed_values(name, [matrix.rows(), matrix.cols()], matrix.to_f32()),
        }
    }

    fn packed_values(&self, name: &str, [m, k]: [usize; 2], values: Vec<f32>) -> Result<Linear, ModelError> {
        let dense = dense_matrix(m, k, DenseData::F32(values))?;
        Ok(Linear::Dense(Arc::new(self.packed(name, &dense)?)))
    }
}

/// `x`, rows of `width`, with rows and columns exchanged.
fn transposed(x: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|column| x.iter().skip(column).step_by(width).copied()).collect()
}
