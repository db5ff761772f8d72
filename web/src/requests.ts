/** Who asked for a file: the page, a Worker that runs the model, or the service worker that keeps the page. */
export type Asker = "page" | "worker" | "service-worker";

/** A request as the browser tells of it. */
export type SeenRequest = {
  /** The whole address. */
  url: string;
  /** What asked for it, in the browser's word: `script`, `link`, `fetch`, `navigation` … */
  kind: string;
  by: Asker;
  /** What came over the network; 0 where the browser's own cache or the service worker had it. */
  receivedBytes: number;
  /** When, in milliseconds since 1970. */
  atMs: number;
};

/** Tells of every request of this thread from its beginning on; where the browser does not tell, of none. */
export function watchRequests(by: Asker, tell: (seen: SeenRequest[]) => void): void {
  if (typeof PerformanceObserver === "undefined") return;
  const observer = new PerformanceObserver((list) => {
    tell(
      list.getEntries().map((entry) => {
        const { name, initiatorType, transferSize, startTime } = entry as PerformanceResourceTiming;
        const atMs = performance.timeOrigin + startTime;
        return { url: name, kind: initiatorType, by, receivedBytes: transferSize, atMs };
      }),
    );
  });
  for (const type of ["navigation", "resource"]) observer.observe({ type, buffered: true });
}

/** The requests of this page, its Workers and its service worker. Sends `change` when there are more. */
class Requests extends EventTarget {
  #seen: readonly SeenRequest[] = [];
  #watching = false;

  /** All that were seen, the first one first. */
  get seen(): readonly SeenRequest[] {
    return this.#seen;
  }

  /** Sees the page's own from now on, and those before. */
  watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    watchRequests("page", (seen) => this.add(seen));
    globalThis.navigator?.serviceWorker?.addEventListener("message", ({ data }: MessageEvent) => {
      if (data?.type === "requests") this.add(data.requests as SeenRequest[]);
    });
  }

  /** Lets the service worker tell of its own, if one looks after the page. */
  listenToServiceWorker(): void {
    globalThis.navigator?.serviceWorker?.controller?.postMessage({ type: "requests" });
  }

  /** Takes in what another thread has seen, once. */
  add(seen: readonly SeenRequest[]): void {
    const known = new Map([...this.#seen, ...seen].map((one) => [`${one.by} ${one.atMs} ${one.url}`, one]));
    if (known.size === this.#seen.length) return;
    this.#seen = [...known.values()].sort((a, b) => a.atMs - b.atMs);
    this.dispatchEvent(new Event("change"));
  }
}

/** Those of this page. */
export const requests = /* @__PURE__ */ new Requests();
