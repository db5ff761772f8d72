import uPlot from "uplot";

/** Gives the page's colour of a name, such as `--accent`, as it is now. */
export type Colour = (name: string) => string;

/** What a plot is drawn from, with the page's colours. */
export type Drawing = (colour: Colour) => Omit<uPlot.Options, "width" | "height">;

/** A plot in the page's colours: as wide as its box, and drawn anew when light turns to dark. */
export class Plot {
  readonly #box: HTMLElement;
  readonly #height: number;
  readonly #drawing: Drawing;
  readonly #resized: ResizeObserver;
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");
  readonly #recolour = (): void => this.#draw();
  #plot: uPlot | undefined;
  #data: uPlot.AlignedData = [[]];

  constructor(box: HTMLElement, height: number, drawing: Drawing) {
    this.#box = box;
    this.#height = height;
    this.#drawing = drawing;
    this.#resized = new ResizeObserver(() => this.#plot?.setSize({ width: box.clientWidth, height }));
    this.#resized.observe(box);
    this.#dark.addEventListener("change", this.#recolour);
  }

  /** Shows these numbers: the places first, then a column for each series. */
  show(data: uPlot.AlignedData): void {
    this.#data = data;
    if (this.#plot) this.#plot.setData(data);
    else this.#draw();
  }

  /** Frees the canvas. */
  close(): void {
    this.#resized.disconnect();
    this.#dark.removeEventListener("change", this.#recolour);
    this.#plot?.destroy();
    this.#plot = undefined;
  }

  #draw(): void {
    this.#plot?.destroy();
    const style = getComputedStyle(this.#box);
    const drawn = this.#drawing((name) => style.getPropertyValue(name).trim());
    this.#plot = new uPlot(
      { ...drawn, width: this.#box.clientWidth, height: this.#height },
      this.#data,
      this.#box,
    );
  }
}

/** An axis with quiet lines. */
export function quietAxis(colour: Colour): uPlot.Axis {
  return {
    stroke: colour("--soft"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    font: "12px system-ui, sans-serif",
  };
}
