import type { Engine } from "./engine.js";
import { ImprintError } from "./errors.js";
import { keyring } from "./keyring.js";
import { LocalEngine } from "./local-engine.js";
import { WorkerEngine, type Port } from "./worker-engine.js";

/** Where the model runs: a Worker of our own (the default), this thread, your Worker, or one from a URL. */
export type WorkerChoice = boolean | Worker | URL;

/** Starts an engine, which finds what is kept unlocked if it is. */
export function startEngine(worker: WorkerChoice): Engine {
  const engine = make(worker);
  keyring.join(engine);
  return engine;
}

/** Ends an engine. */
export function endEngine(engine: Engine): Promise<void> {
  keyring.leave(engine);
  return engine.close();
}

/** Asks an engine made for one question. */
export async function once<T>(worker: WorkerChoice, ask: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = startEngine(worker);
  try {
    return await ask(engine);
  } finally {
    void endEngine(engine);
  }
}

/** Removes everything that is kept, and with it the passphrase. */
export async function forgetAll(engine: Engine): Promise<void> {
  await engine.run("forgetEverything", null);
  await keyring.drop();
  keyring.changed();
}

function make(worker: WorkerChoice): Engine {
  if (worker === false) {
    // Pages that use a Worker never fetch the module's script for their own thread.
    return new LocalEngine(async () => (await import("./wasm.js")).loadWasm());
  }
  if (worker === true) return new WorkerEngine(startWorker() as Port, true);
  if (worker instanceof URL) return new WorkerEngine(startWorker(worker) as Port, true);
  return new WorkerEngine(worker as Port, false);
}

function startWorker(url?: URL): Worker {
  try {
    // Bundlers look for this very expression.
    if (!url) return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    return new Worker(url, { type: "module" });
  } catch (thrown) {
    throw new ImprintError("internal", `the worker could not be made: ${String(thrown)}`, { cause: thrown });
  }
}
