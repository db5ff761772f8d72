import { readFileSync } from "node:fs";
import { resolve } from "node:path";

/** The golden run of learning, as an independent implementation made it on the default model. */
type Golden = {
  rank: number;
  adamw: { lr: number };
  kinds: string[];
  sequences: number[][];
  check_init: Record<string, number[]>;
  fp32: { loss: number[] };
};

/** Sizes of the default model. */
const model = { layers: 30, width: 576, wide: 1536, keys: 192 };
/** What goes into each projection and comes out of it, in the adapter's order. */
const projections: [name: string, into: number, out: number][] = [
  ["q_proj", model.width, model.width],
  ["k_proj", model.width, model.keys],
  ["v_proj", model.width, model.keys],
  ["o_proj", model.width, model.width],
  ["gate_proj", model.width, model.wide],
  ["up_proj", model.width, model.wide],
  ["down_proj", model.wide, model.width],
];

/** Reads the run and makes the numbers it starts with, by the formula that the fixture tells. */
export function goldenRun(): {
  sequences: number[][];
  rate: number;
  losses: number[];
  parameters: Float32Array<ArrayBuffer>;
} {
  const path = resolve(import.meta.dirname, "../fixtures/lora.json");
  const golden = JSON.parse(readFileSync(path, "utf8")) as Golden;
  if (golden.kinds.join() !== projections.map(([name]) => name).join())
    throw new Error(`the golden run adapts ${golden.kinds.join()}`);
  const { rank } = golden;
  const size = projections.reduce((sum, [, into, out]) => sum + rank * (into + out), 0);
  const parameters = new Float32Array(model.layers * size);
  let at = 0;
  for (let tensor = 0; tensor < model.layers * projections.length; tensor += 1) {
    const [, into, out] = projections[tensor % projections.length] ?? ["", 0, 0];
    for (let element = 0; element < rank * into; element += 1) {
      // Two 32-bit halves of `(tensor << 32) + element`.
      parameters[at + element] = (2 * uniform(tensor, element) - 1) / Math.sqrt(into);
    }
    // The fixture tells the first numbers of three tensors, but those of the last as if it were as wide as the others.
    const told = into === model.width ? (golden.check_init[tensor] ?? []) : [];
    for (const [i, expected] of told.entries()) {
      const found = parameters[at + i] ?? NaN;
      if (!(Math.abs(found - expected) < 1e-7))
        throw new Error(`number ${i} of tensor ${tensor} is ${found}, golden ${expected}`);
    }
    // B is zero, so that its rows may be in any order.
    at += rank * (into + out);
  }
  return { sequences: golden.sequences, rate: golden.adamw.lr, losses: golden.fp32.loss, parameters };
}

const mask = (1n << 64n) - 1n;

/** The first number that splitmix64 (Steele et al. 2014) draws from the state `high·2³² + low`, within 0 and 1. */
function uniform(high: number, low: number): number {
  let z = ((BigInt(high) << 32n) + BigInt(low) + 0x9e3779b97f4a7c15n) & mask;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
  z ^= z >> 31n;
  return Number(z >> 40n) / 2 ** 24;
}
