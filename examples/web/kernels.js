// Kernels that `kernelgen emit --target wasm` wrote: a module on a memory of ours, and the header that counts its buffers.

/** `#define NAME_WHAT number` of the header, by name and what. */
function defines(header) {
  const numbers = {};
  for (const [, name, number] of header.matchAll(/^#define (\w+) (\d+)/gm)) numbers[name] = Number(number);
  return numbers;
}

/** Where the fields of `struct craftsman_arguments` lie; all of them take eight bytes. */
const FIELDS = ["source", "weights", "scales", "activations", "token_words", "output", "scratch", "panels", "tail", "tokens"];
const ARGUMENT_BYTES = 8 * 14;

export class Kernels {
  static async load(module, header, megabytes) {
    const memory = new WebAssembly.Memory({ initial: 16 * megabytes });
    const instance = await WebAssembly.instantiate(await WebAssembly.compile(module), { env: { memory } });
    return new Kernels(memory, instance.exports, defines(header));
  }

  constructor(memory, functions, numbers) {
    Object.assign(this, { memory, functions, numbers });
    this.next = 64;
    this.arguments = new DataView(memory.buffer, this.room(ARGUMENT_BYTES), ARGUMENT_BYTES);
    this.scratch = this.room(Math.max(64, ...Object.entries(numbers).filter(([n]) => n.endsWith("_SCRATCH_BYTES")).map(([, n]) => n)));
  }

  /** So many bytes of the memory, for good; aligned to 64. */
  room(bytes) {
    const place = this.next;
    this.next = Math.ceil((place + bytes) / 64) * 64;
    if (this.next > this.memory.buffer.byteLength) throw new Error("the memory is too small for this model");
    return place;
  }

  floats(length) {
    return new Float32Array(this.memory.buffer, this.room(4 * length), length);
  }

  call(name, fields) {
    for (let at = 0; at < ARGUMENT_BYTES; at += 4) this.arguments.setUint32(at, 0, true);
    for (const [field, value] of Object.entries({ scratch: this.scratch, ...fields }))
      this.arguments.setUint32(8 * FIELDS.indexOf(field), value, true);
    this.functions[name](this.arguments.byteOffset);
  }
}

/**
 * A product of one or, for gate and up, two ternary matrices with one input, by the kernel of their shape in the layout of
 * the family `i2s`: panels of sixteen rows, a step of four columns in sixteen bytes. Byte j of lane l holds column 4 s + j of
 * the rows l, 4 + l, 8 + l and 12 + l, two bits each.
 */
export class Linear {
  constructor(kernels, matrices, epilogue = "") {
    const [{ rows, columns }] = matrices;
    this.name = `craftsman_${rows}x${columns}_decode_tensor_a8${epilogue && "_" + epilogue}`;
    const number = (what) => kernels.numbers[`${this.name.toUpperCase()}_${what}`];
    if (!(this.name in kernels.functions)) throw new Error(`no kernel ${this.name}; emit one`);
    if (number("HAS_INPUT") !== 0 || number("PANEL_ROWS") !== 16) throw new Error(`${this.name} reads another layout`);
    Object.assign(this, { kernels, rows, columns });
    this.panels = number("PANELS");
    this.tail = number("TAIL");
    const weights = new Uint8Array(kernels.memory.buffer, kernels.room(number("WEIGHT_BYTES")), number("WEIGHT_BYTES"));
    matrices.forEach((matrix, which) => pack(matrix, weights, number("PANEL_BYTES"), which, matrices.length));
    this.weights = weights.byteOffset;
    const scales = kernels.floats(matrices.length);
    matrices.forEach((matrix, which) => (scales[which] = matrix.scale));
    this.scales = scales.byteOffset;
    this.activations = kernels.room(number("ROW_BYTES") + number("SLACK"));
    this.words = kernels.room(4 * number("TOKEN_WORDS") * number("TOKEN_GRANULE"));
  }

  /** `output` = the product with `input`, or is added to; both lie in the kernels' memory. */
  run(input, output) {
    const { kernels, name, activations, words } = this;
    kernels.call(`${name}_quantize`, { source: input.byteOffset, activations, token_words: words, tokens: 1 });
    kernels.call(name, {
      weights: this.weights, scales: this.scales, activations, token_words: words, output: output.byteOffset,
      panels: this.panels, tail: this.tail, tokens: 1,
    });
  }
}

function pack({ rows, columns, codes }, bytes, panelBytes, which, matrices) {
  for (let row = 0; row < rows; row++) {
    const panel = (row >> 4) * matrices + which, lane = row & 3, shift = 2 * (row >> 2 & 3);
    for (let column = 0; column < columns; column++)
      bytes[panel * panelBytes + 16 * (column >> 2) + 4 * lane + (column & 3)] |= codes[row * columns + column] << shift;
  }
}
