import type { CommandName, Commands } from "./engine.js";
import { toWire, type Reply, type Request, type Wish } from "./protocol.js";
import { Runner } from "./runner.js";
import type { WasmModule } from "./wasm.js";

/** The part of a worker's global scope that serving needs. */
export interface Scope {
  postMessage(message: Reply): void;
  addEventListener(type: "message", listener: (event: { data: Request }) => void): void;
  addEventListener(type: "error", listener: (event: { message: string }) => void): void;
  addEventListener(type: "unhandledrejection", listener: (event: { reason: unknown }) => void): void;
}

/** Answers the commands that arrive in `scope`; each gets exactly one `done` or `error`. */
export function serve(scope: Scope, load: () => Promise<WasmModule>): void {
  const runner = new Runner(load);
  const running = new Map<number, Record<Wish, AbortController>>();

  scope.addEventListener("message", ({ data }) => {
    if (data.type === "command") void answer(data.id, data.name, data.params);
    else running.get(data.id)?.[data.type].abort();
  });
  // A panic in a task that wasm started by itself settles no promise: it shows up here only.
  const crash = (cause: unknown): void => {
    runner.crash(cause);
    scope.postMessage({
      id: null,
      type: "crash",
      message: cause instanceof Error ? cause.message : String(cause),
    });
  };
  scope.addEventListener("error", (event) => crash(event.message));
  scope.addEventListener("unhandledrejection", (event) => crash(event.reason));

  async function answer(
    id: number,
    name: CommandName,
    params: Commands[CommandName]["params"],
  ): Promise<void> {
    const wishes = { cancel: new AbortController(), pause: new AbortController() };
    running.set(id, wishes);
    try {
      const result = await runner.run(name, params, {
        signal: wishes.cancel.signal,
        pause: wishes.pause.signal,
        onProgress: (progress) => scope.postMessage({ id, type: "progress", progress }),
      });
      scope.postMessage({ id, type: "done", result });
    } catch (thrown) {
      scope.postMessage({ id, type: "error", error: toWire(thrown) });
    } finally {
      running.delete(id);
    }
  }
}
