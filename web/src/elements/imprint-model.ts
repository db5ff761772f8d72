import type { DeviceChoice, ModelInfo, Progress } from "../engine.js";
import { ImprintError } from "../errors.js";
import { forgetModel, Imprint, storedModels } from "../imprint.js";
import { ImprintErrorEvent, ImprintModelEvent, ImprintProgressEvent } from "./events.js";
import { megabytes, parameters, timeLeft } from "./format.js";
import { Pace } from "./pace.js";
import { part } from "./part.js";
import { showError } from "./trouble.js";
import { onLanguage, words } from "../words/words.js";

type State = "offer" | "loading" | "ready";

/** How long a visitor looks at nothing while it is asked whether the model is kept. */
const PATIENCE_MS = 400;

/** Where the words for each phase stand. */
const phases = {
  download: "download",
  verify: "verify",
  load: "unpack",
  compile: "compile",
  ready: "ready",
} as const satisfies Record<Progress["phase"], string>;

/**
 * Loads a model with progress, cancel and errors as sentences, and says on which device it runs.
 *
 * Takes `src`, `sha256` and `size-bytes` of the model it offers; its own content holds the parts. Sends
 * `imprint-progress`, `imprint-error` and `imprint-model`.
 */
export class ImprintModelElement extends HTMLElement {
  #imprint: Imprint | undefined;
  #loading: AbortController | undefined;
  #pace = new Pace();
  #announced = "";
  #sizeBytes = 0;
  #named = "";
  #deaf: (() => void) | undefined;

