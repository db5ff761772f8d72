import uPlot from "uplot";
import { words } from "../words/words.js";
import { count, rate } from "./format.js";
import { Plot, quietAxis, type Colour, type Drawing } from "./plot.js";

/** Points of a curve: the step, and the mean negative log-likelihood of a token there, in nats. */
export type Curve = readonly (readonly [step: number, nll: number])[];

const HEIGHT = 220;

/** Draws how learning goes: the loss of each step, and that of the text held out. */
export class LossChart {
  readonly #box: HTMLElement;
  readonly #plot: Plot;
  /** Steps planned: the chart's width from the beginning. */
  #steps = 1;

  constructor(box: HTMLElement) {
    this.#box = box;
    this.#plot = new Plot(box, HEIGHT, (colour) => this.#drawing(colour));
  }

  /** Shows these curves of a run of so many steps; what a person cannot see stands in `aria-label`. */
  show(learned: Curve, heldOut: Curve, steps: number): void {
    this.#steps = Math.max(1, steps);
    this.#box.ariaLabel = describe(learned, heldOut);
    const columns = (curve: Curve): uPlot.AlignedData => [curve.map(([x]) => x), curve.map(([, y]) => y)];
    this.#plot.show(uPlot.join([columns(smooth(learned)), columns(heldOut)]));
  }

  /** Frees the canvas. */
  close(): void {
    this.#plot.close();
  }

  #drawing(colour: Colour): ReturnType<Drawing> {
    const axis = quietAxis(colour);
    return {
      cursor: { drag: { x: false, y: false } },
      scales: { x: { time: false, range: () => [0, this.#steps] } },
      axes: [
        { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] },
        { ...axis, size: 44 },
      ],
      series: [
        { label: words().teacher.loss.step },
        {
          label: words().teacher.loss.learning,
          stroke: colour("--edge"),
          width: 1.5,
          spanGaps: true,
          value: figure,
          points: { show: false },
        },
        {
          label: words().teacher.loss.heldOut,
          stroke: colour("--accent"),
          width: 2.5,
          spanGaps: true,
          value: figure,
          points: { show: true, size: 7, fill: colour("--accent") },
        },
      ],
    };
  }
}

/** A mean that runs along: single steps of a small batch jump about. */
function smooth(curve: Curve): Curve {
  let mean = curve[0]?.[1] ?? 0;
  return curve.map(([step, nll]) => [step, (mean += (nll - mean) * 0.3)] as const);
}

function figure(_: uPlot, value: number | null): string {
  return value === null ? "–" : rate(value, 3);
}

function describe(learned: Curve, heldOut: Curve): string {
  const [first, last] = [heldOut[0], heldOut.at(-1)];
  const said = words().teacher.loss;
  const steps = said.steps(count(learned.length));
  if (!first || !last) return `${steps} ${said.nothing}`;
  return `${steps} ${said.measured(rate(first[1], 3), rate(last[1], 3))}`;
}
