import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { zipSync, strToU8 } from "fflate";
import "./browser.js";
import { coded, fake, resetFake } from "./fake-wasm.js";
import { Imprint, ImprintError, type LearnProgress } from "../../web/src/index.js";

const model = "https://example.test/model.gguf";
const code = (wanted: string) => (thrown: unknown) =>
  thrown instanceof ImprintError && (assert.equal(thrown.code, wanted), true);

for (const place of ["worker", "local"] as const) {
  describe(`learning in the ${place}`, { timeout: 10_000 }, () => {
    let imprint: Imprint;
    beforeEach(async () => {
      resetFake();
      imprint = await Imprint.open({ model, worker: place === "worker" });
    });
    afterEach(() => imprint.close());

    /** Waits for the report of a step. */
    const until = (step: number) => {
      let reached = (): void => {};
      const there = new Promise<void>((resolve) => (reached = resolve));
      const onProgress = (progress: LearnProgress): void => {
        if (progress.step >= step) reached();
      };
      return { there, onProgress };
    };

    it("learning reports every step and ends with an adapter", async () => {
      const steps: number[] = [];
      const run = imprint.learn("My text.", { name: "Mine", onProgress: ({ step }) => steps.push(step) });
      assert.equal(run.state, "learning");
      const adapter = await run.done;
      assert.equal(adapter.name, "Mine");
      assert.deepEqual(steps, [0, 1, 2, 3, 4, 5]);
      assert.equal(run.state, "done");
      assert.deepEqual(await imprint.adapters.list(), [adapter]);
      assert.deepEqual(await imprint.runs.list(), []);
    });

    it("texts come as strings, with names, and as files", async () => {
      const page = new Blob(["<p>a"], { type: "text/html;charset=utf-8" });
      const file = new File(["b"], "b.md");
      await imprint.learn(["a", { name: "n.txt", text: "c" }, page, file]).done;
      assert.deepEqual(fake.texts, [": a", "n.txt: c", "page.html: <p>a", "b.md: b"]);
    });

    it("numbers of the recipe stand among the options, beside a whole one or alone", async () => {
      await imprint.plan("a", { effort: "deep", rank: 16, recipe: { rank: 8, seed: 3 } });
      await imprint.plan("a");
      assert.deepEqual(
        fake.log.filter((line) => line.startsWith("plan")),
        ['plan {"effort":"deep","recipe":{"rank":16,"seed":3}}', 'plan {"recipe":{}}'],
      );
    });

    it("a pause keeps the run, and it goes on where it stood", async () => {
      fake.steps = 1000;
      const { there, onProgress } = until(2);
      const run = imprint.learn("a", { onProgress });
      await there;
      await run.pause();
      assert.equal(run.state, "paused");
      const [kept] = await imprint.runs.list();
      assert.ok(kept && kept.id === run.id, "it is listed");
      assert.ok(kept.step >= 2 && kept.step < 1000, `it stands at ${kept.step}`);
      kept.steps = kept.step + 1;
      fake.runs.set(kept.id, kept);
      run.resume();
      assert.equal(run.state, "learning");
      await run.done;
      assert.deepEqual(await imprint.runs.list(), []);
    });

    it("a run that is kept goes on in another Imprint", async () => {
      fake.steps = 1000;
      const { there, onProgress } = until(2);
      const run = imprint.learn("a", { name: "Kept", onProgress });
      await there;
      await imprint.close();
      await assert.rejects(run.done, code("cancelled"));
      await new Promise((resolve) => setTimeout(resolve, 20));
      imprint = await Imprint.open({ model, worker: place === "worker" });
      const [kept] = await imprint.runs.list();
      assert.ok(kept, "closing pauses");
      fake.runs.set(kept.id, { ...kept, steps: kept.step + 1 });
      assert.equal((await imprint.runs.resume(kept.id).done).name, "Kept");
    });

    it("a cancel ends the run within one step and removes it", async () => {
      fake.steps = 1000;
      const abort = new AbortController();
      const { there, onProgress } = until(2);
      const run = imprint.learn("a", { onProgress, signal: abort.signal });
      await there;
      abort.abort();
      await assert.rejects(run.done, code("cancelled"));
      assert.equal(run.state, "failed");
      assert.deepEqual(await imprint.runs.list(), []);
      await imprint.score("after");
    });

    it("a cancel while paused removes the run", async () => {
      fake.steps = 1000;
      const abort = new AbortController();
      const { there, onProgress } = until(1);
      const run = imprint.learn("a", { onProgress, signal: abort.signal });
      await there;
      await run.pause();
      abort.abort();
      await assert.rejects(run.done, code("cancelled"));
      assert.deepEqual(await imprint.runs.list(), []);
    });

    it("what is kept is looked after while a run learns, and a text waits", async () => {
      fake.steps = 1000;
      const { there, onProgress } = until(1);
      const run = imprint.learn("a", { onProgress });
      await there;
      assert.equal((await imprint.runs.list()).length, 1);
      assert.equal((await imprint.storageUsage()).runsBytes, 1);
      const scored = imprint.score("waits");
      await assert.rejects(imprint.forgetEverything(), code("busy"));
      await assert.rejects(imprint.runs.discard("run 0"), code("busy"));
      assert.ok(!fake.log.includes("score waits"));
      await run.pause();
      await scored;
      await imprint.forgetEverything();
      assert.deepEqual(await imprint.runs.list(), []);
    });

    it("an error of learning reaches done, and the engine goes on", async () => {
      fake.instead.learn = async () => Promise.reject(coded("nothing-learned", "no better"));
      const run = imprint.learn("a");
      await assert.rejects(run.done, { code: "nothing-learned", message: "no better" });
      assert.equal(run.state, "failed");
      await run.pause();
      await imprint.score("after");
    });

    it("an adapter is used, renamed, scored with and deleted", async () => {
      const { id } = await imprint.learn("a", { name: "Mine" }).done;
      await imprint.adapters.use(id, { strength: 1.5 });
      assert.equal(imprint.adapters.current, id);
      await imprint.adapters.rename(id, "Yours");
      assert.equal((await imprint.adapters.list())[0]?.name, "Yours");
      await imprint.score("a", { adapter: id });
      await imprint.score("a", { adapter: null });
      await imprint.adapters.delete(id);
      assert.equal(imprint.adapters.current, null);
      assert.deepEqual(fake.log.slice(1), [
        `use ${id} 1.5`,
        `score a with ${id}`,
        "score a with null",
        "use null undefined",
      ]);
      await assert.rejects(imprint.adapters.use(id), code("invalid-option"));
      assert.equal(imprint.adapters.current, null);
    });

    it("several adapters speak at once, and with one of them gone none does", async () => {
      const [one, two] = [await imprint.learn("a").done, await imprint.adapters.import(new Blob(["GGUF"]))];
      const mix = [
        { id: one.id, weight: 0.7 },
        { id: two.id, weight: 0.3 },
      ];
      await imprint.adapters.use(mix, { strength: 2 });
      assert.deepEqual(imprint.adapters.current, mix);
      assert.equal(fake.log.at(-1), `use ${JSON.stringify(mix)} 2`);
      await assert.rejects(imprint.adapters.use([{ id: "nobody", weight: 1 }]), code("invalid-option"));
      assert.deepEqual(imprint.adapters.current, mix);
      await imprint.adapters.delete(two.id);
      assert.equal(imprint.adapters.current, null);
      assert.equal(fake.log.at(-1), "use null undefined");
      await imprint.adapters.use(mix.slice(0, 1));
      await imprint.adapters.delete("another");
      assert.deepEqual(imprint.adapters.current, mix.slice(0, 1));
    });

    it("llama.cpp's file goes out and comes in again as it is", async () => {
      const { id } = await imprint.learn("a", { name: "Mine" }).done;
      const file = await imprint.adapters.export(id, { format: "gguf" });
      assert.equal(await file.text(), `GGUF of ${id}`);
      const again = await imprint.adapters.import(file);
      assert.deepEqual([again.id, again.name], [`imported GGUF of ${id}`, "Untitled"]);
      assert.equal((await imprint.adapters.import(file, { name: "Other" })).name, "Other");
      await assert.rejects(imprint.adapters.export("nobody", { format: "gguf" }), code("invalid-option"));
    });

    it("an exported adapter can be imported, also as a folder's files", async () => {
      const { id } = await imprint.learn("a", { name: "Mine" }).done;
      const archive = await imprint.adapters.export(id);
      const again = await imprint.adapters.import(archive);
      assert.deepEqual([again.id, again.name, again.prints], ["imported {} 1,2,3", "Mine", true]);
      assert.equal(fake.log.at(-1), "prints 4,5");
      const config = new Blob(["{}"]);
      const weights = new Blob([new Uint8Array([7])]);
      const apart = await imprint.adapters.import({ config, weights }, { name: "Other" });
      assert.deepEqual([apart.id, apart.name, apart.prints], ["imported {} 7", "Other", false]);
    });

    it("a folder packed by another program is read, and what is no adapter is refused", async () => {
      const pack = (files: Record<string, string>): Blob =>
        new Blob([zipSync(Object.fromEntries(Object.entries(files).map(([n, t]) => [n, strToU8(t)])))]);
      const packed = pack({
        "mine/adapter_config.json": "{}",
        "mine/adapter_model.safetensors": "\u0001",
        "mine/imprint.json": "not JSON",
        "mine/README.md": "more",
      });
      assert.equal((await imprint.adapters.import(packed)).id, "imported {} 1");
      await assert.rejects(imprint.adapters.import(new Blob(["a letter"])), code("adapter-corrupt"));
      const half = pack({ "adapter_config.json": "{}" });
      await assert.rejects(imprint.adapters.import(half), code("adapter-corrupt"));
    });
  });
}
