import { Calls } from "./calls.js";
import type { CallOptions, CommandName, Commands, Engine } from "./engine.js";
import { fromWire, type Reply, type Request } from "./protocol.js";
import { requests } from "./requests.js";
import { crashError } from "./runner.js";

/** The part of `Worker` that the engine needs. */
export interface Port {
  postMessage(message: Request): void;
  addEventListener(type: "message", listener: (event: { data: Reply }) => void): void;
  addEventListener(
    type: "error",
    listener: (event: { message?: string; preventDefault?(): void }) => void,
  ): void;
  addEventListener(type: "messageerror", listener: (event: object) => void): void;
  terminate(): void;
}

/** Runs the model in a Worker, so that the page stays quick. */
export class WorkerEngine implements Engine {
  readonly #port: Port;
  readonly #owned: boolean;
  readonly #calls = new Calls({
    send: (id, name, params) =>
      this.#port.postMessage({ id, type: "command", name, params } as Request & { type: "command" }),
    tell: (id, type) => this.#port.postMessage({ id, type }),
  });

  /** Speaks to the worker behind `port`; an owned worker ends with the engine. */
  constructor(port: Port, owned: boolean) {
    this.#port = port;
    this.#owned = owned;
    port.addEventListener("message", ({ data }) => this.#hear(data));
    port.addEventListener("messageerror", () => this.#crash("an answer could not be read"));
    port.addEventListener("error", (event) => {
      event.preventDefault?.();
      // A script that could not be fetched or read gives an event without a message.
      this.#crash(event.message || "the worker's script could not be started");
    });
  }

  run<Name extends CommandName>(
    name: Name,
    params: Commands[Name]["params"],
    options?: CallOptions<Name>,
  ): Promise<Commands[Name]["result"]> {
    return this.#calls.run(name, params, options);
  }

  async close(): Promise<void> {
    await this.#calls.close();
    if (this.#owned) this.#port.terminate();
  }

  #hear(reply: Reply): void {
    if (reply.type === "progress") this.#calls.progress(reply.id, reply.progress);
    else if (reply.type === "done") this.#calls.resolve(reply.id, reply.result);
    else if (reply.type === "error") this.#calls.reject(reply.id, fromWire(reply.error));
    else if (reply.type === "requests") requests.add(reply.requests);
    else this.#crash(reply.message);
  }

  #crash(detail: string): void {
    this.#calls.end(crashError(detail));
    if (this.#owned) this.#port.terminate();
  }
}
