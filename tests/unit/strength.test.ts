import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { strength } from "../../web/src/elements/strength.js";
import { requests } from "../../web/src/requests.js";

describe("how hard a passphrase is to guess", () => {
  const looks: [string, ReturnType<typeof strength>][] = [
    ["", "short"],
    ["seven77", "short"],
    ["aaaaaaaaaaaaaaaaaaaa", "weak"],
    ["12345678", "weak"],
    ["abcdefghijklmnop", "weak"],
    ["password1234!XY", "weak"],
    ["Passwort fürs Schreiben 7", "weak"],
    ["sommer 2024", "weak"],
    ["the the the the the", "weak"],
    ["x9!vT2#q", "fair"],
    ["correct horse battery staple", "fair"],
    ["correct horse battery staple lantern", "strong"],
    ["Ein stiller Weg am Fluss entlang", "strong"],
    ["k3$Vb9!zPq2&Lm", "strong"],
    // Letters count, not their bytes.
    ["夜空星", "short"],
  ];
  for (const [passphrase, expected] of looks)
    it(`${JSON.stringify(passphrase)} is ${expected}`, () => {
      assert.equal(strength(passphrase, 8), expected);
    });
});

describe("the requests that were seen", () => {
  const seen = (url: string, atMs: number) =>
    ({ url, atMs, kind: "fetch", by: "worker", receivedBytes: 1 }) as const;

  it("are listed once each, in their order, whoever tells of them first", () => {
    let changes = 0;
    requests.addEventListener("change", () => (changes += 1));
    requests.add([seen("https://a.test/2", 2)]);
    requests.add([seen("https://a.test/1", 1), seen("https://a.test/2", 2)]);
    requests.add([seen("https://a.test/2", 2)]);
    requests.add([]);
    assert.deepEqual(
      requests.seen.map(({ url }) => url),
      ["https://a.test/1", "https://a.test/2"],
    );
    assert.equal(changes, 2);
  });
});
