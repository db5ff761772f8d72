import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { megabytes, parameters, timeLeft } from "../../web/src/elements/format.js";
import { Pace } from "../../web/src/elements/pace.js";
import { sentences } from "../../web/src/errors.js";

/** The repository's root; written in by the bundler. */
declare const ROOT: string;

it("every code of the core has its sentence, and no other", () => {
  const source = readFileSync(join(ROOT, "crate/core/src/error.rs"), "utf8");
  const codes = [...source.matchAll(/ErrorKind::\w+ => "([a-z-]+)"/g)].map((match) => match[1]);
  assert.ok(codes.length > 10, "the core's codes were not found");
  assert.deepEqual(Object.keys(sentences).sort(), codes.sort());
});

it("megabytes are millions of bytes", () => {
  assert.equal(megabytes(98_362_432), "98.4 MB");
  assert.equal(megabytes(0), "0.0 MB");
});

it("counts are said as people say them", () => {
  assert.equal(parameters(134_515_008), "135 million");
  assert.equal(parameters(1_720_000_000), "1.7 billion");
});

it("time left is rounded", () => {
  assert.deepEqual([1, 4.2, 47, 200].map(timeLeft), ["a moment", "about 5 s", "about 50 s", "about 4 min"]);
});

it("pace follows the last seconds only", () => {
  const pace = new Pace();
  for (let second = 0; second <= 10; second += 1) pace.mark(second * 10, second * 1000);
  for (let second = 11; second <= 20; second += 1) pace.mark(100 + (second - 10) * 50, second * 1000);
  assert.ok(Math.abs(pace.perSecond - 50) < 1, `pace is ${pace.perSecond}`);
});
