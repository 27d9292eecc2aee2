//! Shapes of known models, as data: what a random model of that shape consists of.

use std::fmt::Write;

/// The dimensions of one model.
#[derive(Debug)]
pub struct Shape {
    /// What `--shape` calls it.
    pub name: &'static str,
    /// `general.architecture`.
    pub architecture: &'static str,
    pub layers: usize,
    pub hidden: usize,
    /// Inner width of the feed-forward part, or of one expert.
    pub ffn: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub context: usize,
    pub theta: f32,
    pub epsilon: f32,
    /// Experts a layer and experts a token uses.
    pub experts: Option<(usize, usize)>,
    /// Whether the head is a matrix of its own rather than the embedding.
    pub head: bool,
    /// RMS norms before the attention's output and the feed-forward's down projection.
    pub sub_norms: bool,
    /// RMS norms of queries and keys.
    pub key_norms: KeyNorms,
}

/// What the RMS norms of queries and keys go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNorms {
    /// There are none.
    None,
    /// Each head.
    Heads,
    /// All queries, and all keys, of a token.
    Wide,
}

/// Every shape there is. Sources: the models' `config.json`.
pub static ALL: &[Shape] = &[
    // microsoft/bitnet-b1.58-2B-4T
    Shape { name: "2b-4t", layers: 30, hidden: 2560, ffn: 6912, heads: 20, kv_heads: 5, ..BITNET },
    // Small enough for a test.
    Shape {
        name: "bitnet-tiny",
        layers: 2,
        hidden: 256,
        ffn: 512,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        vocab: 512,
        ..BITNET
    },
    // The same without the norms between, and silu instead of relu^2: what llama.cpp's `llama` can say of it.
    Shape { name: "2b-4t-llama", layers: 30, hidden: 2560, ffn: 6912, heads: 20, kv_heads: 5, ..LLAMA_TIED },
    Shape {
        name: "llama-tiny",
        layers: 2,
        hidden: 256,
        ffn: 512,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        vocab: 512,
        ..LLAMA_TIED
    },
    // HF1BitLLM/Llama3-8B-1.58-100B-tokens
    LLAMA3_8B,
    // allenai/OLMoE-1B-7B-0924
    OLMOE,
    Shape {
        name: "olmoe-tiny",
        layers: 2,
        hidden: 256,
        ffn: 256,
        heads: 4,
        kv_heads: 4,
        head_dim: 64,
        vocab: 512,
        experts: Some((8, 2)),
        ..OLMOE
    },
    // Qwen/Qwen3-30B-A3B
    QWEN3_30B,
    Shape {
        name: "qwen3moe-tiny",
        layers: 2,
        hidden: 256,
        ffn: 256,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        vocab: 512,
        context: 1024,
        experts: Some((8, 2)),
        ..QWEN3_30B
    },
    // Qwen3-30B-A3B with its own layers, but fewer of them: fits a small machine, same work a layer.
    Shape { name: "qwen3moe-6l", layers: 6, ..QWEN3_30B },
];

const BITNET: Shape = Shape {
    name: "",
    architecture: "bitnet-b1.58",
    layers: 0,
    hidden: 0,
    ffn: 0,
    heads: 0,
    kv_heads: 0,
    head_dim: 128,
    vocab: 128_256,
    context: 4096,
    theta: 500_000.0,
    epsilon: 1e-5,
    experts: None,
    head: false,
    sub_norms: true,
    key_norms: KeyNorms::None,
};

const LLAMA_TIED: Shape = Shape { architecture: "llama", sub_norms: false, ..BITNET };

const OLMOE: Shape = Shape {
    name: "olmoe-1b-7b",
    architecture: "olmoe",
    layers: 16,
    hidden: 2048,
    ffn: 1024,
    heads: 16,
    kv_heads: 16,
    vocab: 50_304,
    theta: 1e4,
    experts: Some((64, 8)),
    head: true,
    key_norms: KeyNorms::Wide,
    ..LLAMA_TIED
};

const LLAMA3_8B: Shape = Shape {
    name: "llama3-8b",
    layers: 32,
    hidden: 4096,
    ffn: 14_336,
    heads: 32,
    kv_heads: 8,
    context: 8192,
    head: true,
    ..LLAMA_TIED
};

