import { diffWordsWithSpace } from "diff";
import type { Edit } from "../editor/editor.js";

/** A stretch that two texts share, or that only one of them has. */
export type Stretch = { text: string; in: "both" | "old" | "new" };

/** How one text becomes the other, word by word. */
export function difference(old: string, other: string): Stretch[] {
  return diffWordsWithSpace(old, other).map(({ value, added, removed }) => ({
    text: value,
    in: added ? "new" : removed ? "old" : "both",
  }));
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
