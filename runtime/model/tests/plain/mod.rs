//! Transformers of a page: the formulas in `f64`, sharing no code with the runtime, for architectures of which no other
//! tool at hand makes a fixture.

pub mod write;

use std::collections::BTreeMap;

/// What the model consists of.
#[derive(Clone, Copy)]
pub struct Plain {
    pub hidden: usize,
    pub ffn: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub theta: f64,
    pub rope_dims: usize,
    pub epsilon: f64,
    pub head_norms: bool,
    pub sub_norms: bool,
    /// Weights ternary by their mean, inputs int8 by their maximum.
    pub bit_linear: bool,
    /// How far back a sliding layer sees; each fourth layer sees everything, and then without positions.
    pub window: Option<usize>,
    /// How many there are, and how many a token uses.
    pub experts: Option<(usize, usize)>,
    /// Limit of a gated product's factors.
    pub limit: f64,
}

pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;
type Rows = Vec<Vec<f64>>;

impl Plain {
    /// Tensors under GGUF's names, random from `seed`.
    pub fn random(&self, seed: u64) -> Tensors {
        let (hidden, query) = (self.hidden, self.heads * self.head_dim);
        let mut out = Tensors::new();
        let mut draw = generator(seed);
        let mut put = |name: String, shape: &[usize]| {
            let norm = shape.len() == 1;
            let scale = if norm { 0.5 } else { 1.7 / (shape[shape.len() - 1] as f32).sqrt() };
            let values = (0..shape.iter().product()).map(|_| draw() * scale + f32::from(u8::from(norm)));
            out.insert(name, (shape.to_vec(), values.collect()));
        };
        put("token_embd.weight".into(), &[self.vocab, hidden]);
        put("output.weight".into(), &[self.vocab, hidden]);
        put("output_norm.weight".into(), &[hidden]);
        for layer in 0..self.layers {
            let mut put = |part: &str, shape: &[usize]| put(format!("blk.{layer}.{part}.weight"), shape);
            put("attn_norm", &[hidden]);
            put("attn_q", &[query, hidden]);
            put("attn_k", &[self.kv_heads * self.head_dim, hidden]);
            put("attn_v", &[self.kv_heads * self.head_dim, hidden]);
            put("attn_output", &[hidden, query]);
            put("ffn_norm", &[hidden]);
            if self.head_norms {
                put("attn_q_norm", &[self.head_dim]);
                put("attn_k_norm", &[self.head_dim]);
            }
            if self.sub_norms {
                put("attn_sub_norm", &[query]);
                put("ffn_sub_norm", &[self.ffn]);
            }
            match self.experts {
                None => {
                    put("ffn_gate", &[self.ffn, hidden]);
                    put("ffn_up", &[self.ffn, hidden]);
                    put("ffn_down", &[hidden, self.ffn]);
                }
                Some((count, _)) => {
                    put("ffn_gate_inp", &[count, hidden]);
                    put("ffn_gate_exps", &[count, self.ffn, hidden]);
                    put("ffn_up_exps", &[count, self.ffn, hidden]);
                    put("ffn_down_exps", &[count, hidden, self.ffn]);
                }
            }
        }
        out
    }

    /// The logits after every one of `tokens`.
    pub fn logits(&self, tensors: &Tensors, tokens: &[u32]) -> Rows {
        let embedding = matrices(tensors, "token_embd.weight").remove(0);
        let mut x: Rows = tokens.iter().map(|&token| embedding[token as usize].clone()).collect();
        for layer in 0..self.layers {
            let get = |part: &str| matrices(tensors, &format!("blk.{layer}.{part}.weight"));
            let normed = self.norm(&x, &get("attn_norm")[0][0]);
            add(&mut x, &self.attention(&get, layer, &normed));
            let normed = self.norm(&x, &get("ffn_norm")[0][0]);
            let added = match self.experts {
                None => {
                    let sub_norm = self.sub_norms.then(|| get("ffn_sub_norm").remove(0).remove(0));
                    let parts = ["ffn_gate", "ffn_up", "ffn_down"].map(|part| get(part).remove(0));
                    self.gated(&parts, sub_norm.as_deref(), &normed)
                }
                Some((_, used)) => self.mixture(&get, used, &normed),
            };
            add(&mut x, &added);
        }
        let x = self.norm(&x, &matrices(tensors, "output_norm.weight")[0][0]);
        let head = matrices(tensors, "output.weight").remove(0);
        x.iter().map(|x| head.iter().map(|row| dot(row, x)).collect()).collect()
    }

