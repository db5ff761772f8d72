import assert from "node:assert/strict";
import { test } from "node:test";
import { readOrigins, stranger, type Surroundings } from "../../web/src/widget/embed-protocol.js";

const own = "https://writer.example";
const alone: Surroundings = { ancestorOrigins: [], alone: true, nearestIsTop: true, referrer: "" };
const framed = (...ancestorOrigins: string[]): Surroundings => ({ ...alone, alone: false, ancestorOrigins });

test("a list of origins holds origins and the page's own, and nothing wider", () => {
  assert.deepEqual(readOrigins("self https://blog.example,http://127.0.0.1:8080", own), [
    own,
    "https://blog.example",
    "http://127.0.0.1:8080",
  ]);
  for (const wide of [
    "",
    "*",
    "null",
    "https://*.example",
    "blog.example",
    "https://blog.example/",
    "data:,x",
  ])
    assert.deepEqual(readOrigins(wide, own), [], wide);
});

test("a frame stays empty unless every page around it is of an allowed origin", () => {
  const allowed = [own, "https://blog.example"];
  assert.equal(stranger(alone, []), undefined);
  assert.equal(stranger(framed(own), allowed), undefined);
  assert.equal(stranger(framed("https://blog.example", own), allowed), undefined);
  assert.equal(stranger(framed("https://other.example"), allowed), "https://other.example");
  assert.equal(
    stranger(framed("https://blog.example", "https://other.example"), allowed),
    "https://other.example",
  );
  assert.equal(stranger(framed("null"), allowed), "null");
});

test("where a browser does not tell the pages around a frame, who asked for it counts, and nobody unknown", () => {
  const allowed = ["https://blog.example"];
  const told = { ...framed(), ancestorOrigins: undefined };
  assert.equal(stranger({ ...told, referrer: "https://blog.example/" }, allowed), undefined);
  assert.equal(stranger({ ...told, referrer: "https://other.example/" }, allowed), "https://other.example");
  assert.equal(stranger({ ...told, referrer: "" }, allowed), "");
  assert.equal(stranger({ ...told, referrer: "https://blog.example/", nearestIsTop: false }, allowed), "");
});