  connectedCallback(): void {
    this.#button("load", () => void this.load(this.#src, this.getAttribute("sha256") ?? undefined));
    this.#button("cancel", () => {
      this.#loading?.abort();
      part(this, "phase", HTMLElement).textContent = words().model.stopping;
    });
    this.#button("change", () => this.#offer());
    this.#button("back", () => this.#show(this.#imprint ? "ready" : "offer"));
    this.#button("forget", () => void this.#forget());
    this.#deaf ??= onLanguage(() => this.#describe());
    const file = part(this, "file", HTMLInputElement);
    file.addEventListener("change", () => {
      const chosen = file.files?.[0];
      file.value = "";
      if (chosen) void this.load(chosen);
    });
    void this.#begin();
  }

  disconnectedCallback(): void {
    this.#deaf?.();
    this.#deaf = undefined;
    this.#loading?.abort();
    void this.#close();
  }

  /** The device asked for at the next load. */
  get device(): DeviceChoice {
    return part(this, "device", HTMLSelectElement).value as DeviceChoice;
  }

  /** Loads a model from its address or from a file that the person chose; errors are shown, not thrown. */
  async load(model: string | Blob, sha256?: string): Promise<void> {
    const loading = new AbortController();
    this.#loading = loading;
    this.#pace = new Pace();
    this.#error();
    this.#show("loading");
    this.#progress({ phase: "download", doneBytes: 0, totalBytes: 0, fromCache: model instanceof Blob });
    await this.#close();
    try {
      this.#imprint = await Imprint.open({
        model,
        device: this.device,
        signal: loading.signal,
        onProgress: (progress) => this.#progress(progress),
        ...(sha256 === undefined ? {} : { sha256 }),
      });
      this.#ready(this.#imprint, nameOf(model));
    } catch (thrown) {
      this.fail(ImprintError.from(thrown));
    }
  }

  /** Gives the model up because of an error, shows its sentence and offers to load again. */
  fail(error: ImprintError): void {
    void this.#close();
    this.#offer();
    this.#error(error);
    this.dispatchEvent(new ImprintErrorEvent(error));
  }

  async #begin(): Promise<void> {
    part(this, "offered", HTMLElement).textContent = nameOf(this.#src);
    this.#sizeText(Number(this.getAttribute("size-bytes")) || 0);
    void this.#askSize();
    // Asking the storage needs the wasm module; on a slow network the offer must not wait for it.
    setTimeout(() => this.#settle(), PATIENCE_MS);
    const kept = await this.#kept();
    if (kept && !this.#loading && !this.#imprint) {
      await this.load(this.#src, this.getAttribute("sha256") ?? undefined);
    } else {
      this.#settle();
    }
  }

  /** Shows the offer, unless something else has begun. */
  #settle(): void {
    if (this.dataset["state"] === undefined) this.#show("offer");
  }

  async #kept(): Promise<boolean> {
    try {
      return (await storedModels()).some(({ url }) => url === this.#src);
    } catch (thrown) {
      // Without storage the model can still be fetched; the reason belongs to developers.
      console.warn("stored models cannot be listed", thrown);
      return false;
    }
  }

  async #askSize(): Promise<void> {
    const answer = await fetch(this.#src, { method: "HEAD" }).catch(() => undefined);
    const bytes = answer?.ok ? Number(answer.headers.get("content-length")) : 0;
    if (bytes > 0) this.#sizeText(bytes);
  }

  #sizeText(bytes: number): void {
    this.#sizeBytes = bytes;
    part(this, "size", HTMLElement).textContent = bytes > 0 ? megabytes(bytes) : words().model.unknownSize;
  }

  #progress(progress: Progress): void {
    const { phase, doneBytes, totalBytes, fromCache } = progress;
    const bar = part(this, "bar", HTMLProgressElement);
    const title = words().model[phase === "download" && fromCache ? "reading" : phases[phase]];
    part(this, "phase", HTMLElement).textContent = title;
    if (totalBytes > 0) bar.value = doneBytes / totalBytes;
    else bar.removeAttribute("value");
    part(this, "figures", HTMLElement).textContent = this.#figures(progress);
    const quarter = totalBytes > 0 ? Math.floor((doneBytes / totalBytes) * 4) * 25 : 0;
    this.#announce(quarter > 0 && quarter < 100 ? words().model.percent(title, quarter) : title);
    this.dispatchEvent(new ImprintProgressEvent(progress));
  }

  #figures({ phase, doneBytes, totalBytes }: Progress): string {
    if (totalBytes <= 0) return "";
    const percent = Math.floor((doneBytes / totalBytes) * 100);
    const figures = [words().model.of(megabytes(doneBytes), megabytes(totalBytes)), `${percent} %`];
    if (phase !== "download") return figures.join(" · ");
    this.#pace.mark(doneBytes, performance.now());
    const speed = this.#pace.perSecond;
    if (speed > 0)
      figures.push(`${megabytes(speed)}/s`, words().model.left(timeLeft((totalBytes - doneBytes) / speed)));
    return figures.join(" · ");
  }

  #ready(imprint: Imprint, name: string): void {
    this.#loading = undefined;
    this.#named = name;
    this.#describe();
    this.#show("ready");
    const { readyOnGpu, readyOnProcessor } = words().model;
    this.#announce(imprint.device.kind === "webgpu" ? readyOnGpu : readyOnProcessor);
    this.dispatchEvent(new ImprintModelEvent(imprint));
  }

  /** Says what is offered and what is open. */
  #describe(): void {
    this.#sizeText(this.#sizeBytes);
    if (!this.#imprint) return;
    const { kind, description, reason } = this.#imprint.device;
    const place = kind === "webgpu" ? words().model.onGpu : words().model.onProcessor;
    // What people call a model is its file; the name inside is often that of a training run.
    part(this, "name", HTMLElement).textContent =
      this.#named || this.#imprint.info.name || words().model.yours;
    part(this, "facts", HTMLElement).textContent = facts(this.#imprint.info);
    const device = part(this, "device-line", HTMLElement);
    const what = kind === "webgpu" && description ? ` (${description})` : "";
    // A driver may tell a long story; its first line is for people.
    const why = reason?.split("\n", 1)[0];
    device.textContent = `${place}${what}${why ? `: ${why}` : ""}`;
    device.dataset["kind"] = kind;
  }

  #offer(): void {
    part(this, "back", HTMLButtonElement).hidden = !this.#imprint;
    this.#error();
    this.#show("offer");
  }

  async #forget(): Promise<void> {
    try {
      await forgetModel(this.#src);
      this.#announce(words().model.gone);
      part(this, "forget", HTMLButtonElement).textContent = words().model.forgotten;
    } catch (thrown) {
      this.#error(ImprintError.from(thrown));
    }
  }

  async #close(): Promise<void> {
    const closing = this.#imprint;
    this.#imprint = undefined;
    if (!closing) return;
    this.dispatchEvent(new ImprintModelEvent(null));
    await closing.close();
  }

  #error(error?: ImprintError): void {
    showError(this, error, error?.code === "cancelled" ? "" : undefined);
  }

  #show(state: State): void {
    const hadFocus = this.contains(document.activeElement);
    this.dataset["state"] = state;
    for (const name of ["offer", "loading", "ready"]) part(this, name, HTMLElement).hidden = name !== state;
    // The button that was pressed is gone; the next one takes its place for the keyboard.
    if (hadFocus) this.querySelector<HTMLElement>(`[data-part="${state}"] button`)?.focus();
  }

  /** Says something to screen readers, once. */
  #announce(sentence: string): void {
    if (sentence === this.#announced) return;
    this.#announced = sentence;
    part(this, "live", HTMLElement).textContent = sentence;
  }

  #button(name: string, onClick: () => void): void {
    part(this, name, HTMLButtonElement).addEventListener("click", onClick);
  }

  get #src(): string {
    return new URL(this.getAttribute("src") ?? "", document.baseURI).href;
  }
}

/** The name of a model's file without its ending; empty for a blob without a name. */
function nameOf(model: string | Blob): string {
  const path =
    typeof model === "string" ? new URL(model, document.baseURI).pathname.replaceAll("%20", " ") : "";
  const file = model instanceof File ? model.name : (path.split("/").at(-1) ?? "");
  return file.replace(/\.gguf$/i, "");
}

function facts(info: ModelInfo): string {
  const known = [
    info.parameters > 0 ? words().model.parameters(parameters(info.parameters)) : "",
    info.sizeBytes > 0 ? megabytes(info.sizeBytes) : "",
  ];
  return known.filter(Boolean).join(" · ");
}
