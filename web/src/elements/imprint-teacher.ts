import type { AdapterInfo, Effort, LearnProgress, RunInfo, TextReport } from "../engine.js";
import { ImprintError } from "../errors.js";
import type { Imprint, LearnRun } from "../imprint.js";
import { ImprintErrorEvent, ImprintLearningEvent, ImprintVoiceEvent } from "./events.js";
import { count, rate, timeLeft } from "./format.js";
import { LossChart } from "./loss-chart.js";
import { part } from "./part.js";

type State = "form" | "run" | "result";
type Point = [step: number, nll: number];

/** How long a person pauses before what they pasted is counted. */
const PAUSE_MS = 500;

const phases: Record<LearnProgress["phase"], string> = {
  read: "Reading your texts",
  measure: "Measuring on the text held out",
  learn: "Learning",
  preview: "Trying the voice",
  save: "Saving",
};

/**
 * Learns a voice from pasted and dropped texts: counts, progress, a chart, pause, resume, cancel, the result in words.
 *
 * Set `imprint` to an open model. Its own content holds the parts; sends `imprint-learning` when learning begins and
 * ends, `imprint-voice` when a voice is saved, and `imprint-error`.
 */
export class ImprintTeacherElement extends HTMLElement {
  #imprint: Imprint | null = null;
  #files: File[] = [];
  #counting: { timer: ReturnType<typeof setTimeout>; stop: AbortController } | undefined;
  #run: LearnRun | undefined;
  #stop: AbortController | undefined;
  #paused = false;
  #chart: LossChart | undefined;
  #learned: Point[] = [];
  #heldOut: Point[] = [];
  #announced = "";

