// The model: BitNet b1.58 as the file of 2B-4T has it, token by token. Ternary products are the emitted kernels'; the rest is
// a thousandth of the work and plain JavaScript.

import { floats, ternary } from "./gguf.js";
import { Linear } from "./kernels.js";

export class Model {
  constructor(file, kernels) {
    const key = (name) => file.metadata[`bitnet-b1.58.${name}`];
    if (file.metadata["general.architecture"] !== "bitnet-b1.58") throw new Error("this page runs bitnet-b1.58");
    this.heads = key("attention.head_count");
    this.groups = key("attention.head_count_kv");
    this.epsilon = key("attention.layer_norm_rms_epsilon");
    this.context = key("context_length");
    const width = (this.width = key("embedding_length")), inner = key("feed_forward_length");
    this.head = width / this.heads;
    this.frequencies = Float64Array.from({ length: this.head / 2 }, (_, i) => key("rope.freq_base") ** (-2 * i / this.head));
    this.embeddings = floats(file, "token_embd.weight");
    this.vocabulary = this.embeddings.length / width;
    this.norm = floats(file, "output_norm.weight");
    this.layers = Array.from({ length: key("block_count") }, (_, layer) => {
      const float = (name) => floats(file, `blk.${layer}.${name}.weight`);
      const linear = (epilogue, ...names) =>
        new Linear(kernels, names.map((name) => ternary(file, `blk.${layer}.${name}.weight`)), epilogue);
      return {
        attentionNorm: float("attn_norm"), attentionInner: float("attn_sub_norm"),
        feedNorm: float("ffn_norm"), feedInner: float("ffn_sub_norm"),
        q: linear("", "attn_q"), k: linear("", "attn_k"), v: linear("", "attn_v"), o: linear("add", "attn_output"),
        gateUp: linear("relu2", "ffn_gate", "ffn_up"), down: linear("add", "ffn_down"),
        keys: [], values: [],
      };
    });
    const vector = (length) => kernels.floats(length);
    Object.assign(this, {
      hidden: vector(width), normed: vector(width), inner: vector(inner), innerNormed: vector(inner),
      q: vector(width), k: vector(this.groups * this.head), v: vector(this.groups * this.head), mixed: vector(width),
      logits: new Float32Array(this.vocabulary),
    });
    this.position = 0;
  }

  /** Takes one token; the logits of the next are in `logits`. */
  step(token) {
    if (this.position === this.context) throw new Error("the context is full");
    const { hidden, normed } = this;
    hidden.set(this.embeddings.subarray(token * this.width, (token + 1) * this.width));
    for (const layer of this.layers) {
      this.normalise(hidden, layer.attentionNorm, normed);
      layer.q.run(normed, this.q);
      layer.k.run(normed, this.k);
      layer.v.run(normed, this.v);
      this.attend(layer);
      this.normalise(this.mixed, layer.attentionInner, normed);
      layer.o.run(normed, hidden);
      this.normalise(hidden, layer.feedNorm, normed);
      layer.gateUp.run(normed, this.inner);
      this.normalise(this.inner, layer.feedInner, this.innerNormed);
      layer.down.run(this.innerNormed, hidden);
    }
    this.normalise(hidden, this.norm, normed);
    for (let token = 0; token < this.vocabulary; token++) this.logits[token] = dot(this.embeddings, token * this.width, normed, 0, this.width);
    this.position++;
  }

  normalise(x, weights, out) {
    const scale = 1 / Math.sqrt(dot(x, 0, x, 0, x.length) / x.length + this.epsilon);
    for (let i = 0; i < x.length; i++) out[i] = x[i] * scale * weights[i];
  }

  /** Turns the halves of each head against each other, as GPT-NeoX pairs them. */
  rotate(x) {
    const half = this.head / 2;
    for (let first = 0; first < x.length; first += this.head)
      for (let i = 0; i < half; i++) {
        const angle = this.position * this.frequencies[i], sin = Math.sin(angle), cos = Math.cos(angle);
        const [a, b] = [x[first + i], x[first + half + i]];
        [x[first + i], x[first + half + i]] = [a * cos - b * sin, b * cos + a * sin];
      }
  }

  attend({ keys, values }) {
    this.rotate(this.q);
    this.rotate(this.k);
    keys.push(this.k.slice());
    values.push(this.v.slice());
    this.mixed.fill(0);
    for (let head = 0; head < this.heads; head++) {
      const from = head * this.head, shared = Math.floor(head * this.groups / this.heads) * this.head;
      const scores = keys.map((key) => dot(this.q, from, key, shared, this.head) / Math.sqrt(this.head));
      const most = Math.max(...scores), shares = scores.map((score) => Math.exp(score - most));
      const sum = shares.reduce((a, b) => a + b, 0);
      shares.forEach((share, at) => {
        for (let i = 0; i < this.head; i++) this.mixed[from + i] += share / sum * values[at][shared + i];
      });
    }
  }

  /** The likeliest next token. */
  best() {
    return this.logits.reduce((best, logit, token) => (logit > this.logits[best] ? token : best), 0);
  }

  /** Forgets the text so far. */
  reset() {
    this.position = 0;
    for (const layer of this.layers) [layer.keys, layer.values] = [[], []];
  }
}

function dot(a, aFrom, b, bFrom, length) {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aFrom + i] * b[bFrom + i];
  return sum;
}
