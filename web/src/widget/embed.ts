// The page that stands in a frame: one writer, told by its address what to write with, and by messages when.
import { trustOnly } from "../trust.js";
import { ImprintWriterElement } from "./define.js";
import {
  embedVersion,
  readCommand,
  readOrigins,
  stranger,
  type EmbedBody,
  type EmbedCommand,
  type EmbedOptions,
} from "./embed-protocol.js";
import { languageOf, wordsOf } from "./words.js";

/** Attributes that the address can set; `for` is none of them, since the frame holds no textarea. */
const settable = [
  ...["model", "sha256", "model-bytes", "adapter", "adapter-sha256", "adapter-bytes", "strength", "prompt"],
  ...[
    "placeholder",
    "max-tokens",
    "temperature",
    "seed",
    "max-copied-words",
    "without-names",
    "device",
    "worker",
  ],
];

/** Speaks with the surrounding page, which is of an allowed origin: the list stands in this page's own markup. */
class Embed {
  readonly #writer: ImprintWriterElement;
  readonly #origins: readonly string[];
  /** Whose command is being carried out. */
  #id: string | undefined;

  constructor(writer: ImprintWriterElement, origins: readonly string[]) {
    this.#writer = writer;
    this.#origins = origins;
    addEventListener("message", (event) => this.#hear(event));
    writer.addEventListener("imprint-state", ({ state }) => this.#tell({ type: "state", state }));
    writer.addEventListener("imprint-progress", ({ of, progress }) =>
      this.#tell({ type: "progress", of, progress }),
    );
    writer.addEventListener("imprint-piece", ({ piece }) => {
      if (piece.text !== "") this.#tell({ type: "piece", text: piece.text });
    });
    writer.addEventListener("imprint-done", ({ text, finish }) => this.#tell({ type: "done", text, finish }));
    writer.addEventListener("imprint-error", ({ error }) =>
      this.#tell({ type: "error", code: error.code, message: error.message }),
    );
    new ResizeObserver(() => {
      const height = Math.ceil(document.documentElement.getBoundingClientRect().height);
      this.#tell({ type: "size", height });
    }).observe(document.documentElement);
    this.#tell({ type: "hello" });
  }

  #hear({ source, origin, data }: MessageEvent<unknown>): void {
    // Others get no answer, which would tell them that somebody listens.
    if (source !== parent || source === self || !this.#origins.includes(origin)) return;
    const command = readCommand(data);
    if (typeof command === "string")
      return this.#tell({ type: "error", code: "invalid-option", message: command });
    this.#id = command.id;
    this.#obey(command);
  }

  #obey(command: EmbedCommand): void {
    if (command.type === "stop") return this.#writer.stop();
    if (command.type === "state") return this.#tell({ type: "state", state: this.#writer.state });
    this.#set(command.options ?? {});
    if (command.type === "write") void this.#writer.start();
  }

  #set(options: EmbedOptions): void {
    Object.assign(this.#writer, options);
  }

  /** A browser delivers only to the origin that is named. */
  #tell(body: EmbedBody): void {
    if (parent === self) return;
    const message = { imprint: embedVersion, ...body, ...(this.#id === undefined ? {} : { id: this.#id }) };
    const around = location.ancestorOrigins?.[0];
    const named = around === undefined ? this.#origins : this.#origins.filter((origin) => origin === around);
    for (const origin of named) parent.postMessage(message, origin);
  }
}

/** Runs only where the pages around allow it: a static page cannot forbid its framing, but it can stay empty. */
function start(): void {
  const query = new URLSearchParams(location.search);
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("html { color-scheme: light dark; background: transparent; } body { margin: 0; }");
  document.adoptedStyleSheets = [sheet];
  const language = query.get("lang");
  if (language) document.documentElement.lang = language;
  const list = document.querySelector<HTMLMetaElement>('meta[name="imprint-origins"]')?.content ?? "";
  const origins = readOrigins(list, location.origin);
  const around = {
    ancestorOrigins: location.ancestorOrigins as DOMStringList | undefined,
    alone: parent === self,
    nearestIsTop: parent === top,
    referrer: document.referrer,
  };
  const refused = stranger(around, origins);
  if (refused !== undefined) return document.body.append(refusal(refused));
  const writer = new ImprintWriterElement();
  for (const name of settable) {
    const value = query.get(name);
    if (value !== null) writer.setAttribute(name, value);
  }
  document.body.append(writer);
  new Embed(writer, origins);
}

function refusal(origin: string): HTMLElement {
  const sentence = document.createElement("p");
  sentence.textContent = wordsOf(languageOf(document.body)).notHere(origin || "?");
  return sentence;
}

trustOnly(new URL("./writer.js", import.meta.url));
start();
