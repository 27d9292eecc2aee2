// Byte-level BPE as GPT-2 has it: text is cut into words, their bytes are written as letters, and letters are merged.

const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** The letter for every byte: printable ones stand for themselves. */
function byteLetters() {
  const letters = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const plain = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    letters.push(String.fromCodePoint(plain ? byte : next++));
  }
  return letters;
}

export class Tokenizer {
  constructor(metadata) {
    const key = (name) => metadata[`tokenizer.ggml.${name}`];
    if (key("model") !== "gpt2") throw new Error(`a tokenizer of the kind ${key("model")}`);
    this.tokens = key("tokens");
    this.ids = new Map(this.tokens.map((token, id) => [token, id]));
    this.ranks = new Map(key("merges").map((pair, rank) => [pair, rank]));
    this.bos = key("add_bos_token") ? key("bos_token_id") : undefined;
    this.eos = key("eos_token_id");
    this.letters = byteLetters();
    this.bytes = new Map(this.letters.map((letter, byte) => [letter, byte]));
    this.decoder = new TextDecoder();
  }

  encode(text) {
    const ids = this.bos === undefined ? [] : [this.bos];
    for (const word of text.match(WORDS) ?? []) {
      const bytes = new TextEncoder().encode(word);
      for (const piece of this.merged(Array.from(bytes, (byte) => this.letters[byte]))) ids.push(this.ids.get(piece));
    }
    return ids;
  }

  /** Merges the pair of the lowest rank until there is none. */
  merged(pieces) {
    for (;;) {
      let best = Infinity, place = -1;
      for (let i = 0; i + 1 < pieces.length; i++) {
        const rank = this.ranks.get(`${pieces[i]} ${pieces[i + 1]}`) ?? Infinity;
        if (rank < best) [best, place] = [rank, i];
      }
      if (place < 0) return pieces;
      pieces.splice(place, 2, pieces[place] + pieces[place + 1]);
    }
  }

  /** The text of one more token; a character that is not complete yet is kept for the next. */
  decode(id) {
    const bytes = Uint8Array.from(this.tokens[id], (letter) => this.bytes.get(letter) ?? 63);
    return this.decoder.decode(bytes, { stream: true });
  }
}
