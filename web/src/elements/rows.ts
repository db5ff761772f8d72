import { language } from "../words/words.js";

/** What each drawn row is of, and what it says. */
const drawn = new WeakMap<Element, { id: string; says: string }>();

/**
 * Draws a list anew. The row of an item that says what it said before stays as it is, so that a question asked back, a name
 * half written or a hand on a slider outlive news from elsewhere; where a row is replaced, the keyboard stays at the same part.
 *
 * `id` tells items apart, `says` gives all that `make` draws from.
 */
export function redraw<T>(
  list: HTMLElement,
  items: readonly T[],
  { id, says, make }: { id(item: T): string; says(item: T): unknown; make(item: T): HTMLElement },
): void {
  const before = new Map([...list.children].map((row) => [drawn.get(row)?.id, row]));
  const rows = items.map((item) => {
    const now = { id: id(item), says: JSON.stringify([language(), says(item)]) };
    const old = before.get(now.id);
    if (old && drawn.get(old)?.says === now.says) return old;
    const row = make(item);
    drawn.set(row, now);
    return row;
  });
  const held = document.activeElement instanceof HTMLElement ? document.activeElement : undefined;
  const from = held && [...list.children].find((row) => row.contains(held));
  for (const row of [...list.children]) if (!rows.includes(row)) row.remove();
  // A row that stands where it belongs is not touched: moving it would take the keyboard from it.
  for (const [place, row] of rows.entries()) {
    const there = list.children[place] ?? null;
    if (there !== row) list.insertBefore(row, there);
  }
  if (!held || !from || document.activeElement === held) return;
  const now = rows.find((row) => drawn.get(row)?.id === drawn.get(from)?.id);
  now?.querySelector<HTMLElement>(`[data-part="${held.dataset["part"]}"]`)?.focus();
}
