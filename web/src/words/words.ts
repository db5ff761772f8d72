import { de } from "./de.js";
import { en, type Words } from "./en.js";

export type { Words };

/** Every language that the page speaks, by its tag; English is the source and the fallback. */
const tables = { en, de } satisfies Record<string, Words>;

/** The tag of a language that the page speaks. */
export type Language = keyof typeof tables;

const key = "imprint-language";
let spoken: Language = "en";

/** The languages that can be chosen. */
export const languages = Object.keys(tables) as Language[];

/** The language in use. */
export function language(): Language {
  return spoken;
}

/** What the page says, in the language in use: `words().draft.continue`. */
export function words(): Words {
  return tables[spoken];
}

/** The table of one language. */
export function wordsOf(language: Language): Words {
  return tables[language];
}

/** The language that a person chose here before, or the first of the browser's that the page speaks. */
export function preferred(wanted: readonly string[] = navigator.languages): Language {
  const kept = attempt(() => localStorage.getItem(key));
  const tags = [...(kept ? [kept] : []), ...wanted].map((tag) => tag.split("-", 1)[0]?.toLowerCase());
  return tags.find((tag): tag is Language => languages.some((known) => known === tag)) ?? "en";
}

/** Speaks another language from now on, in the whole page; with `keep`, on the next visit too. */
export function speak(language: Language, { keep = false } = {}): void {
  if (keep) attempt(() => localStorage.setItem(key, language));
  // The markup is English already.
  const changed = language !== spoken;
  spoken = language;
  document.documentElement.lang = language;
  document.documentElement.dir = words().language.dir;
  if (!changed) return;
  fill(document);
  document.dispatchEvent(new Event("imprint-language"));
}

/** Calls `render` whenever another language is spoken, until the function it returns is called. */
export function onLanguage(render: () => void): () => void {
  document.addEventListener("imprint-language", render);
  return () => document.removeEventListener("imprint-language", render);
}

/**
 * Puts words into everything below `root` that asks for them.
 *
 * `data-words="section.key"` asks for an element's text. Where that text holds `{name}`, the child with that `data-part` or
 * `data-slot` stands there. `data-words-label` asks for the `aria-label`, `data-words-placeholder`, `-title` and `-content`
 * for the attribute of that name. Templates are filled too, so that their copies speak the same.
 */
export function fill(root: ParentNode): void {
  for (const element of root.querySelectorAll<HTMLElement>("[data-words]"))
    put(element, text(element.dataset["words"] ?? ""));
  for (const [asked, attribute] of attributes)
    for (const element of root.querySelectorAll(`[data-words-${asked}]`))
      element.setAttribute(attribute, text(element.getAttribute(`data-words-${asked}`) ?? ""));
  for (const template of root.querySelectorAll("template")) fill(template.content);
}

/** Has an element say the words under `section.key`, in every language that is spoken from now on; without, nothing. */
export function say(element: HTMLElement, path?: string): void {
  if (path === undefined) {
    delete element.dataset["words"];
    element.textContent = "";
  } else {
    element.dataset["words"] = path;
    put(element, text(path));
  }
}

/** What may be asked for beside an element's text, and the attribute in which it stands. */
export const attributes = [
  ["label", "aria-label"],
  ["placeholder", "placeholder"],
  ["title", "title"],
  ["content", "content"],
] as const;

/** The words under `section.key`; throws where there are none, or a sentence that needs to be told something. */
function text(path: string): string {
  const [section = "", name = ""] = path.split(".");
  const found = (words() as unknown as Record<string, Record<string, unknown>>)[section]?.[name];
  if (typeof found !== "string") throw new TypeError(`there are no words under \`${path}\``);
  return found;
}

function put(element: HTMLElement, sentence: string): void {
  const pieces = sentence.split(/\{(\w+)\}/);
  const nodes = pieces.map((piece, at) => {
    if (at % 2 === 0) return piece;
    const child = element.querySelector(`:scope > [data-part="${piece}"], :scope > [data-slot="${piece}"]`);
    if (!child) throw new TypeError(`\`${element.dataset["words"]}\` lacks a child for {${piece}}`);
    return child;
  });
  element.replaceChildren(...nodes);
}

/** Storage can be switched off; the choice then lives as long as the page. */
function attempt<T>(storage: () => T): T | undefined {
  try {
    return storage();
  } catch {
    return undefined;
  }
}
