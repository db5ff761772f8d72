import { ImprintError } from "../errors.js";
import type { Imprint } from "../imprint.js";
import type { LearningOptions, LearningRun } from "../learning.js";
import type {
  AdapterInfo,
  Copied,
  Effort,
  LearnProgress,
  Loss,
  Measures,
  RunInfo,
  TextCounts,
} from "../voice.js";
import { ImprintErrorEvent, ImprintLearningEvent, ImprintVoiceEvent } from "./events.js";
import { count, megabytes, rate, timeLeft } from "./format.js";
import { LossChart } from "./loss-chart.js";
import { part } from "./part.js";
import { showError } from "./trouble.js";
import { onLanguage, words } from "../words/words.js";

/** Quiet after the last change before the texts are read for their counts. */
const pauseMs = 400;

type State = "form" | "run" | "result";
type Point = readonly [step: number, nll: number];

/**
 * Learns a voice from pasted and dropped texts: counts, progress, a chart, pause, resume, cancel, the result in words.
 *
 * Set `imprint` to an open model. Its own content holds the parts; sends `imprint-learning` when learning begins and
 * ends, `imprint-voice` when a voice is saved, and `imprint-error`.
 */
export class ImprintTeacherElement extends HTMLElement {
  #imprint: Imprint | null = null;
  #files: File[] = [];
  #run: LearningRun | undefined;
  #stop: AbortController | undefined;
  #chart: LossChart | undefined;
  #learned: Point[] = [];
  #heldOut: Point[] = [];
  #announced = "";
  #waiting: ReturnType<typeof setTimeout> | undefined;
  /** Counts changes, so that an answer about older texts is not shown. */
  #changes = 0;
  #given: readonly (string | File)[] | undefined;
  #learnedLast: AdapterInfo | undefined;
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    part(this, "texts", HTMLTextAreaElement).addEventListener("input", () => this.#changed());
    const files = part(this, "files", HTMLInputElement);
    files.addEventListener("change", () => {
      this.add(files.files);
      files.value = "";
    });
    this.addEventListener("dragover", (event) => event.preventDefault());
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      this.add(event.dataTransfer?.files);
    });
    for (const choice of this.querySelectorAll("[name=imprint-effort]"))
      choice.addEventListener("change", () => this.#changed());
    this.#button("learn", () => void this.learn());
    this.#button("pause", () => void this.pause());
    this.#button("resume", () => this.#resume());
    this.#button("cancel", () => this.#stop?.abort());
    this.#button("another", () => this.#show("form"));
    this.#deaf ??= onLanguage(() => {
      this.#changed();
      if (this.#learnedLast) this.#tell(this.#learnedLast);
    });
    this.#show("form");
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
    clearTimeout(this.#waiting);
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

  /** The texts that the last run here learned from, where it began here. */
  get given(): readonly (string | File)[] | undefined {
    return this.#given;
  }

  /** Whether a run is going on, or is paused here. */
  get learning(): boolean {
    return this.#run !== undefined;
  }

  /** Learns from the texts in the form; returns when it ended. Errors are shown, not thrown. */
  async learn(): Promise<void> {
    const imprint = this.#imprint;
    if (!imprint || this.#run) return;
    const name = part(this, "name", HTMLInputElement).value.trim() || words().teacher.unnamed;
    const keepTexts = part(this, "keep-texts", HTMLInputElement).checked;
    const chosen = { name, effort: this.#effort(), keepTexts };
    this.#given = this.#texts();
    await this.#follow((options) => imprint.learn(this.#texts(), { ...chosen, ...options }));
  }

  /** Goes on with a run that waits: the one paused here, or one that an earlier visit left. */
  async resume(run: RunInfo): Promise<void> {
    const imprint = this.#imprint;
    if (this.#run?.id === run.id) return this.#resume();
    if (!imprint || this.#run) return;
    // What stands in the form is not what that run learns from.
    this.#given = undefined;
    this.scrollIntoView({ block: "nearest" });
    await this.#follow((options) => imprint.runs.resume(run.id, options));
  }

  async #follow(start: (options: LearningOptions) => LearningRun): Promise<void> {
    this.#stop = new AbortController();
    this.#learned = [];
    this.#heldOut = [];
    this.#error();
    this.#show("run");
    this.#phase(words().teacher.phases.read, "");
    for (const name of ["counts", "preview-text"]) part(this, name, HTMLElement).textContent = "";
    part(this, "run-dropped", HTMLElement).replaceChildren();
    part(this, "preview", HTMLElement).hidden = true;
    this.#chart ??= new LossChart(part(this, "chart", HTMLElement));
    this.#chart.show(this.#learned, this.#heldOut, 1);
    const onProgress = (progress: LearnProgress): void => this.#progress(progress);
    const run = start({ onProgress, signal: this.#stop.signal });
    this.#run = run;
    this.#buttons();
    this.dispatchEvent(new ImprintLearningEvent(true));
    let adapter: AdapterInfo | undefined;
    try {
      adapter = await run.done;
    } catch (thrown) {
      this.#broke(ImprintError.from(thrown));
    }
    this.#run = undefined;
    this.#buttons();
    this.dispatchEvent(new ImprintLearningEvent(false));
    if (adapter) this.#finished(adapter);
  }

  #finished(adapter: AdapterInfo): void {
    this.#tell(adapter);
    this.#show("result");
    this.#announce(words().teacher.learned(adapter.name, verdict(adapter)));
    this.dispatchEvent(new ImprintVoiceEvent(adapter));
  }

  /** What was gained, and what is copied beside the author's own text. */
  #tell(adapter: AdapterInfo): void {
    this.#learnedLast = adapter;
    part(this, "verdict", HTMLElement).textContent = verdict(adapter);
    part(this, "copied", HTMLElement).textContent = copied(adapter.measures ?? {});
    part(this, "ending", HTMLElement).textContent = adapter.measures
      ? words().teacher.endings[adapter.measures.ending](count(adapter.measures.steps))
      : "";
  }

  #broke(error: ImprintError): void {
    this.#show("form");
    if (error.code === "cancelled") {
      this.#announce(words().teacher.stopped);
    } else if (this.dispatchEvent(new ImprintErrorEvent(error))) {
      this.#error(error);
    }
  }

  /** Keeps the run where it is, to go on later; does nothing where none goes on. */
  async pause(): Promise<void> {
    const state = this.#run?.state;
    if (state !== "learning") return;
    this.#phase(words().teacher.pausing, words().teacher.saving);
    await this.#run?.pause();
    if (this.#run?.state !== "paused") return;
    this.#phase(words().teacher.paused, words().teacher.pausedAdvice);
    this.#announce(words().teacher.pausedSaved);
    this.#buttons();
    this.dispatchEvent(new ImprintLearningEvent(false));
  }

  #resume(): void {
    this.#run?.resume();
    this.#phase(words().teacher.phases.learn, "");
    this.#announce(words().teacher.goesOn);
    this.#buttons();
    this.dispatchEvent(new ImprintLearningEvent(true));
  }

  #progress(progress: LearnProgress): void {
    const { phase, step, steps, losses, measurements, counts, preview } = progress;
    put(this.#learned, losses);
    put(this.#heldOut, measurements);
    if (losses.length > 0 || measurements.length > 0) this.#chart?.show(this.#learned, this.#heldOut, steps);
    const bar = part(this, "bar", HTMLProgressElement);
    if (steps > 0) bar.value = step / steps;
    else bar.removeAttribute("value");
    const title = words().teacher.phases[phase];
    this.#phase(title, figures(progress));
    if (counts) {
      part(this, "counts", HTMLElement).textContent = found(counts);
      part(this, "run-dropped", HTMLElement).replaceChildren(...leftOut(counts).map(item));
    }
    if (preview) {
      part(this, "preview", HTMLElement).hidden = false;
      part(this, "preview-text", HTMLElement).textContent = `${preview.prompt}${preview.text}`;
      part(this, "preview-copied", HTMLElement).textContent = copied(preview);
    }
    const quarter = steps > 0 ? Math.floor((step / steps) * 4) * 25 : 0;
    this.#announce(quarter > 0 ? words().model.percent(title, quarter) : title);
  }

  #effort(): Effort {
    const chosen = this.querySelector<HTMLInputElement>("[name=imprint-effort]:checked")?.value;
    return (chosen ?? "normal") as Effort;
  }

  #texts(): (string | File)[] {
    const pasted = part(this, "texts", HTMLTextAreaElement).value;
    return [...(pasted.trim() === "" ? [] : [pasted]), ...this.#files];
  }

  /** Adds files to learn from. */
  add(files: (Iterable<File> & { length: number }) | undefined | null): void {
    if (!files?.length) return;
    if (!this.#run) this.#show("form");
    this.#files.push(...files);
    part(this, "documents", HTMLElement).append(...[...files].map((file) => this.#document(file)));
    this.#changed();
  }

  #document(file: File): HTMLElement {
    const row = document.createElement("li");
    const remove = document.createElement("button");
    Object.assign(remove, {
      type: "button",
      className: "quiet",
      textContent: words().teacher.remove,
      ariaLabel: words().teacher.removeNamed(file.name),
    });
    remove.addEventListener("click", () => {
      this.#files = this.#files.filter((other) => other !== file);
      row.remove();
      this.#changed();
    });
    row.append(file.name, remove);
    return row;
  }

  /** Tells what is found in the texts, once nobody types. */
  #changed(): void {
    this.#changes += 1;
    clearTimeout(this.#waiting);
    this.#buttons();
    if (!this.#imprint) return this.#amount(words().teacher.loadFirst);
    if (this.#texts().length === 0) return this.#amount("");
    this.#waiting = setTimeout(() => void this.#plan(), pauseMs);
  }

  async #plan(): Promise<void> {
    const asked = this.#changes;
    let line: string;
    let lines: string[] = [];
    try {
      const plan = await this.#imprint?.plan(this.#texts(), { effort: this.#effort() });
      if (!plan) return;
      line = `${found(plan.counts)} ${words().teacher.plan(count(plan.steps), megabytes(plan.memoryBytes))}`;
      lines = leftOut(plan.counts);
    } catch (thrown) {
      // What stands here is not finished; Learn would tell it as an error.
      const error = ImprintError.from(thrown);
      line = `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`;
    }
    if (asked === this.#changes) this.#amount(line, lines);
  }

  #amount(line: string, lines: readonly string[] = []): void {
    part(this, "amount", HTMLElement).textContent = line;
    part(this, "dropped", HTMLElement).replaceChildren(...lines.map(item));
  }

  #buttons(): void {
    part(this, "learn", HTMLButtonElement).disabled = !this.#imprint || this.#texts().length === 0;
    const paused = this.#run?.state === "paused";
    part(this, "pause", HTMLButtonElement).hidden = paused;
    part(this, "resume", HTMLButtonElement).hidden = !paused;
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
    showError(this, error);
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

/** Adds what is new; the first report of a resumed run brings everything again. */
function put(curve: Point[], more: readonly Loss[]): void {
  const first = more[0];
  if (first) while ((curve.at(-1)?.[0] ?? -1) >= first.step) curve.pop();
  curve.push(...more.map(({ step, nll }): Point => [step, nll]));
}

function found({ learned, heldOut }: TextCounts): string {
  const { words: all, passages, tokens } = learned;
  return words().teacher.found(count(all), count(passages), count(tokens), count(heldOut.words));
}

function leftOut({ dropped, problems }: TextCounts): string[] {
  return [
    ...dropped.map(({ sentence }) => sentence),
    ...problems.map(({ name, problem }) => (name ? `${name}: ${problem}` : problem)),
  ];
}

function item(sentence: string): HTMLElement {
  const made = document.createElement("li");
  made.textContent = sentence;
  return made;
}

function figures({ step, steps, tokensPerS, secondsLeft }: LearnProgress): string {
  const line = steps > 0 ? [words().teacher.step(count(step), count(steps))] : [];
  if (tokensPerS > 0) line.push(words().draft.speed(rate(tokensPerS)));
  if (secondsLeft > 0) line.push(words().model.left(timeLeft(secondsLeft)));
  return line.join(" · ");
}

/** What was gained, as a sentence. */
export function verdict({ measures }: AdapterInfo): string {
  if (!measures) return words().teacher.notMeasured;
  const before = measures.before.bitsPerChar;
  const after = measures.fullest.bitsPerChar;
  const gain = ((before - after) / before) * 100;
  return words().teacher.verdict(rate(gain), rate(after, 3), rate(before, 3));
}

/** What is copied and whom it names, beside the same of the author's own text where that is known. */
function copied({ copied, ownCopied, names = [] }: Partial<Measures>): string {
  if (!copied) return "";
  const said = words().teacher;
  const percent = ({ share }: Copied): string => `${rate(share * 100)} %`;
  const lines = [
    copied.share === 0
      ? said.copiesNothing(count(copied.longest))
      : said.copies(percent(copied), count(copied.longest)),
  ];
  if (ownCopied) lines.push(said.ownCopied(percent(ownCopied), count(ownCopied.longest)));
  const named = names.map(({ word, count: often }) => (often > 1 ? said.often(word, count(often)) : word));
  if (named.length > 0) lines.push(said.names(named.join(", ")));
  return lines.join(" ");
}
