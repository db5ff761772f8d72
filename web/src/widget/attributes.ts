import type { DeviceChoice } from "../engine.js";

/** Where there is no DOM, as on a server, the class can still be made, so that importing it throws nothing. */
const Base: typeof HTMLElement = globalThis.HTMLElement ?? (class {} as unknown as typeof HTMLElement);

/** The attributes of `<imprint-writer>`, each with its property; a property left out or emptied is null. */
export class WriterAttributes extends Base {
  /**
   * The address of a GGUF file, relative to the page, or the id of a listed model, which lies under `models/` there. The one
   * attribute that must be there.
   */
  get model(): string | null {
    return this.getAttribute("model");
  }
  set model(value: string | null) {
    this.#set("model", value);
  }

  /** The model's SHA-256 in hex; a file with another is thrown away. */
  get sha256(): string | null {
    return this.getAttribute("sha256");
  }
  set sha256(value: string | null) {
    this.#set("sha256", value);
  }

  /** The model's size, `model-bytes`, told before anything is fetched; without it, it is asked for on the press. */
  get modelBytes(): number | null {
    return this.#number("model-bytes");
  }
  set modelBytes(value: number | null) {
    this.#set("model-bytes", value);
  }

  /**
   * The address of the author's adapter: an archive as `imprint.adapters.export` gives, or the `.safetensors` in it.
   * Without it the model writes as it is.
   */
  get adapter(): string | null {
    return this.getAttribute("adapter");
  }
  set adapter(value: string | null) {
    this.#set("adapter", value);
  }

  /** The SHA-256 of the adapter's file in hex, `adapter-sha256`; with it, a kept adapter is used without fetching. */
  get adapterSha256(): string | null {
    return this.getAttribute("adapter-sha256");
  }
  set adapterSha256(value: string | null) {
    this.#set("adapter-sha256", value);
  }

  /** The size of the adapter's file, `adapter-bytes`, told before it is fetched. */
  get adapterBytes(): number | null {
    return this.#number("adapter-bytes");
  }
  set adapterBytes(value: number | null) {
    this.#set("adapter-bytes", value);
  }

  /** 0 is the model's average, 1 the voice as learned, 3 more the author than the author (1.5). */
  get strength(): number | null {
    return this.#number("strength");
  }
  set strength(value: number | null) {
    this.#set("strength", value);
  }

  /** The opening that is continued. Without `placeholder` it stands fixed; with it, a reader can write another. */
  get prompt(): string | null {
    return this.getAttribute("prompt");
  }
  set prompt(value: string | null) {
    this.#set("prompt", value);
  }

  /** What stands in the empty field for the opening. */
  get placeholder(): string | null {
    return this.getAttribute("placeholder");
  }
  set placeholder(value: string | null) {
    this.#set("placeholder", value);
  }

  /** Most tokens of a text, `max-tokens` (120), or of a suggestion beside a textarea (24). */
  get maxTokens(): number | null {
    return this.#number("max-tokens");
  }
  set maxTokens(value: number | null) {
    this.#set("max-tokens", value);
  }

  /** 0 always takes the likeliest token; higher is bolder (0.8). */
  get temperature(): number | null {
    return this.#number("temperature");
  }
  set temperature(value: number | null) {
    this.#set("temperature", value);
  }

  /** The first text's seed; each "another way" takes the next number. Without it each is drawn by chance. */
  get seed(): number | null {
    return this.#number("seed");
  }
  set seed(value: number | null) {
    this.#set("seed", value);
  }

  /** Most words in a row, `max-copied-words`, that may stand in the text the adapter was learned from: 7 or more. */
  get maxCopiedWords(): number | null {
    return this.#number("max-copied-words");
  }
  set maxCopiedWords(value: number | null) {
    this.#set("max-copied-words", value);
  }

  /** Keeps names out, `without-names`, that stand in that text and that the model alone would hardly write. */
  get withoutNames(): boolean {
    return this.hasAttribute("without-names");
  }
  set withoutNames(value: boolean) {
    this.toggleAttribute("without-names", value);
  }

  /** Where the model runs: `auto` (the GPU, else the processor), `webgpu` or `cpu`. */
  get device(): DeviceChoice {
    const value = this.getAttribute("device");
    return value === "webgpu" || value === "cpu" ? value : "auto";
  }
  set device(value: DeviceChoice) {
    this.#set("device", value);
  }

  /** The id of a textarea on the page to suggest words in, `for`, instead of showing a text here. */
  get htmlFor(): string | null {
    return this.getAttribute("for");
  }
  set htmlFor(value: string | null) {
    this.#set("for", value);
  }

  /** When words are suggested beside a textarea: after a `pause` in typing (and on the key), or on the `key` alone. */
  get suggest(): "pause" | "key" {
    return this.getAttribute("suggest") === "key" ? "key" : "pause";
  }
  set suggest(value: "pause" | "key") {
    this.#set("suggest", value);
  }

  /** `off` runs the model on the page's own thread, where a policy allows no Worker; else a Worker is tried first. */
  get worker(): "auto" | "off" {
    return this.getAttribute("worker") === "off" ? "off" : "auto";
  }
  set worker(value: "auto" | "off") {
    this.#set("worker", value);
  }

  /** Takes properties that were set before the element was defined. */
  protected upgrade(): void {
    for (const name of Object.getOwnPropertyNames(WriterAttributes.prototype)) {
      if (name === "constructor" || !Object.hasOwn(this, name)) continue;
      const value: unknown = Reflect.get(this, name);
      Reflect.deleteProperty(this, name);
      Reflect.set(this, name, value);
    }
  }

  #number(name: string): number | null {
    const value = this.getAttribute(name);
    return value === null || value.trim() === "" ? null : Number(value);
  }

  #set(name: string, value: string | number | null): void {
    if (value === null) this.removeAttribute(name);
    else this.setAttribute(name, String(value));
  }
}
