import type { WriterState } from "./events.js";
import { size } from "./view.js";
import type { WidgetWords } from "./words.js";

const key = "imprint-writer-models";

/** Asks servers how large their files are, without fetching them; null where one does not tell. */
export async function announced(urls: (string | null)[], signal: AbortSignal): Promise<number | null> {
  const ask = async (url: string): Promise<number> => {
    const answer = await fetch(new URL(url, document.baseURI), { method: "HEAD", signal });
    return answer.ok ? Number(answer.headers.get("content-length")) || 0 : 0;
  };
  const wanted = urls.filter((url) => url !== null);
  const sizes = await Promise.all(wanted.map((url) => ask(url).catch(() => 0)));
  return sizes.includes(0) ? null : sizes.reduce((sum, bytes) => sum + bytes, 0);
}

/** Whether this browser has fetched a model for a writer before, so that nothing need be said of its size. */
export function seen(model: string | null): boolean {
  const known = model !== null && URL.canParse(model, document.baseURI);
  return known && read().includes(new URL(model, document.baseURI).href);
}

/** Notes that a model is there. */
export function remember(model: string): void {
  const models = new Set([...read(), new URL(model, document.baseURI).href]);
  try {
    localStorage.setItem(key, JSON.stringify([...models]));
  } catch {
    // The size is then told again on the next visit, which harms nobody.
  }
}

/** The small print: what a press fetches, or where the model runs. */
export function note(
  { bytes, state, ready }: { bytes: number | null; state: WriterState; ready: "webgpu" | "cpu" | undefined },
  model: string | null,
  words: WidgetWords,
  language: string,
): string {
  if (ready) return `${words.about} ${ready === "webgpu" ? words.onGpu : words.onCpu}`;
  const amount = bytes ? size(bytes, language) : words.unknownSize;
  if (state === "asking") return words.asks(amount, host(model));
  if (state === "idle" && bytes) return `${words.fetches(amount, host(model))} ${words.about}`;
  return words.about;
}

function host(model: string | null): string {
  return model !== null && URL.canParse(model, document.baseURI) ? new URL(model, document.baseURI).host : "";
}

function read(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(key) ?? "[]");
    return Array.isArray(kept) ? kept.filter((url) => typeof url === "string") : [];
  } catch {
    return [];
  }
}
