import type { Progress } from "./engine.js";
import type { ImprintError } from "./errors.js";

const up = { bubbles: true, composed: true };

/** Loading came further: a model's, or, in `<imprint-writer>`, an adapter's. */
export class ImprintProgressEvent extends Event {
  static readonly type = "imprint-progress";
  constructor(
    readonly progress: Progress,
    /** What is being loaded. */
    readonly of: "model" | "adapter" = "model",
  ) {
    super(ImprintProgressEvent.type, up);
  }
}

/** Something failed; `error.code` says what. Whoever shows it elsewhere prevents the default. */
export class ImprintErrorEvent extends Event {
  static readonly type = "imprint-error";
  constructor(readonly error: ImprintError) {
    super(ImprintErrorEvent.type, { ...up, cancelable: true });
  }
}

declare global {
  interface HTMLElementEventMap {
    "imprint-progress": ImprintProgressEvent;
    "imprint-error": ImprintErrorEvent;
  }
}