    fn attention(&self, get: &dyn Fn(&str) -> Vec<Rows>, layer: usize, x: &Rows) -> Rows {
        let sliding = self.window.filter(|_| layer % 4 != 3);
        let positions = self.window.is_none() || sliding.is_some();
        let heads = |part: &str, norm: Option<&str>| -> Vec<Rows> {
            let projected = self.linear(&get(part)[0], x);
            let heads = projected.iter().enumerate().map(|(position, row)| {
                let heads: Rows = row.chunks(self.head_dim).map(<[f64]>::to_vec).collect();
                let Some(norm) = norm else { return heads };
                let heads = if self.head_norms { self.norm(&heads, &get(norm)[0][0]) } else { heads };
                let turn = |head: Vec<f64>| if positions { self.turn(head, position) } else { head };
                heads.into_iter().map(turn).collect()
            });
            heads.collect()
        };
        let q = heads("attn_q", Some("attn_q_norm"));
        let k = heads("attn_k", Some("attn_k_norm"));
        let v = heads("attn_v", None);
        let mixed = (0..x.len()).map(|t| {
            let first = sliding.map_or(0, |window| t.saturating_sub(window));
            let head = |h: usize| {
                let kv = h / (self.heads / self.kv_heads);
                let scores = (first..=t).map(|j| dot(&q[t][h], &k[j][kv]) / (self.head_dim as f64).sqrt());
                let weights = softmax(&scores.collect::<Vec<_>>());
                let value = |i: usize| weights.iter().zip(first..).map(|(w, j)| w * v[j][kv][i]).sum();
                (0..self.head_dim).map(value).collect::<Vec<f64>>()
            };
            (0..self.heads).flat_map(head).collect()
        });
        let mixed: Rows = mixed.collect();
        let mixed = if self.sub_norms { self.norm(&mixed, &get("attn_sub_norm")[0][0]) } else { mixed };
        self.linear(&get("attn_output")[0], &mixed)
    }

    /// Pairs of halves turn by `position * theta^(-2 i / dims)`.
    fn turn(&self, mut x: Vec<f64>, position: usize) -> Vec<f64> {
        let half = self.rope_dims / 2;
        for i in 0..half {
            let angle = position as f64 * self.theta.powf(-2.0 * i as f64 / self.rope_dims as f64);
            let (a, b) = (x[i], x[i + half]);
            (x[i], x[i + half]) = (a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin());
        }
        x
    }

    fn gated(&self, [gate, up, down]: &[Rows; 3], sub_norm: Option<&[f64]>, x: &Rows) -> Rows {
        let (gate, up) = (self.linear(gate, x), self.linear(up, x));
        let product = |(gate, up): (&Vec<f64>, &Vec<f64>)| {
            let silu = |gate: f64| gate / (1.0 + (-gate).exp());
            let one =
                |(gate, up): (&f64, &f64)| silu(gate.min(self.limit)) * up.clamp(-self.limit, self.limit);
            gate.iter().zip(up).map(one).collect()
        };
        let inner: Rows = gate.iter().zip(&up).map(product).collect();
        let inner = sub_norm.map_or_else(|| inner.clone(), |weight| self.norm(&inner, weight));
        self.linear(down, &inner)
    }

    fn mixture(&self, get: &dyn Fn(&str) -> Vec<Rows>, used: usize, x: &Rows) -> Rows {
        let router = get("ffn_gate_inp").remove(0);
        let stacks = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"].map(get);
        let token = |x: &Vec<f64>| {
            let shares = softmax(&router.iter().map(|row| dot(row, x)).collect::<Vec<_>>());
            let mut order: Vec<usize> = (0..shares.len()).collect();
            order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
            order.truncate(used);
            let sum: f64 = order.iter().map(|&expert| shares[expert]).sum();
            let mut out = vec![0.0; x.len()];
            for expert in order {
                let parts = [0, 1, 2].map(|part: usize| stacks[part][expert].clone());
                let answer = self.gated(&parts, None, &vec![x.clone()]).remove(0);
                out.iter_mut().zip(answer).for_each(|(out, y)| *out += shares[expert] / sum * y);
            }
            out
        };
        x.iter().map(token).collect()
    }

    fn linear(&self, weights: &Rows, x: &Rows) -> Rows {
        let product = |weights: &Rows, x: &[f64]| weights.iter().map(|row| dot(row, x)).collect();
        if !self.bit_linear {
            return x.iter().map(|x| product(weights, x)).collect();
        }
        let count = (weights.len() * weights[0].len()) as f64;
        let mean = weights.iter().flatten().map(|w| w.abs()).sum::<f64>() / count;
        let trit = |w: &f64| (w / mean).round_ties_even().clamp(-1.0, 1.0) * mean;
        let ternary: Rows = weights.iter().map(|row| row.iter().map(trit).collect()).collect();
        let quantised = |x: &Vec<f64>| {
            let a = 127.0 / x.iter().fold(1e-5, |max: f64, x| max.max(x.abs()));
            x.iter().map(|x| (x * a).round_ties_even().clamp(-128.0, 127.0) / a).collect::<Vec<f64>>()
        };
        x.iter().map(|x| product(&ternary, &quantised(x))).collect()
    }

    fn norm(&self, x: &Rows, weight: &[f64]) -> Rows {
        let row = |x: &Vec<f64>| {
            let r = (dot(x, x) / x.len() as f64 + self.epsilon).sqrt();
            x.iter().zip(weight).map(|(x, w)| x / r * w).collect()
        };
        x.iter().map(row).collect()
    }
}

/// The matrices of a tensor of one to three dimensions.
fn matrices(tensors: &Tensors, name: &str) -> Vec<Rows> {
    let (shape, values) = &tensors[name];
    let k = shape[shape.len() - 1];
    let m = if shape.len() == 1 { 1 } else { shape[shape.len() - 2] };
    let rows: Rows = values.chunks(k).map(|row| row.iter().copied().map(f64::from).collect()).collect();
    rows.chunks(m).map(<[Vec<f64>]>::to_vec).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut Rows, y: &Rows) {
    x.iter_mut().flatten().zip(y.iter().flatten()).for_each(|(x, y)| *x += y);
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
    x.iter().map(|x| (x - max).exp() / sum).collect()
}

/// Numbers between -1 and 1: `SplitMix64`.
fn generator(mut state: u64) -> impl FnMut() -> f32 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
