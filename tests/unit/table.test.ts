import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { attributes, languages, preferred, wordsOf } from "../../web/src/words/words.js";

/** The repository's root; written in by the bundler. */
declare const ROOT: string;

type Table = Record<string, Record<string, unknown>>;

const parts = join(ROOT, "web/src/page/parts");
const markup = [join(ROOT, "index.html"), ...readdirSync(parts).map((name) => join(parts, name))]
  .map((path) => readFileSync(path, "utf8"))
  .join("\n");
const english = wordsOf("en") as unknown as Table;

it("every language says the same things, with the same places for parts", () => {
  const shape = (table: Table): string[] =>
    Object.entries(table).flatMap(([section, entries]) =>
      Object.entries(entries).map(([name, value]) => {
        const places = typeof value === "string" ? [...value.matchAll(/\{\w+\}/g)].map(String).sort() : [];
        return `${section}.${name}: ${typeof value} ${places.join(" ")}`;
      }),
    );
  for (const language of languages)
    assert.deepEqual(shape(wordsOf(language) as unknown as Table).sort(), shape(english).sort(), language);
});

it("no language leaves a word empty", () => {
  for (const language of languages)
    for (const entries of Object.values(wordsOf(language) as unknown as Table))
      for (const [name, value] of Object.entries(entries))
        if (typeof value === "string") assert.notEqual(value.trim(), "", `${language} ${name}`);
});

it("the markup is English, word for word as in the table", () => {
  const read = (markup: string): number => {
    let found = 0;
    for (const [, tag = "", before, path = "", after, inner = ""] of markup.matchAll(
      /<(\w[\w-]*)((?:\s[^<>]*?)?)\sdata-words="([\w.]+)"([^<>]*)>((?:[^<]|<(\w+)[^<>]*>[^<]*<\/\6\s*>)*)<\/\1\s*>/g,
    )) {
      found += 1 + read(inner);
      assert.equal(plain(inner), plain(englishOf(path)), `<${tag}${before ?? ""}${after ?? ""}>`);
    }
    return found;
  };
  assert.equal(read(markup), markup.match(/\sdata-words="/g)?.length, "every use of a word was read");
});

it("the attributes of the markup are English too", () => {
  for (const [asked, attribute] of attributes)
    for (const [tag, path = ""] of markup.matchAll(
      new RegExp(`<[^<>]*\\sdata-words-${asked}="([\\w.]+)"[^<>]*>`, "g"),
    )) {
      const value = new RegExp(`\\s${attribute}="([^"]*)"`).exec(tag)?.[1];
      assert.equal(plain(value ?? ""), plain(englishOf(path)), tag);
    }
});

it("the language is the one chosen before, else the first of the browser's that is spoken", () => {
  assert.equal(preferred(["fr-FR", "de-AT", "en"]), "de");
  assert.equal(preferred(["en-GB", "de"]), "en");
  assert.equal(preferred(["fr"]), "en");
  assert.equal(preferred([]), "en");
});

/** The English text under `section.key`. */
function englishOf(path: string): string {
  const [section = "", name = ""] = path.split(".");
  const value = english[section]?.[name];
  if (typeof value !== "string") throw new TypeError(`the table holds no text under ${path}`);
  return value;
}

/** A text as a reader sees it: white space as one space, a part that stands in it by its name. */
function plain(text: string): string {
  return text
    .replaceAll(/<(\w+)[^<>]*\sdata-(?:part|slot)="(\w+)"[^<>]*>[\s\S]*?<\/\1\s*>/g, "{$2}")
    .replaceAll(/&amp;/g, "&")
    .replaceAll(/\s+/g, " ")
    .trim();
}
