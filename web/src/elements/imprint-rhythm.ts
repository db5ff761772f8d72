import type { WriteOptions } from "../engine.js";
import { ImprintError } from "../errors.js";
import type { Imprint } from "../imprint.js";
import type { AdapterInfo } from "../voice.js";
import { onLanguage, words } from "../words/words.js";
import { ImprintErrorEvent } from "./events.js";
import { count, rate, timeLeft } from "./format.js";
import { isGerman, likeness, readable, rhythm } from "./measures.js";
import { Pace } from "./pace.js";
import { part } from "./part.js";
import { BeatPlot, sides, SpreadPlot, type Rhythms, type Side } from "./rhythm-plots.js";
import { spreadTable } from "./rhythm-table.js";

/** Openings that bring no voice of their own, one seed each. */
const openings = {
  en: [
    "It was late when we came home, and",
    "Most people would say that",
    "There was a time when",
    "On the table lay a letter.",
  ],
  de: [
    "Es war spät, als wir nach Hause kamen, und",
    "Die meisten würden sagen, dass",
    "Es gab eine Zeit, in der",
    "Auf dem Tisch lag ein Brief.",
  ],
} as const;

/** Tokens of a continuation at most: some five sentences. */
const TOKENS = 96;
const ALL = openings.en.length * 2 * TOKENS;

type Known = { rhythms: Rhythms; german: boolean };

/**
 * How an author's text moves beside that of the base model and of the voice, in words, pictures and tables.
 *
 * Set `imprint`, and `voice` to the voice in use; `author` brings the text it was learned from. The author is pictured at
 * once; the base and the voice write a few continuations first, when asked to. Its own content holds the parts.
 */
export class ImprintRhythmElement extends HTMLElement {
  /** The model that writes, if one is open. */
  imprint: Imprint | null = null;
  /** Asked how strongly the voice speaks. */
  options: () => Pick<WriteOptions, "strength" | "mode"> = () => ({});
  #voice: AdapterInfo | null = null;
  #busy = false;
  #writing: AbortController | undefined;
  /** What is known of each voice, by its id, as long as the page is open. */
  readonly #known = new Map<string, Known>();
  #sentences: SpreadPlot | undefined;
  #words: SpreadPlot | undefined;
  readonly #beats = new Map<Side, BeatPlot>();
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    this.#deaf ??= onLanguage(() => this.#render());
    part(this, "measure", HTMLButtonElement).addEventListener("click", () => void this.measure());
    part(this, "halt", HTMLButtonElement).addEventListener("click", () => this.#writing?.abort());
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
    this.#writing?.abort();
    for (const plot of [this.#sentences, this.#words, ...this.#beats.values()]) plot?.close();
    this.#sentences = this.#words = undefined;
    this.#beats.clear();
  }

  /** The voice in use; hidden without one. */
  get voice(): AdapterInfo | null {
    return this.#voice;
  }

  set voice(voice: AdapterInfo | null) {
    if (voice?.id !== this.#voice?.id) this.#writing?.abort();
    this.#voice = voice;
    this.hidden = voice === null;
    this.#say("");
    this.#render();
    if (voice && voice.textBytes > 0 && !this.#known.get(voice.id)?.rhythms.author) void this.#recall(voice);
  }

  /** Whether the model is at something else and cannot write now. */
  set busy(busy: boolean) {
    this.#busy = busy;
    if (busy) this.#writing?.abort();
    this.#buttons();
  }

  /** Pictures the text that a voice was learned from. */
  async author(id: string, texts: readonly (string | File)[]): Promise<void> {
    const read = await Promise.all(
      texts.map(async (text) =>
        typeof text === "string" ? text : readable(await text.text().catch(() => ""), text.name),
      ),
    );
    const known = this.#of(id);
    known.rhythms.author = rhythm(read);
    known.german = isGerman(read.join("\n"));
    this.#render();
  }

  /** Forgets all that was measured. */
  clear(): void {
    this.#writing?.abort();
    this.#known.clear();
    this.#render();
  }

  /** Lets the base and the voice write, with the same seeds, and pictures both. */
  async measure(): Promise<void> {
    const { imprint } = this;
    const voice = this.#voice;
    if (!imprint || !voice || this.#writing || this.#busy) return;
    const writing = new AbortController();
    this.#writing = writing;
    this.#buttons();
    const known = this.#of(voice.id);
    const pace = new Pace();
    let before = 0;
    const { signal } = writing;
    try {
      for (const side of ["base", "voice"] as const) {
        const written: string[] = [];
        for (const [seed, opening] of openings[known.german ? "de" : "en"].entries()) {
          const how: WriteOptions = side === "base" ? { adapter: null } : this.options();
          let text = opening as string;
          for await (const piece of imprint.write(opening, { ...how, maxTokens: TOKENS, seed, signal })) {
            text += piece.text;
            this.#progress(before + piece.tokens, pace);
          }
          before += TOKENS;
          written.push(text);
        }
        known.rhythms[side] = rhythm(written, { broken: true });
        this.#render();
      }
      this.#say(words().rhythm.done);
    } catch (thrown) {
      this.#broke(ImprintError.from(thrown));
    }
    this.#writing = undefined;
    this.#buttons();
  }

  #broke(error: ImprintError): void {
    if (error.code === "cancelled") this.#say(words().rhythm.stopped);
    else if (this.dispatchEvent(new ImprintErrorEvent(error))) this.#say(words().errors[error.code]);
  }

  /** Reads the texts that stayed beside a voice; where that fails, the author is not pictured. */
  async #recall(voice: AdapterInfo): Promise<void> {
    const texts = await this.imprint?.adapters.texts(voice.id).catch(() => undefined);
    if (texts) await this.author(voice.id, texts);
  }

  #of(id: string): Known {
    const known = this.#known.get(id) ?? { rhythms: {}, german: false };
    this.#known.set(id, known);
    return known;
  }

  #progress(tokens: number, pace: Pace): void {
    pace.mark(tokens, performance.now());
    part(this, "bar", HTMLProgressElement).value = tokens / ALL;
    const { of } = words().rhythm;
    const line = [of(count(tokens), count(ALL))];
    const { perSecond } = pace;
    if (perSecond > 0) {
      line.push(words().draft.speed(rate(perSecond)));
      line.push(words().model.left(timeLeft((ALL - tokens) / perSecond)));
    }
    part(this, "figures", HTMLElement).textContent = line.join(" · ");
  }

  #buttons(): void {
    const writing = this.#writing !== undefined;
    part(this, "measure", HTMLButtonElement).hidden = writing;
    part(this, "measure", HTMLButtonElement).disabled = this.#busy;
    part(this, "cost", HTMLElement).hidden = writing;
    part(this, "writing", HTMLElement).hidden = !writing;
    if (!writing) part(this, "bar", HTMLProgressElement).value = 0;
  }

