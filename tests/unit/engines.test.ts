import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { FakeWorker, raiseOnPage } from "./browser.js";
import { coded, fake, resetFake } from "./fake-wasm.js";
import {
  forgetModel,
  Imprint,
  ImprintError,
  inspect,
  storedModels,
  type ImprintOptions,
  type Progress,
} from "../../web/src/index.js";

const model = "https://example.test/model.gguf";
const never = (): Promise<never> => new Promise(() => {});
const code = (wanted: string) => (thrown: unknown) =>
  thrown instanceof ImprintError && (assert.equal(thrown.code, wanted), true);

// One interface, two engines, one suite.
for (const place of ["worker", "local"] as const) {
  describe(`the engine in the ${place}`, { timeout: 10_000 }, () => {
    const worker = place === "worker";
    const opened: Imprint[] = [];
    const open = async (options: Partial<ImprintOptions> = {}): Promise<Imprint> => {
      const imprint = await Imprint.open({ model, worker, ...options });
      opened.push(imprint);
      return imprint;
    };
    const panicSilently = (): void => {
      const panic = new WebAssembly.RuntimeError("unreachable");
      if (worker) FakeWorker.last?.raise(panic);
      else raiseOnPage(panic);
    };
    beforeEach(resetFake);
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((imprint) => imprint.close()));
    });

    it("opening reports progress in order and tells device and model", async () => {
      const heard: Progress[] = [];
      const imprint = await open({ onProgress: (progress) => heard.push(progress) });
      assert.deepEqual(
        heard.map(({ doneBytes }) => doneBytes),
        [0, 5, 10],
      );
      assert.equal(imprint.device.reason, "it is a fake");
      assert.equal(imprint.info.name, "fake");
    });

    it("a relative address is completed and a blob is passed on", async () => {
      await open({ model: "models/a.gguf" });
      await open({ model: new Blob(["1234"]) });
      assert.deepEqual(fake.log.slice(0, 2), ["open https://example.test/models/a.gguf", "open blob of 4"]);
    });

    it("writing gives every piece in order and then ends", async () => {
      const imprint = await open();
      let text = "";
      let finish: string | undefined;
      for await (const piece of imprint.write("a", { maxTokens: 4 })) {
        text += `${piece}`;
        finish = piece.finish;
      }
      assert.equal(text, "0 1 2 3 ");
      assert.equal(finish, "length");
    });

    it("pieces say what of them is copied, and only the last has the end", async () => {
      const imprint = await open();
      const pieces = [];
      for await (const piece of imprint.write("parrot", { maxTokens: 2 })) pieces.push(piece);
      const told = pieces.map(({ text, copied, copiedFrom, finish }) => [text, copied, copiedFrom, finish]);
      assert.deepEqual(told, [
        ["", false, undefined, undefined],
        ["0", false, undefined, undefined],
        [" ", true, 0, undefined],
        ["1", false, undefined, undefined],
        [" ", true, 0, "length"],
      ]);
    });

    it("commands run one at a time in the order of their calls", async () => {
      fake.pauseMs = 2;
      const imprint = await open();
      const first = drain(imprint.write("first"));
      const [, second, score] = await Promise.all([
        first,
        drain(imprint.write("second")),
        imprint.score("third"),
      ]);
      assert.deepEqual(fake.log.slice(1), [
        "begin first",
        "end first",
        "begin second",
        "end second",
        "score third",
      ]);
      assert.equal(second, "0 1 2 ");
      assert.deepEqual(score, { tokens: 5, nll: 1.5, bitsPerChar: 2.5 });
    });

    it("leaving the loop stops within one token", async () => {
      fake.pauseMs = 5;
      const imprint = await open();
      for await (const piece of imprint.write("a", { maxTokens: 1000 })) if (piece.tokens === 3) break;
      await imprint.score("after");
      assert.ok(fake.nexts <= 5, `next ran ${fake.nexts} times for 4 steps read`);
    });

    for (const pauseMs of [0, 5]) {
      it(`an abort throws cancelled and stops within one token, steps pausing ${pauseMs} ms`, async () => {
        fake.pauseMs = pauseMs;
        const imprint = await open();
        const abort = new AbortController();
        const writing = async (): Promise<void> => {
          for await (const piece of imprint.write("a", { maxTokens: 100_000, signal: abort.signal })) {
            if (piece.tokens === 3) abort.abort();
          }
        };
        await assert.rejects(writing, code("cancelled"));
        const after = fake.nexts;
        await imprint.score("after");
        assert.ok(fake.nexts <= after + 1, `next ran ${fake.nexts - after} times after the abort`);
        assert.ok(fake.nexts < 100_000, "writing ran to its end");
      });
    }

    it("an abort gives all that is written, and what was held back, before it throws", async () => {
      fake.pauseMs = 5;
      const imprint = await open();
      const abort = new AbortController();
      const pieces: string[] = [];
      const writing = async (): Promise<void> => {
        for await (const piece of imprint.write("a", { maxTokens: 1000, signal: abort.signal })) {
          pieces.push(piece.text);
          if (piece.tokens === 3) abort.abort("enough");
        }
      };
      await assert.rejects(writing, { code: "cancelled", cause: "enough" });
      assert.equal(pieces.pop(), "held");
      const all = Array.from({ length: fake.nexts - 1 }, (_, i) => `${i} `);
      assert.deepEqual(pieces, ["", ...all], "every step is there");
      assert.ok(fake.log.includes("cut a"), "the text is ended");
      assert.equal(await drain(imprint.write("b")), "0 1 2 ");
    });

    it("a step that never ends does not hold an abort for ever", async ({ mock }) => {
      const imprint = await open();
      const abort = new AbortController();
      const writing = drain(imprint.write("a", { maxTokens: 1000, signal: abort.signal }), () => {
        fake.instead.next = never;
      });
      const rejected = assert.rejects(writing, code("cancelled"));
      await new Promise((resolve) => setTimeout(resolve, 20));
      mock.timers.enable({ apis: ["setTimeout"] });
      abort.abort();
      mock.timers.tick(5_000);
      await rejected;
      mock.timers.reset();
      panicSilently();
    });

    it("an abort while waiting takes the command out of the queue", async () => {
      fake.pauseMs = 5;
      const imprint = await open();
      const abort = new AbortController();
      const first = drain(imprint.write("first"));
      const second = drain(imprint.write("second", { signal: abort.signal }));
      abort.abort();
      await assert.rejects(second, code("cancelled"));
      assert.equal(await first, "0 1 2 ");
      await imprint.score("after");
      assert.ok(!fake.log.includes("begin second"));
    });

    it("a signal that is already aborted starts nothing", async () => {
      const imprint = await open();
      await assert.rejects(drain(imprint.write("a", { signal: AbortSignal.abort() })), code("cancelled"));
      await assert.rejects(imprint.score("a", { signal: AbortSignal.abort() }), code("cancelled"));
      assert.deepEqual(fake.log.slice(1), []);
    });

    it("an error keeps its code and message, and the engine goes on", async () => {
      const imprint = await open();
      fake.instead.begin = async () => Promise.reject(coded("invalid-option", "temperature is -1"));
      await assert.rejects(drain(imprint.write("a")), {
        name: "ImprintError",
        code: "invalid-option",
        message: "temperature is -1",
      });
      fake.instead = {};
      assert.equal(await drain(imprint.write("b")), "0 1 2 ");
    });

    it("an error in the middle of writing reaches the loop", async () => {
      const imprint = await open();
      const writing = drain(imprint.write("a", { maxTokens: 1000 }), () => {
        fake.instead.next = async () => Promise.reject(coded("device-lost", "the device is gone"));
      });
      await assert.rejects(writing, code("device-lost"));
    });

    it("an error without a known code is internal", async () => {
      const imprint = await open();
      fake.instead.score = async () => Promise.reject(coded("no-such-code", "odd"));
      await assert.rejects(imprint.score("a"), code("internal"));
    });

    it("a panic rejects the running, the waiting and all later commands", async () => {
      const imprint = await open();
      fake.pauseMs = 2;
      fake.instead.score = async () => Promise.reject(new WebAssembly.RuntimeError("unreachable"));
      const calls = [imprint.score("a"), imprint.score("b"), drain(imprint.write("c"))];
      for (const call of calls) await assert.rejects(call, code("internal"));
      await assert.rejects(imprint.score("later"), code("internal"));
    });

    it("a panic that settles no promise rejects them too", async () => {
      const imprint = await open();
      fake.instead.score = never;
      const calls = [imprint.score("a"), drain(imprint.write("b"))];
      const rejected = calls.map((call) => assert.rejects(call, code("internal")));
      await new Promise((resolve) => setTimeout(resolve, 10));
      panicSilently();
      await Promise.all(rejected);
      await assert.rejects(imprint.score("later"), code("internal"));
    });

    it("closing cancels what runs, frees the model and refuses later calls", async () => {
      fake.pauseMs = 5;
      const imprint = await open();
      assert.equal(fake.openEngines, 1);
      const writing = drain(imprint.write("a", { maxTokens: 1000 }), () => void imprint.close());
      await assert.rejects(writing, code("cancelled"));
      await imprint.close();
      assert.equal(fake.openEngines, 0);
      await assert.rejects(imprint.score("later"), code("cancelled"));
      if (worker) assert.ok(FakeWorker.last?.terminated);
    });

    it("ten rounds of opening and closing leave nothing open", async () => {
      for (let round = 0; round < 10; round += 1) {
        const imprint = await open();
        assert.equal((await imprint.stats()).gpuBytes, 1);
        await imprint.close();
      }
      assert.equal(fake.openEngines, 0);
    });

    it("an open that fails leaves nothing behind", async () => {
      fake.instead.open = async () => Promise.reject(coded("model-corrupt", "the file ends early"));
      await assert.rejects(open(), code("model-corrupt"));
      await new Promise((resolve) => setTimeout(resolve, 10));
      if (worker) assert.ok(FakeWorker.last?.terminated);
    });

    it("an open that is cancelled too late closes the model it made", async () => {
      const abort = new AbortController();
      await assert.rejects(
        open({ signal: abort.signal, onProgress: () => abort.abort() }),
        code("cancelled"),
      );
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(fake.openEngines, 0);
    });

    it("a model is inspected by its address or as a blob, and its error keeps its code", async () => {
      const found = await inspect("models/a.gguf", { worker });
      assert.equal(found.name, "https://example.test/models/a.gguf");
      assert.deepEqual([found.runsOn, found.formats], [["cpu"], { F32: 1 }]);
      assert.equal((await inspect(new Blob(["1234"]), { worker })).name, "blob of 4");
      await assert.rejects(inspect("letter.gguf", { worker }), code("model-corrupt"));
      await assert.rejects(inspect("a.gguf", { worker, signal: AbortSignal.abort() }), code("cancelled"));
      await assert.rejects(inspect("https://[", { worker }), code("invalid-option"));
      assert.equal(fake.log.length, 3, "what is refused at once starts nothing");
    });

    it("models in storage are listed and forgotten", async () => {
      assert.equal((await storedModels(worker))[0]?.url, "https://example.test/kept.gguf");
      await forgetModel("models/a.gguf", worker);
      assert.deepEqual(fake.log, ["forget https://example.test/models/a.gguf"]);
    });
  });
}

