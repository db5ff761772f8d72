import uPlot from "uplot";

/** Points of a curve: the step, and the mean negative log-likelihood of a token there, in nats. */
export type Curve = readonly (readonly [step: number, nll: number])[];

const HEIGHT = 220;

/** Draws how learning goes: the loss of each step, and that of the text held out. */
export class LossChart {
  readonly #box: HTMLElement;
  readonly #resized: ResizeObserver;
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");
  readonly #recolour = (): void => this.#draw();
  #plot: uPlot | undefined;
  #learned: Curve = [];
  #heldOut: Curve = [];
  /** Steps planned: the chart's width from the beginning. */
  #steps = 1;

  constructor(box: HTMLElement) {
    this.#box = box;
    this.#resized = new ResizeObserver(() => this.#plot?.setSize({ width: box.clientWidth, height: HEIGHT }));
    this.#resized.observe(box);
    this.#dark.addEventListener("change", this.#recolour);
  }

  /** Shows these curves of a run of so many steps; what a person cannot see stands in `aria-label`. */
  show(learned: Curve, heldOut: Curve, steps: number): void {
    this.#learned = learned;
    this.#heldOut = heldOut;
    this.#steps = Math.max(1, steps);
    this.#box.ariaLabel = describe(learned, heldOut);
    if (this.#plot) this.#plot.setData(this.#data());
    else this.#draw();
  }

  /** Frees the canvas. */
  close(): void {
    this.#resized.disconnect();
    this.#dark.removeEventListener("change", this.#recolour);
    this.#plot?.destroy();
    this.#plot = undefined;
  }

  #data(): uPlot.AlignedData {
    const columns = (curve: Curve): uPlot.AlignedData => [curve.map(([x]) => x), curve.map(([, y]) => y)];
    return uPlot.join([columns(smooth(this.#learned)), columns(this.#heldOut)]);
  }

  #draw(): void {
    this.#plot?.destroy();
    const style = getComputedStyle(this.#box);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--soft"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
    };
    this.#plot = new uPlot(
      {
        width: this.#box.clientWidth,
        height: HEIGHT,
        cursor: { drag: { x: false, y: false } },
        scales: { x: { time: false, range: () => [0, this.#steps] } },
        axes: [
          { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] },
          { ...axis, size: 44 },
        ],
        series: [
          { label: "Step" },
          {
            label: "While learning",
            stroke: colour("--edge"),
            width: 1.5,
            spanGaps: true,
            value: figure,
            points: { show: false },
          },
          {
            label: "Held-out text",
            stroke: colour("--accent"),
            width: 2.5,
            spanGaps: true,
            value: figure,
            points: { show: true, size: 7, fill: colour("--accent") },
          },
        ],
      },
      this.#data(),
      this.#box,
    );
  }
}

/** A mean that runs along: single steps of a small batch jump about. */
function smooth(curve: Curve): Curve {
  let mean = curve[0]?.[1] ?? 0;
  return curve.map(([step, nll]) => [step, (mean += (nll - mean) * 0.3)] as const);
}

function figure(_: uPlot, value: number | null): string {
  return value === null ? "–" : value.toFixed(3);
}

function describe(learned: Curve, heldOut: Curve): string {
  const [first, last] = [heldOut[0], heldOut.at(-1)];
  if (!first || !last) return `Loss over ${learned.length} steps; nothing is measured yet.`;
  return `Loss over ${learned.length} steps. On the text held out: ${first[1].toFixed(3)} at first, ${last[1].toFixed(3)} now.`;
}
