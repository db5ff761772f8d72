import { diffWordsWithSpace } from "diff";
import type { Edit } from "../editor/editor.js";

/** A stretch that two texts share, or that only one of them has. */
export type Stretch = { text: string; in: "both" | "old" | "new" };

/** Words that two changes must have between them to be shown apart. */
const FEWEST_BETWEEN = 3;

/** How one text becomes the other, word by word; changes that stand close together are one. */
export function difference(old: string, other: string): Stretch[] {
  const stretches = diffWordsWithSpace(old, other).map(({ value, added, removed }): Stretch => ({
    text: value,
    in: added ? "new" : removed ? "old" : "both",
  }));
  return gathered(stretches);
}

function gathered(stretches: readonly Stretch[]): Stretch[] {
  const made: Stretch[] = [];
  let [before, after] = ["", ""];
  const put = (text: string, where: Stretch["in"]): void => {
    if (text !== "") made.push({ text, in: where });
  };
  for (const [at, { text, in: where }] of stretches.entries()) {
    const inside = (before !== "" || after !== "") && at + 1 < stretches.length;
    const close = (text.match(/\S+/gu)?.length ?? 0) < FEWEST_BETWEEN;
    if (where === "both" && !(inside && close)) {
      put(before, "old");
      put(after, "new");
      put(text, "both");
      [before, after] = ["", ""];
    } else {
      if (where !== "new") before += text;
      if (where !== "old") after += text;
    }
  }
  put(before, "old");
  put(after, "new");
  return made;
}

/** The edits that make the old text, which begins at `start`, the new one. */
export function edits(stretches: readonly Stretch[], start: number): Edit[] {
  const made: Edit[] = [];
  let at = start;
  for (const { text, in: where } of stretches) {
    if (where === "new") made.push({ from: at, to: at, insert: text });
    if (where === "old") made.push({ from: at, to: at + text.length, insert: "" });
    if (where !== "new") at += text.length;
  }
  return made;
}

/** The stretches as they are shown: what goes is struck out, what comes is underlined, and each says so to screen readers. */
export function shown(stretches: readonly Stretch[]): (string | HTMLElement)[] {
  return stretches.map(({ text, in: where }) => {
    if (where === "both") return text;
    const made = document.createElement(where === "new" ? "ins" : "del");
    made.textContent = text;
    return made;
  });
}
