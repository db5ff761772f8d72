import type { Progress } from "../engine.js";
import type { ImprintError } from "../errors.js";
import type { Imprint } from "../imprint.js";

const up = { bubbles: true, composed: true };

/** Loading a model came further. */
export class ImprintProgressEvent extends Event {
  static readonly type = "imprint-progress";
  constructor(readonly progress: Progress) {
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

/** A model is ready to write, or, with `null`, none is any more. */
export class ImprintModelEvent extends Event {
  static readonly type = "imprint-model";
  constructor(readonly imprint: Imprint | null) {
    super(ImprintModelEvent.type, up);
  }
}

declare global {
  interface HTMLElementEventMap {
    "imprint-progress": ImprintProgressEvent;
    "imprint-error": ImprintErrorEvent;
    "imprint-model": ImprintModelEvent;
  }
}
