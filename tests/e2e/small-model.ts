/**
 * A small llama with random weights and one token a byte: enough to learn on in seconds.
 *
 * What it writes means nothing; that the held-out text becomes likelier, and that everything comes back as it was, can be
 * seen on it as well as on a real one. Another seed is another model; a licence stands in its header.
 */
export function smallModel({ seed = 7, licence = "" } = {}): Uint8Array<ArrayBuffer> {
  const random = new Random(seed);
  const file = new Gguf();
  const [width, wide, heads, layers] = [64, 128, 2, 2];
  const tokens = [...byteAlphabet(), "<|endoftext|>"];
  file.text("general.architecture", "llama").text("general.name", "Small");
  if (licence !== "") file.text("general.license", licence);
  file.int("llama.embedding_length", width).int("llama.feed_forward_length", wide);
  file.int("llama.block_count", layers).int("llama.context_length", 512);
  file.int("llama.attention.head_count", heads).int("llama.attention.head_count_kv", heads);
  file.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
  file.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "smollm");
  file.texts("tokenizer.ggml.tokens", tokens).texts("tokenizer.ggml.merges", []);
  const kinds = tokens.map((_, id) => (id < 256 ? 1 : 3));
  file.ints("tokenizer.ggml.token_type", kinds).int("tokenizer.ggml.eos_token_id", 256);

  const ones = (n: number): Uint8Array => new Uint8Array(new Float32Array(n).fill(1).buffer);
  const matrix = (name: string, columns: number, rows: number): void => {
    file.tensor(name, [columns, rows], q8, random.blocks((columns * rows) / 32));
  };
  matrix("token_embd.weight", width, tokens.length);
  file.tensor("output_norm.weight", [width], f32, ones(width));
  for (let layer = 0; layer < layers; layer += 1) {
    const name = (part: string): string => `blk.${layer}.${part}.weight`;
    for (const part of ["attn_norm", "ffn_norm"]) file.tensor(name(part), [width], f32, ones(width));
    for (const part of ["attn_q", "attn_k", "attn_v", "attn_output"]) matrix(name(part), width, width);
    for (const part of ["ffn_gate", "ffn_up"]) matrix(name(part), width, wide);
    matrix(name("ffn_down"), wide, width);
  }
  return file.bytes();
}

const f32 = 0;
const q8 = 8;

/** The characters that stand for the 256 bytes in a byte-level vocabulary, by byte. */
function byteAlphabet(): string[] {
  const seen = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(seen(byte) ? byte : next++));
}

/** xorshift32 (Marsaglia 2003): the same model everywhere. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }

  /** Q8_0 blocks: a half-precision scale of 2⁻⁹ and 32 signed bytes, so numbers within ± 0.25. */
  blocks(count: number): Uint8Array {
    const bytes = new Uint8Array(count * 34);
    const view = new DataView(bytes.buffer);
    for (let block = 0; block < count; block += 1) {
      view.setUint16(block * 34, (15 - 9) << 10, true);
      for (let i = 0; i < 32; i += 1) view.setInt8(block * 34 + 2 + i, (this.next() % 255) - 127);
    }
    return bytes;
  }
}

/** Writes a GGUF file of version 3. */
class Gguf {
  readonly #entries: Uint8Array[] = [];
  readonly #infos: Uint8Array[] = [];
  readonly #data: Uint8Array[] = [];
  #offset = 0;
  #tensors = 0;

  text(key: string, value: string): this {
    return this.#entry(key, 8, string(value));
  }

  int(key: string, value: number): this {
    return this.#entry(key, 4, numbers("Uint32", [value]));
  }

  float(key: string, value: number): this {
    return this.#entry(key, 6, numbers("Float32", [value]));
  }

  texts(key: string, values: string[]): this {
    return this.#entry(key, 9, numbers("Uint32", [8]), long(values.length), ...values.map(string));
  }

  ints(key: string, values: number[]): this {
    return this.#entry(key, 9, numbers("Uint32", [5]), long(values.length), numbers("Int32", values));
  }

  tensor(name: string, shape: number[], type: number, bytes: Uint8Array): void {
    const info = [string(name), numbers("Uint32", [shape.length]), ...shape.map(long)];
    this.#infos.push(...info, numbers("Uint32", [type]), long(this.#offset));
    const padding = -bytes.length & 31;
    this.#data.push(bytes, new Uint8Array(padding));
    this.#offset += bytes.length + padding;
    this.#tensors += 1;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const magic = new TextEncoder().encode("GGUF");
    const counts = [numbers("Uint32", [3]), long(this.#tensors), long(this.#entries.length)];
    const header = joined([magic, ...counts, ...this.#entries, ...this.#infos]);
    return joined([header, new Uint8Array(-header.length & 31), ...this.#data]);
  }

  #entry(key: string, kind: number, ...value: Uint8Array[]): this {
    this.#entries.push(joined([string(key), numbers("Uint32", [kind]), ...value]));
    return this;
  }
}

function numbers(kind: "Uint32" | "Int32" | "Float32", values: number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view[`set${kind}`](4 * i, value, true));
  return new Uint8Array(view.buffer);
}

function long(value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(value), true);
  return new Uint8Array(view.buffer);
}

function string(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  return joined([long(bytes.length), bytes]);
}

function joined(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
