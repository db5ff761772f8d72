import { loadWasm } from "../../web/src/wasm.js";
import { serve, type Scope } from "../../web/src/serve.js";

type Listener = (event: never) => void;

/** A listener table in the place of a browser's global scope. */
class Listeners {
  readonly #table = new Map<string, Set<Listener>>();

  add = (type: string, listener: Listener): void => {
    const listeners = this.#table.get(type) ?? new Set();
    this.#table.set(type, listeners.add(listener));
  };

  remove = (type: string, listener: Listener): void => void this.#table.get(type)?.delete(listener);

  tell(type: string, event: object): void {
    for (const listener of this.#table.get(type) ?? []) listener(event as never);
  }
}

/** Stands for a Worker: the real serving code behind a real message channel, in the same process. */
export class FakeWorker {
  static last: FakeWorker | undefined;
  terminated = false;
  readonly #inside = new Listeners();
  readonly #outside = new Listeners();
  readonly #page: MessagePort;
  readonly #worker: MessagePort;

  constructor() {
    FakeWorker.last = this;
    const { port1, port2 } = new MessageChannel();
    this.#page = port1;
    this.#worker = port2;
    port1.onmessage = (event) => this.#outside.tell("message", event);
    port2.onmessage = (event) => this.#inside.tell("message", event);
    serve(
      { postMessage: (message) => port2.postMessage(message), addEventListener: this.#inside.add } as Scope,
      loadWasm,
    );
  }

  postMessage(message: unknown): void {
    this.#page.postMessage(message);
  }

  addEventListener(type: string, listener: Listener): void {
    this.#outside.add(type, listener);
  }

  terminate(): void {
    this.terminated = true;
    this.#page.close();
    this.#worker.close();
  }

  /** An uncaught error inside the worker. */
  raise(error: Error): void {
    this.#inside.tell("error", { error, message: error.message });
  }

  /** An event at the worker object, as the page sees it. */
  tell(type: string, event: object): void {
    this.#outside.tell(type, event);
  }
}

const page = new Listeners();
Object.assign(globalThis, {
  Worker: FakeWorker,
  addEventListener: page.add,
  removeEventListener: page.remove,
});
Object.assign(globalThis, { location: { href: "https://example.test/" } });

/** An uncaught error on the page's thread. */
export function raiseOnPage(error: Error): void {
  page.tell("error", { error, message: error.message });
}
