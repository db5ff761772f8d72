import type { Finish } from "../engine.js";
import type { Piece } from "../imprint.js";

export { ImprintErrorEvent, ImprintProgressEvent } from "../events.js";

const up = { bubbles: true, composed: true };

/**
 * What a writer is at: nothing yet, asking whether so many bytes may be fetched, loading, writing, or ready for more.
 *
 * While it asks, nothing but sizes has been fetched.
 */
export type WriterState = "idle" | "asking" | "loading" | "writing" | "ready";

/** The next piece of text was written. */
export class ImprintPieceEvent extends Event {
  static readonly type = "imprint-piece";
  constructor(readonly piece: Piece) {
    super(ImprintPieceEvent.type, up);
  }
}

/** A text came to its end, or was stopped: `finish` is then null. */
export class ImprintDoneEvent extends Event {
  static readonly type = "imprint-done";
  constructor(
    /** All that was written, without the opening. */
    readonly text: string,
    readonly finish: Finish | null,
  ) {
    super(ImprintDoneEvent.type, up);
  }
}

/** A writer is at something else. */
export class ImprintStateEvent extends Event {
  static readonly type = "imprint-state";
  constructor(readonly state: WriterState) {
    super(ImprintStateEvent.type, up);
  }
}

declare global {
  interface HTMLElementEventMap {
    "imprint-piece": ImprintPieceEvent;
    "imprint-done": ImprintDoneEvent;
    "imprint-state": ImprintStateEvent;
  }
}
