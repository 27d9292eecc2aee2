// GGUF files: metadata and where tensors lie. Layout: llama.cpp, docs/gguf.md. Only what the carried model needs.

/** Numbers of bytes and readers of the metadata's scalar types, by their number in the file. */
const SCALARS = {
  0: [1, "getUint8"], 1: [1, "getInt8"], 2: [2, "getUint16"], 3: [2, "getInt16"], 4: [4, "getUint32"],
  5: [4, "getInt32"], 6: [4, "getFloat32"], 10: [8, "getBigUint64"], 11: [8, "getBigInt64"], 12: [8, "getFloat64"],
};
const BOOL = 7, STRING = 8, ARRAY = 9;

class Reader {
  constructor(buffer) {
    this.view = new DataView(buffer);
    this.at = 0;
  }

  scalar(type) {
    const known = SCALARS[type];
    if (!known) throw new Error(`metadata of type ${type} at byte ${this.at}`);
    const value = this.view[known[1]](this.at, true);
    this.at += known[0];
    return typeof value === "bigint" ? Number(value) : value;
  }

  string() {
    const length = this.scalar(10);
    const bytes = new Uint8Array(this.view.buffer, this.at, length);
    this.at += length;
    return new TextDecoder().decode(bytes);
  }

  value(type) {
    if (type === STRING) return this.string();
    if (type === BOOL) return this.scalar(0) !== 0;
    if (type !== ARRAY) return this.scalar(type);
    const element = this.scalar(4), length = this.scalar(10);
    return Array.from({ length }, () => this.value(element));
  }
}

/** The metadata of a file, and its tensors by name: `{ shape: [rows, columns], type, offset }`. */
export function parse(buffer) {
  const reader = new Reader(buffer);
  if (reader.scalar(4) !== 0x46554747) throw new Error("not a GGUF file");
  if (reader.scalar(4) < 2) throw new Error("GGUF before version 2");
  const tensorCount = reader.scalar(10), valueCount = reader.scalar(10);
  const metadata = {};
  for (let i = 0; i < valueCount; i++) {
    const key = reader.string();
    metadata[key] = reader.value(reader.scalar(4));
  }
  const tensors = {};
  for (let i = 0; i < tensorCount; i++) {
    const name = reader.string();
    const dimensions = Array.from({ length: reader.scalar(4) }, () => reader.scalar(10));
    tensors[name] = { shape: dimensions.reverse(), type: reader.scalar(4), offset: reader.scalar(10) };
  }
  const alignment = metadata["general.alignment"] ?? 32;
  const data = Math.ceil(reader.at / alignment) * alignment;
  for (const tensor of Object.values(tensors)) tensor.offset += data;
  return { metadata, tensors, buffer };
}

const F32 = 0, F16 = 1, I2_S = 36;

/** A tensor of floats. */
export function floats(file, name) {
  const { shape, type, offset } = tensor(file, name);
  const length = shape.reduce((a, b) => a * b, 1);
  if (type === F32) return new Float32Array(file.buffer.slice(offset, offset + 4 * length));
  if (type === F16) return Float32Array.from(new Uint16Array(file.buffer.slice(offset, offset + 2 * length)), half);
  throw new Error(`${name}: type ${type} is no type of floats`);
}

/** A matrix in I2_S: its codes (trit plus one) and its scale. 128 weights lie in 32 bytes, the first 32 in the top bits. */
export function ternary(file, name) {
  const { shape: [rows, columns], type, offset } = tensor(file, name);
  if (type !== I2_S) throw new Error(`${name}: type ${type} is not I2_S`);
  const bytes = new Uint8Array(file.buffer, offset, rows * columns / 4);
  const codes = new Uint8Array(rows * columns);
  for (let run = 0; run < codes.length / 128; run++)
    for (let weight = 0; weight < 128; weight++)
      codes[128 * run + weight] = bytes[32 * run + weight % 32] >> (6 - 2 * (weight >> 5)) & 3;
  const scale = new DataView(file.buffer).getFloat32(offset + bytes.length, true);
  return { rows, columns, codes, scale };
}

function tensor(file, name) {
  const found = file.tensors[name];
  if (!found) throw new Error(`the file has no tensor ${name}`);
  return found;
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 0x1F, fraction = bits & 0x3FF;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
