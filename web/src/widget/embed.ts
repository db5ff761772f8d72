// The page that stands in a frame: one writer, told by its address what to write with, and by messages when.
import { ImprintWriterElement } from "./define.js";
import {
  embedVersion,
  readCommand,
  readOrigins,
  type EmbedBody,
  type EmbedCommand,
  type EmbedOptions,
} from "./embed-protocol.js";

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

/** Speaks with the surrounding page, if it is of an allowed origin; the list stands in the address and never changes. */
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

function start(): void {
  const query = new URLSearchParams(location.search);
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("html { color-scheme: light dark; background: transparent; } body { margin: 0; }");
  document.adoptedStyleSheets = [sheet];
  const language = query.get("lang");
  if (language) document.documentElement.lang = language;
  const writer = new ImprintWriterElement();
  for (const name of settable) {
    const value = query.get(name);
    if (value !== null) writer.setAttribute(name, value);
  }
  const allowed = query.get("origins");
  document.body.append(writer);
  new Embed(writer, allowed === null ? [location.origin] : readOrigins(allowed));
}

start();
