import type { WriteOptions } from "../engine.js";
import { ImprintError } from "../errors.js";
import type { Imprint } from "../imprint.js";
import type { AdapterInfo } from "../voice.js";
import { CopiedRuns } from "./copied-runs.js";
import { part } from "./part.js";
import { onLanguage, say, words } from "../words/words.js";

const TOKENS = 60;

/**
 * The same opening continued twice, side by side: by the base model and in a voice, with the same seed.
 *
 * Set `imprint` and `voice`, and `options` to what asks for the settings. Its own content holds the parts.
 */
export class ImprintComparisonElement extends HTMLElement {
  /** Asked for the settings and the strength at each start. */
  options: () => WriteOptions = () => ({});
  /** The model that writes, if one is open. */
  imprint: Imprint | null = null;
  #voice: AdapterInfo | null = null;
  #writing: AbortController | undefined;
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    this.#deaf ??= onLanguage(() => this.#name());
    part(this, "compare", HTMLButtonElement).addEventListener("click", () => void this.compare());
    part(this, "halt", HTMLButtonElement).addEventListener("click", () => this.#writing?.abort());
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
    this.#writing?.abort();
  }

  /** The voice that stands beside the base model; hidden without one. */
  get voice(): AdapterInfo | null {
    return this.#voice;
  }

  set voice(voice: AdapterInfo | null) {
    this.#voice = voice;
    this.hidden = voice === null;
    this.#name();
  }

  /** Writes both continuations, one after the other. */
  async compare(): Promise<void> {
    const { imprint } = this;
    const voice = this.#voice;
    const opening = part(this, "opening", HTMLInputElement).value.trim();
    if (!imprint || !voice || this.#writing || opening === "") return;
    const writing = new AbortController();
    this.#writing = writing;
    this.#buttons();
    this.#say();
    const { seed = 0, ...options } = { ...this.options(), maxTokens: TOKENS, chat: false };
    for (const name of ["base", "personal"]) part(this, name, HTMLElement).textContent = "";
    try {
      const { signal } = writing;
      // A strength is of the voice; the base knows none.
      const { strength: _, mode: __, ...plain } = options;
      await this.#write("base", imprint, opening, { ...plain, seed, adapter: null, signal });
      await this.#write("personal", imprint, opening, { ...options, seed, signal });
      this.#say("comparison.done");
    } catch (thrown) {
      this.#say(`errors.${ImprintError.from(thrown).code}`);
    }
    this.#writing = undefined;
    this.#buttons();
  }

  async #write(
    name: string,
    imprint: Imprint,
    opening: string,
    options: WriteOptions & { signal: AbortSignal },
  ): Promise<void> {
    const place = part(this, name, HTMLElement);
    const written = new CopiedRuns();
    place.textContent = opening;
    for await (const piece of imprint.write(opening, options)) {
      written.add(piece);
      place.replaceChildren(opening, ...written.nodes);
    }
  }

  #buttons(): void {
    part(this, "compare", HTMLButtonElement).hidden = this.#writing !== undefined;
    part(this, "halt", HTMLButtonElement).hidden = this.#writing === undefined;
  }

  #say(path?: string): void {
    say(part(this, "live", HTMLElement), path);
  }

  #name(): void {
    const name = this.#voice?.name;
    part(this, "theirs", HTMLElement).textContent = name ? words().comparison.theirs(name) : "";
  }
}