  connectedCallback(): void {
    part(this, "texts", HTMLTextAreaElement).addEventListener("input", () => this.#changed());
    const files = part(this, "files", HTMLInputElement);
    files.addEventListener("change", () => {
      this.#add(files.files);
      files.value = "";
    });
    this.addEventListener("dragover", (event) => event.preventDefault());
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#add(event.dataTransfer?.files);
    });
    this.#button("learn", () => void this.learn());
    this.#button("pause", () => void this.#pause());
    this.#button("resume", () => void this.#resume());
    this.#button("cancel", () => this.#stop?.abort());
    this.#button("another", () => this.#show("form"));
    this.#show("form");
  }

  disconnectedCallback(): void {
    this.#stop?.abort();
    this.#chart?.close();
    this.#chart = undefined;
  }

  /** The model that learns, if one is open. */
  get imprint(): Imprint | null {
    return this.#imprint;
  }

  set imprint(imprint: Imprint | null) {
    this.#imprint = imprint;
    this.#changed();
  }

  /** Whether a run is going on or waits to be resumed here. */
  get learning(): boolean {
    return this.#run !== undefined;
  }

  /** Learns from the texts in the form; returns when it ended. Errors are shown, not thrown. */
  async learn(): Promise<void> {
    if (!this.#imprint || this.#run) return;
    const texts = this.#texts();
    const name = part(this, "name", HTMLInputElement).value.trim() || "My voice";
    const effort = (this.querySelector<HTMLInputElement>("[name=imprint-effort]:checked")?.value ??
      "normal") as Effort;
    this.#stop = new AbortController();
    this.#learned = [];
    this.#heldOut = [];
    await this.#follow(
      this.#imprint.learn(texts, {
        name,
        effort,
        signal: this.#stop.signal,
        onProgress: (progress) => this.#progress(progress),
      }),
    );
  }

  /** Goes on with a run that was interrupted, in this visit or an earlier one. */
  async resume(run: RunInfo): Promise<void> {
    if (!this.#imprint || this.#run) return;
    this.#stop = new AbortController();
    this.#learned = [...run.losses];
    this.#heldOut = [...run.heldOut];
    await this.#follow(
      this.#imprint.runs.resume(run.id, {
        signal: this.#stop.signal,
        onProgress: (progress) => this.#progress(progress),
      }),
    );
  }

  async #follow(run: LearnRun): Promise<void> {
    this.#run = run;
    this.#paused = false;
    this.#error();
    this.#show("run");
    this.#phase("Reading your texts", "");
    part(this, "preview", HTMLElement).hidden = true;
    this.#chart ??= new LossChart(part(this, "chart", HTMLElement));
    this.#chart.show(this.#learned, this.#heldOut);
    this.#buttons();
    this.dispatchEvent(new ImprintLearningEvent(true));
    try {
      this.#finished(await run.done);
    } catch (thrown) {
      this.#broke(ImprintError.from(thrown));
    }
    this.#run = undefined;
    this.dispatchEvent(new ImprintLearningEvent(false));
  }

  #finished(adapter: AdapterInfo): void {
    part(this, "verdict", HTMLElement).textContent = verdict(adapter);
    part(this, "copied", HTMLElement).textContent = copied(adapter);
    this.#show("result");
    this.#announce(`The voice ${adapter.name} is learned and saved. ${verdict(adapter)}`);
    this.dispatchEvent(new ImprintVoiceEvent(adapter));
  }

  #broke(error: ImprintError): void {
    this.#show("form");
    if (error.code === "cancelled") {
      this.#announce("Stopped; nothing was saved.");
    } else if (this.dispatchEvent(new ImprintErrorEvent(error))) {
      this.#error(error);
    }
  }

  async #pause(): Promise<void> {
    this.#phase("Pausing", "The state is being saved.");
    await this.#run?.pause();
    this.#paused = true;
    this.#phase("Paused", "Saved in this browser: go on now, or after closing the page.");
    this.#announce("Paused and saved.");
    this.#buttons();
  }

  async #resume(): Promise<void> {
    this.#paused = false;
    this.#buttons();
    this.#announce("Learning goes on.");
    await this.#run?.resume();
  }

  #progress(progress: LearnProgress): void {
    if (this.#paused) return;
    const { phase, step, steps, loss, heldOut, preview } = progress;
    if (loss !== undefined) put(this.#learned, [step, loss]);
    if (heldOut !== undefined) put(this.#heldOut, [step, heldOut]);
    if (loss !== undefined || heldOut !== undefined) this.#chart?.show(this.#learned, this.#heldOut);
    const bar = part(this, "bar", HTMLProgressElement);
    if (steps > 0) bar.value = step / steps;
    else bar.removeAttribute("value");
    this.#phase(phases[phase], figures(progress));
    if (preview) {
      part(this, "preview", HTMLElement).hidden = false;
      part(this, "preview-text", HTMLElement).textContent = preview;
    }
    const quarter = steps > 0 ? Math.floor((step / steps) * 4) * 25 : 0;
    this.#announce(quarter > 0 ? `${phases[phase]}, ${quarter} percent` : phases[phase]);
  }

  #texts(): (string | File)[] {
    const pasted = part(this, "texts", HTMLTextAreaElement).value;
    return [...(pasted.trim() === "" ? [] : [pasted]), ...this.#files];
  }

  #add(files: FileList | undefined | null): void {
    if (!files?.length) return;
    this.#files.push(...files);
    const list = part(this, "documents", HTMLElement);
    list.replaceChildren(...this.#files.map((file) => this.#document(file)));
    this.#changed();
  }

  #document(file: File): HTMLElement {
    const row = document.createElement("li");
    const remove = document.createElement("button");
    Object.assign(remove, { type: "button", className: "quiet", textContent: "Remove", ariaLabel: `Remove ${file.name}` });
    remove.addEventListener("click", () => {
      this.#files = this.#files.filter((other) => other !== file);
      row.remove();
      this.#changed();
    });
    row.append(file.name, remove);
    return row;
  }

  /** Counts anew once the person pauses. */
  #changed(): void {
    clearTimeout(this.#counting?.timer);
    this.#counting?.stop.abort();
    this.#buttons();
    const stop = new AbortController();
    this.#counting = { stop, timer: setTimeout(() => void this.#count(stop.signal), PAUSE_MS) };
  }

  async #count(signal: AbortSignal): Promise<void> {
    const counts = part(this, "counts", HTMLElement);
    const dropped = part(this, "dropped", HTMLElement);
    const texts = this.#texts();
    dropped.replaceChildren();
    if (!this.#imprint || this.#run || texts.length === 0) {
      counts.textContent = this.#imprint ? "" : "Load the model first: it does the learning.";
      return;
    }
    try {
      const report = await this.#imprint.prepare(texts, { signal });
      counts.textContent = summary(report);
      dropped.replaceChildren(...report.dropped.map(({ sentence }) => item(sentence)));
      this.#error();
    } catch (thrown) {
      const error = ImprintError.from(thrown);
      if (error.code === "cancelled") return;
      counts.textContent = "";
      this.#error(error);
    }
  }

  #buttons(): void {
    part(this, "learn", HTMLButtonElement).disabled = !this.#imprint || this.#texts().length === 0;
    part(this, "pause", HTMLButtonElement).hidden = this.#paused;
    part(this, "resume", HTMLButtonElement).hidden = !this.#paused;
  }

  #phase(title: string, line: string): void {
    part(this, "phase", HTMLElement).textContent = title;
    part(this, "figures", HTMLElement).textContent = line;
  }

  #show(state: State): void {
    this.dataset["state"] = state;
    for (const name of ["form", "run", "result"]) part(this, name, HTMLElement).hidden = name !== state;
  }

  #error(error?: ImprintError): void {
    const shown = part(this, "error", HTMLElement);
    shown.hidden = error === undefined;
    part(this, "advice", HTMLElement).textContent = error?.advice ?? "";
    part(this, "detail", HTMLElement).textContent = error?.message ?? "";
    if (error) shown.dataset["code"] = error.code;
    else delete shown.dataset["code"];
  }

  #announce(sentence: string): void {
    if (sentence === this.#announced) return;
    this.#announced = sentence;
    part(this, "live", HTMLElement).textContent = sentence;
  }

  #button(name: string, onClick: () => void): void {
    part(this, name, HTMLButtonElement).addEventListener("click", onClick);
  }
}

