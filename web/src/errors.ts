/** The stable codes of everything that can fail; the same list as `ErrorKind` in the Rust core. */
export type ErrorCode =
  | "no-webgpu"
  | "device-lost"
  | "device-wrong"
  | "out-of-memory"
  | "text-too-short"
  | "text-too-long"
  | "text-unreadable"
  | "context-full"
  | "model-corrupt"
  | "model-unsupported"
  | "model-unreachable"
  | "model-changed"
  | "adapter-wrong-base"
  | "adapter-corrupt"
  | "adapter-unsupported"
  | "storage-full"
  | "busy"
  | "locked"
  | "wrong-passphrase"
  | "nothing-learned"
  | "invalid-option"
  | "cancelled"
  | "internal";

/** For each code, what happened and what a person can do next. */
export const sentences: Readonly<Record<ErrorCode, string>> = {
  "no-webgpu":
    "This browser offers no usable GPU. Choose the processor instead, or try a current Chrome, Edge, Firefox or Safari with WebGPU switched on.",
  "device-lost":
    "The graphics device went away, perhaps after sleep or a driver update. Load the model again.",
  "device-wrong":
    "This graphics device gives wrong numbers. Update its driver, or choose the processor instead.",
  "out-of-memory":
    "There is not enough memory for this. Close other tabs or choose a smaller model, then try again.",
  "text-too-short": "The text is too short for that. Add some more and try again.",
  "text-too-long": "That is more text than can be read at once. Leave some out and try again.",
  "text-unreadable": "The file holds no text that can be read. Save it as plain text in UTF-8 and try again.",
  "context-full":
    "The text has become longer than the model can read at once. Shorten it or ask for fewer words, then continue.",
  "model-corrupt":
    "The model file is damaged, so none of it was kept. Load it again, or choose another file.",
  "model-unsupported": "This is a kind of model that Imprint does not know. Choose another GGUF file.",
  "model-unreachable":
    "The model could not be fetched. Check the connection and load again: what has arrived is kept.",
  "model-changed":
    "The address gives another file than it gave first, so it was not kept. Voices learned on the first do not fit it. Take the new file only if you know why it changed.",
  "adapter-wrong-base": "This adapter was made for another model. Load the model it belongs to first.",
  "adapter-corrupt": "The adapter file is damaged. Choose another copy of it.",
  "adapter-unsupported":
    "This is a kind of adapter that Imprint does not know. Export it as a plain LoRA first.",
  "storage-full": "The browser's storage is full. Free some space or forget a stored model, then load again.",
  busy: "Another tab of this browser is learning. Wait until it has ended, or pause it there, then try again.",
  locked:
    "What is kept in this browser is locked. Unlock it with your passphrase in the Library, then try again.",
  "wrong-passphrase":
    "That is not the passphrase. Try again; look whether the Caps Lock key is on, or show what you type.",
  "nothing-learned":
    "The model foresees your text no better after learning, so nothing was saved. Add more text in one voice and learn again.",
  "invalid-option": "One of the settings has a value that cannot be used. Reset the settings and try again.",
  cancelled: "Stopped, as you asked.",
  internal: "Something inside Imprint broke. Your text is safe: load the model again to go on.",
};

/** An error with a stable code; its message says what happened in detail, `advice` what to do next. */
export class ImprintError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string = sentences[code], options?: ErrorOptions) {
    super(message, options);
    this.name = "ImprintError";
    this.code = code;
  }

  /** A sentence for the person in front of the page. */
  get advice(): string {
    return sentences[this.code];
  }

  /** The error that an aborted call rejects with; the signal's reason is kept as its cause. */
  static cancelled(signal?: AbortSignal): ImprintError {
    return new ImprintError("cancelled", "cancelled by the caller", { cause: signal?.reason });
  }

  /** Gives anything thrown a code, keeping a known one and what it came from. */
  static from(thrown: unknown): ImprintError {
    if (thrown instanceof ImprintError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new ImprintError(codeOf(thrown), message, { cause: thrown });
  }
}

function codeOf(thrown: unknown): ErrorCode {
  if (typeof thrown !== "object" || thrown === null) return "internal";
  const { code, name } = thrown as { code?: unknown; name?: unknown };
  if (isCode(code)) return code;
  if (name === "AbortError") return "cancelled";
  if (name === "QuotaExceededError") return "storage-full";
  return "internal";
}

function isCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(sentences, value);
}
