/** Span over which speed is measured: long enough to be calm, short enough to follow a change. */
const WINDOW_MS = 4_000;

/** Measures the speed of a growing count over the last seconds. */
export class Pace {
  readonly #marks: { atMs: number; done: number }[] = [];

  /** Notes how far the count is. */
  mark(done: number, atMs: number): void {
    this.#marks.push({ atMs, done });
    while (this.#marks.length > 2 && atMs - (this.#marks[1]?.atMs ?? atMs) > WINDOW_MS) this.#marks.shift();
  }

  /** Counts a second, or 0 while too little is known. */
  get perSecond(): number {
    const first = this.#marks[0];
    const last = this.#marks.at(-1);
    if (!first || !last || last.atMs - first.atMs < 250) return 0;
    return ((last.done - first.done) / (last.atMs - first.atMs)) * 1000;
  }
}
