import type { Finish, Progress } from "../engine.js";
import type { ErrorCode } from "../errors.js";
import type { WriterState } from "./events.js";

/** The version of the messages between a page and the `embed.html` in its frame. */
export const embedVersion = 1;

/** What the surrounding page can change while the frame is there. */
export type EmbedOptions = {
  prompt?: string;
  strength?: number;
  maxTokens?: number;
  temperature?: number;
  seed?: number;
};

/** What the surrounding page sends; `id` comes back with what follows from it. */
export type EmbedCommand = { imprint: typeof embedVersion; id?: string } & (
  | { type: "write"; options?: EmbedOptions }
  | { type: "set"; options: EmbedOptions }
  | { type: "stop" }
  | { type: "state" }
);

/** What the frame sends. */
export type EmbedMessage = { imprint: typeof embedVersion; id?: string } & (
  | { type: "hello" }
  | { type: "state"; state: WriterState }
  | { type: "progress"; of: "model" | "adapter"; progress: Progress }
  | { type: "piece"; text: string }
  | { type: "done"; text: string; finish: Finish | null }
  | { type: "error"; code: ErrorCode; message: string }
  | { type: "size"; height: number }
);

/** A message without its version. */
export type EmbedBody = EmbedMessage extends infer M
  ? M extends EmbedMessage
    ? Omit<M, "imprint">
    : never
  : never;

const kinds = {
  prompt: "string",
  strength: "number",
  maxTokens: "number",
  temperature: "number",
  seed: "number",
};

/** Reads a message from the surrounding page; a text says what is wrong with it. */
export function readCommand(data: unknown): EmbedCommand | string {
  if (!isRecord(data)) return "a message must be an object";
  const { imprint, id, type, options } = data;
  if (imprint !== embedVersion) return `\`imprint\` must be ${embedVersion}, the version of these messages`;
  if (id !== undefined && (typeof id !== "string" || id.length > 200))
    return "`id` must be a string of at most 200 characters";
  if (type === "stop" || type === "state") return command(type, id);
  if (type !== "write" && type !== "set") return "`type` must be `write`, `set`, `stop` or `state`";
  if (options === undefined && type === "write") return command(type, id);
  if (!isRecord(options)) return "`options` must be an object";
  for (const [name, value] of Object.entries(options)) {
    const kind = Object.hasOwn(kinds, name) ? kinds[name as keyof typeof kinds] : undefined;
    if (!kind) return `\`options\` knows no \`${name.slice(0, 40)}\``;
    if (typeof value !== kind || (kind === "number" && !Number.isFinite(value)))
      return `\`${name}\` must be a ${kind}`;
  }
  return { ...command(type, id), options } as EmbedCommand;
}

/** Reads a list of origins and `self`, with spaces or commas between; what is no origin is left out, and so is `*`. */
export function readOrigins(list: string, self: string): string[] {
  const given = list.split(/[\s,]+/).map((origin) => (origin === "self" ? self : origin));
  return given.filter(
    (origin) => !origin.includes("*") && URL.canParse(origin) && new URL(origin).origin === origin,
  );
}

/** What a frame can know of the pages around it. */
export type Surroundings = {
  /** Of the pages around it, the nearest first, where the browser tells. */
  ancestorOrigins: ArrayLike<string> | undefined;
  /** Whether this is no frame; whether the page around it is no frame. */
  alone: boolean;
  nearestIsTop: boolean;
  referrer: string;
};

/**
 * The first of the pages around a frame that is not of an allowed origin: its origin, or `""` where the browser does not
 * tell. Without `ancestorOrigins` the page that asked for the frame counts as the nearest one, and further ones are unknown.
 */
export function stranger(around: Surroundings, allowed: readonly string[]): string | undefined {
  if (around.alone) return undefined;
  const asked = URL.canParse(around.referrer) ? new URL(around.referrer).origin : "";
  const origins = around.ancestorOrigins ?? (around.nearestIsTop ? [asked] : [asked, ""]);
  return Array.from(origins).find((origin) => !allowed.includes(origin));
}

function command(type: string, id: string | undefined): EmbedCommand {
  return { imprint: embedVersion, type, ...(id === undefined ? {} : { id }) } as EmbedCommand;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