describe("the worker", { timeout: 10_000 }, () => {
  beforeEach(resetFake);

  for (const [type, event] of [
    ["error", {}],
    ["error", { message: "out of memory" }],
    ["messageerror", {}],
  ] as const) {
    it(`that sends \`${type}\` ${JSON.stringify(event)} rejects what waits`, async () => {
      fake.instead.open = never;
      const opening = Imprint.open({ model });
      FakeWorker.last?.tell(type, event);
      await assert.rejects(opening, code("internal"));
      assert.ok(FakeWorker.last?.terminated);
    });
  }

  it("refuses what cannot be posted, without hanging", async () => {
    const imprint = await Imprint.open({ model });
    const options = { stop: [(() => {}) as unknown as string] };
    await assert.rejects(drain(imprint.write("a", options)), ImprintError);
    assert.equal(await drain(imprint.write("b")), "0 1 2 ");
    await imprint.close();
  });

  it("that belongs to the caller is left alive", async () => {
    const own = new FakeWorker();
    const imprint = await Imprint.open({ model, worker: own as unknown as Worker });
    await imprint.close();
    assert.ok(!own.terminated);
    own.terminate();
  });
});

async function drain(
  pieces: AsyncIterable<{ text: string }>,
  onPiece: () => void = () => {},
): Promise<string> {
  let text = "";
  for await (const piece of pieces) {
    text += piece.text;
    onPiece();
  }
  return text;
}