  #render(): void {
    const voice = this.#voice;
    if (!voice) return;
    const { rhythms } = this.#of(voice.id);
    const shown = sides.filter((side) => rhythms[side] !== undefined);
    const said = words().rhythm;
    part(this, "cost", HTMLElement).textContent = said.cost(count(openings.en.length), count(ALL));
    part(this, "measure", HTMLButtonElement).textContent = rhythms.voice ? said.again : said.measure;
    part(this, "absent", HTMLElement).hidden = rhythms.author !== undefined;
    part(this, "pictures", HTMLElement).hidden = shown.length === 0;
    part(this, "summary", HTMLElement).replaceChildren(...summary(voice.name, rhythms).map(paragraph));
    for (const side of sides) part(this, `key-${side}`, HTMLElement).hidden = !shown.includes(side);
    for (const name of part(this, "keys", HTMLElement).querySelectorAll("[data-voice]"))
      name.textContent = voice.name;
    this.#buttons();
    if (shown.length === 0) return;
    this.#draw(rhythms, shown);
  }

  #draw(rhythms: Rhythms, shown: readonly Side[]): void {
    const said = words().rhythm;
    const of = (kind: "sentences" | "words") =>
      Object.fromEntries(shown.map((side) => [side, rhythms[side]?.[kind]]));
    const name = (side: Side): string => (side === "voice" ? (this.#voice?.name ?? "") : said[side]);
    this.#sentences ??= new SpreadPlot(part(this, "sentences", HTMLElement));
    this.#words ??= new SpreadPlot(part(this, "words", HTMLElement));
    this.#sentences.show(of("sentences"));
    this.#words.show(of("words"));
    for (const kind of ["sentences", "words"] as const) {
      const means = shown
        .filter((side) => rhythms[side]?.[kind].count)
        .map((side) => said.mean(name(side), rate(rhythms[side]?.[kind].mean ?? 0)));
      part(this, kind, HTMLElement).ariaLabel = `${said[`${kind}Title`]}. ${means.join(" ")}`;
      const columns = shown.map((side) => ({ name: name(side), spread: rhythms[side]?.[kind] }));
      part(this, `${kind}-table`, HTMLElement).replaceChildren(
        spreadTable(said[`${kind}Title`], said[`${kind}Unit`], columns),
      );
    }
    const beats = shown.map((side) => rhythms[side]?.beat ?? []);
    const most = {
      sentences: Math.max(1, ...beats.map((beat) => beat.length)),
      words: Math.max(1, ...beats.flat()),
    };
    for (const side of sides) {
      const figure = part(this, `beat-${side}`, HTMLElement);
      figure.hidden = !shown.includes(side);
      if (figure.hidden) continue;
      part(figure, "name", HTMLElement).textContent = name(side);
      const box = part(figure, "beat", HTMLElement);
      const beat = rhythms[side]?.beat ?? [];
      box.ariaLabel = said.beatLabel(name(side), beat.map((length) => count(length)).join(", ") || "–");
      const plot = this.#beats.get(side) ?? new BeatPlot(box, side);
      this.#beats.set(side, plot);
      plot.show(beat, most);
    }
  }

  #say(sentence: string): void {
    part(this, "live", HTMLElement).textContent = sentence;
  }
}

/** What the pictures show, as sentences. */
function summary(name: string, { author, base, voice }: Rhythms): string[] {
  const said = words().rhythm;
  const some = (side: typeof author) => (side && side.sentences.count > 0 ? side.sentences : undefined);
  const [theirs, plain, personal] = [some(author), some(base), some(voice)];
  const lines: string[] = [];
  if (theirs) lines.push(said.own(rate(theirs.mean), count(theirs.median)));
  if (plain && personal) lines.push(said.models(rate(plain.mean), name, rate(personal.mean)));
  else if (base || voice) lines.push(said.unfinished);
  if (theirs && plain && personal) {
    const percent = (one: number): string => `${rate(one * 100, 0)} %`;
    lines.push(said.likeness(percent(likeness(theirs, plain)), name, percent(likeness(theirs, personal))));
    lines.push(said.few(count(plain.count), count(personal.count)));
  }
  return lines;
}

function paragraph(sentence: string): HTMLElement {
  const made = document.createElement("p");
  made.textContent = sentence;
  return made;
}
