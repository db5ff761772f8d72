import uPlot from "uplot";
import { label, type Rhythm, type Spread } from "./measures.js";
import { Plot, quietAxis, type Colour, type Drawing } from "./plot.js";

/** Whose rhythm is drawn: the author as a ground, the base model and the voice as lines upon it. */
export type Side = "author" | "base" | "voice";
export const sides: readonly Side[] = ["author", "base", "voice"];

/** The rhythms known so far. */
export type Rhythms = Partial<Record<Side, Rhythm>>;

const SPREAD_HEIGHT = 200;
const BEAT_HEIGHT = 72;

/** The colours of the sides, the same in all pictures and in their legend. */
const strokes: Record<Side, string> = { author: "--soft", base: "--edge", voice: "--accent" };

/** How long sentences or words are: the share of each length, the three sides over one another. */
export class SpreadPlot {
  readonly #plot: Plot;
  #labels: Pick<Spread, "shares" | "width"> = { shares: [], width: 1 };

  constructor(box: HTMLElement) {
    this.#plot = new Plot(box, SPREAD_HEIGHT, (colour) => this.#drawing(colour));
  }

  /** Shows the spreads that are known. */
  show(spreads: Partial<Record<Side, Spread>>): void {
    const some = sides.map((side) => spreads[side]).find((spread) => spread !== undefined);
    if (!some) return;
    this.#labels = some;
    const columns = sides.map((side) => shares(spreads[side], some.shares.length));
    this.#plot.show([some.shares.map((_, at) => at), ...columns]);
  }

  close(): void {
    this.#plot.close();
  }

  #drawing(colour: Colour): ReturnType<Drawing> {
    const axis = quietAxis(colour);
    return {
      cursor: { show: false },
      legend: { show: false },
      scales: {
        x: { time: false, range: (_, from, to) => [from - 0.4, to + 0.4] },
        y: { range: (_, __, most) => [0, Math.max(0.1, most) * 1.08] },
      },
      axes: [
        {
          ...axis,
          size: 28,
          grid: { show: false },
          incrs: [1, 2, 3, 4],
          space: this.#labels.width === 1 ? 24 : 44,
          values: (_, places) =>
            places.map((at) => (this.#labels.shares[at] === undefined ? "" : label(this.#labels, at))),
        },
        { ...axis, size: 48, values: (_, values) => values.map((value) => `${Math.round(value * 100)} %`) },
      ],
      series: [{}, ...sides.map((side) => this.#series(side, colour))],
    };
  }

  #series(side: Side, colour: Colour): uPlot.Series {
    const stroke = colour(strokes[side]);
    const points = { show: false };
    if (side === "author") return { stroke, width: 1, fill: colour("--line"), points };
    if (side === "base") return { stroke, width: 2, dash: [5, 4], points };
    return { stroke, width: 2.5, points: { show: true, size: 6, fill: stroke } };
  }
}

/** One sentence after another, each as a bar as high as it has words. */
export class BeatPlot {
  readonly #plot: Plot;
  #most = 1;
  #bars = 1;

  constructor(box: HTMLElement, side: Side) {
    this.#plot = new Plot(box, BEAT_HEIGHT, (colour) => ({
      cursor: { show: false },
      legend: { show: false },
      padding: [4, 0, 0, 0],
      scales: {
        x: { time: false, range: () => [-0.6, this.#bars - 0.4] },
        y: { range: () => [0, this.#most] },
      },
      axes: [{ show: false }, { show: false }],
      series: [
        {},
        {
          fill: colour(strokes[side]),
          width: 0,
          points: { show: false },
          ...(uPlot.paths.bars ? { paths: uPlot.paths.bars({ size: [0.62, 24], radius: 0.2 }) } : {}),
        },
      ],
    }));
  }

  /** Shows a beat beside others of so many sentences and words at most, so that equal bars mean equal sentences. */
  show(beat: readonly number[], { sentences, words }: { sentences: number; words: number }): void {
    this.#bars = Math.max(1, sentences);
    this.#most = Math.max(1, words);
    this.#plot.show([beat.map((_, at) => at), [...beat]]);
  }

  close(): void {
    this.#plot.close();
  }
}

function shares(spread: Spread | undefined, stretches: number): (number | null)[] {
  if (spread && spread.count > 0) return spread.shares;
  return new Array<null>(stretches).fill(null);
}
