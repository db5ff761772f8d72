import { Adapters } from "./adapters.js";
import type { Engine, StoredModel } from "./engine.js";
import { endEngine, forgetAll, startEngine, type WorkerChoice } from "./engines.js";
import { Runs } from "./learning.js";
import { located } from "./models.js";
import type { StorageUsage } from "./voice.js";

/**
 * What this browser keeps for Imprint, without a model in memory: to list, rename, export and remove it.
 *
 * Using or importing an adapter and going on with a run need a model, and reject here.
 */
export class Library {
  /** The adapters that this browser keeps. */
  readonly adapters: Adapters;
  /** The runs of learning that can go on. */
  readonly runs: Runs;
  readonly #engine: Engine;

  private constructor(engine: Engine) {
    this.#engine = engine;
    this.adapters = new Adapters(engine);
    this.runs = new Runs(engine);
  }

  /** Opens it; the module is fetched with the first question. */
  static open({ worker = true }: { worker?: WorkerChoice } = {}): Library {
    return new Library(startEngine(worker));
  }

  /** Lists the models kept in this browser. */
  models(): Promise<StoredModel[]> {
    return this.#engine.run("storedModels", null);
  }

  /** Removes a model by its address or id; with `hash` also what later downloads from there are held to. */
  async forgetModel(model: string | URL, { hash = false }: { hash?: boolean } = {}): Promise<void> {
    await this.#engine.run("forgetModel", { url: located(model).url, hash });
  }

  /** Tells how much this browser keeps for Imprint. */
  storageUsage(): Promise<StorageUsage> {
    return this.#engine.run("storageUsage", null);
  }

  /** Removes everything that Imprint keeps in this browser; rejects with `busy` while any tab learns. */
  async forgetEverything(): Promise<void> {
    await forgetAll(this.#engine);
  }

  /** Ends the Worker. */
  close(): Promise<void> {
    return endEngine(this.#engine);
  }
}
