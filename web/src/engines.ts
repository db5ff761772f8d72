import type { Engine } from "./engine.js";
import { ImprintError } from "./errors.js";
import { keyring } from "./keyring.js";
import { LocalEngine } from "./local-engine.js";
import type { WasmModule } from "./wasm.js";
import { WorkerEngine, type Port } from "./worker-engine.js";

/** Where the model runs: a Worker of our own (the default), this thread, your Worker, or one from a URL. */
export type WorkerChoice = boolean | Worker | URL;

/** What an engine is made of where a person names no Worker. */
export type Own = {
  /** The Worker's script, beside this one. */
  script: string;
  /** Starts the Worker. */
  start(): Worker;
  /** Loads the module for this thread. */
  load(): Promise<WasmModule>;
};

/** The whole module, which learns too. */
const whole: Own = {
  script: "./worker.js",
  // Bundlers look for this very expression.
  start: () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" }),
  // Pages that use a Worker never fetch the module's script for their own thread.
  load: async () => (await import("./wasm.js")).loadWasm(),
};

/** Starts an engine, which finds what is kept unlocked if it is. */
export function startEngine(worker: WorkerChoice, own: Own = whole): Engine {
  const engine = make(worker, own);
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

function make(worker: WorkerChoice, own: Own): Engine {
  if (worker === false) return new LocalEngine(own.load);
  if (worker === true) return new WorkerEngine(startWorker(own) as Port, true);
  if (worker instanceof URL) return new WorkerEngine(startWorker(own, worker) as Port, true);
  return new WorkerEngine(worker as Port, false);
}

/** Where this script comes from; in a name of its own, where no bundler takes it for the address of a file. */
const here: string = import.meta.url;

function startWorker(own: Own, url?: URL): Worker {
  try {
    return url ? new Worker(url, { type: "module" }) : own.start();
  } catch (thrown) {
    const script = url ?? (URL.canParse(own.script, here) ? new URL(own.script, here) : undefined);
    if (script && script.origin !== globalThis.location?.origin) return foreignWorker(script);
    throw new ImprintError("internal", `the worker could not be made: ${String(thrown)}`, { cause: thrown });
  }
}

/** Browsers start Workers of the page's own origin only; one from elsewhere is imported by a script of a line. */
function foreignWorker(url: URL): Worker {
  const script = `import ${JSON.stringify(url.href)};`;
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  try {
    return new Worker(address, { type: "module" });
  } finally {
    // The browser has taken the address in by the time it answers, or never will.
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
}