const QWEN3_30B: Shape = Shape {
    name: "qwen3-30b-a3b",
    architecture: "qwen3moe",
    layers: 48,
    hidden: 2048,
    ffn: 768,
    heads: 32,
    kv_heads: 4,
    vocab: 151_936,
    context: 40_960,
    theta: 1e6,
    epsilon: 1e-6,
    experts: Some((128, 8)),
    key_norms: KeyNorms::Heads,
    ..LLAMA3_8B
};

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// Random trits under one scale, in the format that was asked for.
    Trits,
    /// Small random numbers in f16.
    Numbers,
    /// The same, in the type that was asked for: the matrix that makes logits.
    Head,
    /// Small random numbers in f32: a router.
    Router,
    /// Ones in f32: a norm.
    Ones,
}

/// A tensor to be written.
#[derive(Debug)]
pub struct Tensor {
    pub name: String,
    /// Row major: `[out, in]`, `[experts, out, in]`, or `[width]`.
    pub shape: Vec<usize>,
    pub filling: Filling,
}

impl Shape {
    /// The shape called `name`; otherwise the names there are.
    pub fn find(name: &str) -> Result<&'static Self, String> {
        ALL.iter().find(|shape| shape.name == name).ok_or_else(|| {
            let mut message = format!("unknown shape `{name}`; use one of");
            for (index, shape) in ALL.iter().enumerate() {
                let _ = write!(message, "{} {}", if index == 0 { "" } else { "," }, shape.name);
            }
            message
        })
    }

    /// Every tensor, in the order of the file.
    pub fn tensors(&self) -> Vec<Tensor> {
        let tensor =
            |name: &str, shape: &[usize], filling| Tensor { name: name.into(), shape: shape.into(), filling };
        let embedding = if self.head { Filling::Numbers } else { Filling::Head };
        let mut all = vec![tensor("token_embd.weight", &[self.vocab, self.hidden], embedding)];
        for layer in 0..self.layers {
            let rows = self.block().into_iter();
            all.extend(rows.map(|(name, shape, filling)| {
                tensor(&format!("blk.{layer}.{name}.weight"), &shape, filling)
            }));
        }
        all.push(tensor("output_norm.weight", &[self.hidden], Filling::Ones));
        if self.head {
            all.push(tensor("output.weight", &[self.vocab, self.hidden], Filling::Head));
        }
        all
    }

    /// The tensors of one block: name, shape, filling.
    fn block(&self) -> Vec<(&'static str, Vec<usize>, Filling)> {
        let (hidden, queries, keys) =
            (self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut rows = vec![
            ("attn_norm", vec![hidden], Filling::Ones),
            ("attn_q", vec![queries, hidden], Filling::Trits),
            ("attn_k", vec![keys, hidden], Filling::Trits),
            ("attn_v", vec![keys, hidden], Filling::Trits),
            ("attn_output", vec![hidden, queries], Filling::Trits),
            ("ffn_norm", vec![hidden], Filling::Ones),
        ];
        if self.sub_norms {
            rows.push(("attn_sub_norm", vec![queries], Filling::Ones));
            rows.push(("ffn_sub_norm", vec![self.ffn], Filling::Ones));
        }
        let widths = match self.key_norms {
            KeyNorms::None => None,
            KeyNorms::Heads => Some([self.head_dim; 2]),
            KeyNorms::Wide => Some([queries, keys]),
        };
        if let Some([queries, keys]) = widths {
            rows.push(("attn_q_norm", vec![queries], Filling::Ones));
            rows.push(("attn_k_norm", vec![keys], Filling::Ones));
        }
        rows.extend(self.feed_forward());
        rows
    }

    fn feed_forward(&self) -> Vec<(&'static str, Vec<usize>, Filling)> {
        let (up, down) = ([self.ffn, self.hidden], [self.hidden, self.ffn]);
        let Some((count, _)) = self.experts else {
            let rows = [("ffn_gate", up), ("ffn_up", up), ("ffn_down", down)];
            return rows.map(|(name, shape)| (name, shape.to_vec(), Filling::Trits)).to_vec();
        };
        let stack = |[out, input]: [usize; 2]| vec![count, out, input];
        vec![
            ("ffn_gate_inp", vec![count, self.hidden], Filling::Router),
            ("ffn_gate_exps", stack(up), Filling::Trits),
            ("ffn_up_exps", stack(up), Filling::Trits),
            ("ffn_down_exps", stack(down), Filling::Trits),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_2b_model_has_the_official_parameter_count() {
        let shape = Shape::find("2b-4t").unwrap();
        let parameters: usize =
            shape.tensors().iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        assert_eq!(parameters, 2_412_820_480);
    }

    #[test]
    fn an_unknown_shape_is_answered_with_the_known_ones() {
        assert!(Shape::find("9000b").unwrap_err().contains("2b-4t, bitnet-tiny"));
    }
}
