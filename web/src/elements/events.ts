import type { Imprint } from "../imprint.js";
import type { AdapterInfo, RunInfo } from "../voice.js";

export { ImprintErrorEvent, ImprintProgressEvent } from "../events.js";

const up = { bubbles: true, composed: true };

/** A model is ready to write, or, with `null`, none is any more. */
export class ImprintModelEvent extends Event {
  static readonly type = "imprint-model";
  constructor(readonly imprint: Imprint | null) {
    super(ImprintModelEvent.type, up);
  }
}

/** Learning began, or ended in whatever way. */
export class ImprintLearningEvent extends Event {
  static readonly type = "imprint-learning";
  constructor(readonly learning: boolean) {
    super(ImprintLearningEvent.type, up);
  }
}

/** Another voice: learned just now, taken into use, or, with `null`, none any more. */
export class ImprintVoiceEvent extends Event {
  static readonly type = "imprint-voice";
  constructor(readonly voice: AdapterInfo | null) {
    super(ImprintVoiceEvent.type, up);
  }
}

/** The person wants a model opened, by its fingerprint, for a voice or a run that belongs to it. */
export class ImprintSwitchEvent extends Event {
  static readonly type = "imprint-switch";
  constructor(
    readonly base: string,
    readonly model: string,
    readonly voice: AdapterInfo | null,
  ) {
    super(ImprintSwitchEvent.type, up);
  }
}

/** The person wants an interrupted run to go on. */
export class ImprintResumeEvent extends Event {
  static readonly type = "imprint-resume";
  constructor(readonly run: RunInfo) {
    super(ImprintResumeEvent.type, up);
  }
}

/** The person wants to learn again from texts that were kept. */
export class ImprintTextsEvent extends Event {
  static readonly type = "imprint-texts";
  constructor(readonly texts: File[]) {
    super(ImprintTextsEvent.type, up);
  }
}

/** The text on the sheet changed. */
export class ImprintEditEvent extends Event {
  static readonly type = "imprint-edit";
  constructor() {
    super(ImprintEditEvent.type, up);
  }
}

/** What is kept in this browser may have changed. */
export class ImprintKeptEvent extends Event {
  static readonly type = "imprint-kept";
  constructor() {
    super(ImprintKeptEvent.type, up);
  }
}

/** Everything that was kept in this browser is gone, and what the page keeps itself shall go too. */
export class ImprintForgetEvent extends Event {
  static readonly type = "imprint-forget";
  readonly #pending: Promise<unknown>[] = [];

  constructor() {
    super(ImprintForgetEvent.type, up);
  }

  /** Whoever forgets something of their own too has it waited for. */
  waitUntil(pending: Promise<unknown>): void {
    this.#pending.push(pending);
  }

  /** Settles when all of it is gone. */
  async done(): Promise<void> {
    await Promise.all(this.#pending);
  }
}

declare global {
  interface HTMLElementEventMap {
    "imprint-edit": ImprintEditEvent;
    "imprint-forget": ImprintForgetEvent;
    "imprint-kept": ImprintKeptEvent;
    "imprint-learning": ImprintLearningEvent;
    "imprint-voice": ImprintVoiceEvent;
    "imprint-resume": ImprintResumeEvent;
    "imprint-switch": ImprintSwitchEvent;
    "imprint-texts": ImprintTextsEvent;
    "imprint-model": ImprintModelEvent;
  }
  interface DocumentEventMap {
    "imprint-forget": ImprintForgetEvent;
  }
}