/** Adds a point, or replaces the last one of the same step. */
function put(curve: Point[], point: Point): void {
  if (curve.at(-1)?.[0] === point[0]) curve.pop();
  curve.push(point);
}

function item(sentence: string): HTMLElement {
  const made = document.createElement("li");
  made.textContent = sentence;
  return made;
}

function summary({ words, tokens, passages, heldOutTokens, enough }: TextReport): string {
  const line = `${count(words)} words, ${count(tokens)} tokens in ${count(passages)} passages; ${count(heldOutTokens)} tokens are held out to measure on.`;
  return enough ? line : `${line} That is too little to learn from: at least 512 tokens are needed.`;
}

function figures({ step, steps, tokensPerS, secondsLeft }: LearnProgress): string {
  const line = steps > 0 ? [`step ${count(step)} of ${count(steps)}`] : [];
  if (tokensPerS !== undefined && tokensPerS > 0) line.push(`${rate(tokensPerS)} tokens/s`);
  if (secondsLeft !== undefined) line.push(`${timeLeft(secondsLeft)} left`);
  return line.join(" · ");
}

/** What was gained, as a sentence. */
export function verdict({ measures }: AdapterInfo): string {
  if (!measures) return "It came from a file; nothing was measured here.";
  const { bitsPerCharBefore: before, bitsPerCharAfter: after } = measures;
  const gain = ((before - after) / before) * 100;
  return `It foresees your held-out text ${gain.toFixed(1)} % better than the base model: ${after.toFixed(3)} bits a character, ${before.toFixed(3)} before.`;
}

function copied({ measures }: AdapterInfo): string {
  if (!measures) return "";
  const { copiedShare, longestCopiedRun } = measures;
  if (copiedShare === 0) return `It copies nothing: its longest run from your texts has ${longestCopiedRun} words.`;
  return `${(copiedShare * 100).toFixed(1)} % of its eight-word runs stand in your texts; the longest has ${longestCopiedRun} words.`;
}
