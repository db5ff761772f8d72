// The check that an engine in the bench runs the model that it is said to run.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { golden, stray } from "../bench/stray.js";

declare const ROOT: string;
const known = golden(join(ROOT, "tests/fixtures/smollm2.json"));
const first = known.greedy_ids.slice(0, 8);

test("the golden run itself does not stray, however short", () => {
  for (let length = 1; length <= known.greedy_ids.length; length += 1) {
    assert.equal(stray(known, known.ids, known.greedy_ids.slice(0, length)), undefined);
  }
});

test("another token is let pass only where the golden run was unsure, and never as the first", () => {
  assert.match(stray(known, known.ids, [known.greedy_ids[0]! + 1]) ?? "", /writes token/);
  first.forEach((id, at) => {
    const other = [...first.slice(0, at), id + 1, ...first.slice(at + 1)];
    const sure = at === 0 || known.greedy_margin[at]! >= 2;
    assert.equal(stray(known, known.ids, other) !== undefined, sure, `token ${at}`);
  });
  assert.ok(known.greedy_margin.slice(1, 8).some((margin) => margin < 2));
});

test("what follows an unsure token is not compared", () => {
  const at = known.greedy_margin.findIndex((margin, i) => i > 0 && margin < 2);
  const other = first.map((id, i) => (i < at ? id : 7));
  assert.equal(stray(known, known.ids, other), undefined);
});

test("a text that is read as other tokens, or one that nothing follows, strays", () => {
  assert.match(stray(known, known.ids.slice(1), first) ?? "", /other tokens/);
  assert.match(stray(known, known.ids, []) ?? "", /nothing/);
});
