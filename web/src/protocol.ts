import type { CommandName, Commands } from "./engine.js";
import { ImprintError, type ErrorCode } from "./errors.js";
import type { SeenRequest } from "./requests.js";

/** What the page sends: a command with a number, or the wish to stop or pause that command. */
export type Request =
  | {
      [Name in CommandName]: { id: number; type: "command"; name: Name; params: Commands[Name]["params"] };
    }[CommandName]
  | { id: number; type: Wish };

/** What a caller can want of a running command. */
export type Wish = "cancel" | "pause";

/**
 * What the worker answers: any number of `progress`, then one `done` or `error`; `crash` ends everything. By itself it tells
 * what it fetched.
 */
export type Reply =
  | { id: number; type: "progress"; progress: Commands[CommandName]["progress"] }
  | { id: number; type: "done"; result: Commands[CommandName]["result"] }
  | { id: number; type: "error"; error: WireError }
  | { id: null; type: "crash"; message: string }
  | { id: null; type: "requests"; requests: SeenRequest[] };

/** An error as plain data: class and code do not survive being posted. */
export type WireError = { code: ErrorCode; message: string };

/** Turns anything thrown into plain data. */
export function toWire(thrown: unknown): WireError {
  const { code, message } = ImprintError.from(thrown);
  return { code, message };
}

/** Turns plain data back into an error. */
export function fromWire({ code, message }: WireError): ImprintError {
  return new ImprintError(code, message);
}
