import { undoDepth } from "@codemirror/commands";
import { Annotation, StateEffect, StateField, type Extension, type Transaction } from "@codemirror/state";
import { Decoration, EditorView, type DecorationSet } from "@codemirror/view";
import { add, each, move, remove, touchedBy, type Spans } from "./spans.js";

/** On a change that the model made; its insertions are then the model's. */
export const byModel = Annotation.define<true>();

/** Marks a stretch as copied from the person's own texts. */
export const markCopied = StateEffect.define<{ from: number; to: number }>();

/** Who wrote what: stretches that the model wrote, and those of them that it copied. */
export type Origin = { written: Spans; copied: Spans };

/**
 * The origin of the text as it stands, and as it stood after each step that can be undone.
 *
 * A history that is stored keeps changes but no marks, so the marks are kept beside it, by the depth of the history: undo
 * and redo bring back those of the step they return to, after a reload too.
 */
type Ledger = { now: Origin; steps: readonly Origin[] };

/** How far from a change its word is looked for. */
const LONGEST_WORD = 64;

const nothing: Origin = { written: [], copied: [] };

/** The field that keeps the ledger; it is stored and restored with the text. */
export const provenance = StateField.define<Ledger>({
  create: () => ({ now: nothing, steps: [nothing] }),
  update(ledger, transaction) {
    if (!transaction.docChanged) return marked(ledger, transaction);
    const depth = undoDepth(transaction.state);
    const step = ledger.steps[depth];
    if (transaction.isUserEvent("undo") || transaction.isUserEvent("redo"))
      return { now: step ?? shifted(ledger.now, transaction), steps: ledger.steps };
    const before = undoDepth(transaction.startState);
    // The history forgets its oldest steps once it is long.
    const kept = depth < before ? ledger.steps.slice(before + 1 - depth) : ledger.steps;
    const now = changed(ledger.now, transaction);
    return marked({ now, steps: [...kept.slice(0, depth), now] }, transaction);
  },
  toJSON: ({ now, steps }) => ({ now, steps }),
  fromJSON(json: unknown) {
    const { now, steps } = json as Partial<Ledger>;
    if (!sound(now) || !Array.isArray(steps) || !steps.every(sound))
      throw new TypeError("the marks of a draft cannot be read");
    return { now, steps };
  },
  provide: (field) => EditorView.decorations.from(field, ({ now }) => decorations(now)),
});

/** The extension that keeps and shows who wrote what. */
export const origins: Extension = provenance;

function changed(origin: Origin, transaction: Transaction): Origin {
  let { written, copied } = shifted(origin, transaction);
  const theirs = transaction.annotation(byModel) === true;
  transaction.changes.iterChanges((fromOld, toOld, from, to) => {
    if (theirs) {
      written = add(written, from, to);
      return;
    }
    // A word that the person touched is the person's.
    const left = Math.max(0, from - LONGEST_WORD);
    const near = transaction.newDoc.sliceString(left, to + LONGEST_WORD);
    const removed = transaction.startState.doc.sliceString(fromOld, toOld);
    const [start, end] = touchedBy(near, from - left, to - left, removed).map((at) => at + left) as [
      number,
      number,
    ];
    written = remove(written, start, end);
    copied = remove(copied, start, end);
  });
  return { written, copied };
}

function shifted({ written, copied }: Origin, { changes }: Transaction): Origin {
  const moved = (at: number, side: -1 | 1): number => changes.mapPos(at, side);
  return { written: move(written, moved), copied: move(copied, moved) };
}

function marked(ledger: Ledger, transaction: Transaction): Ledger {
  let { copied } = ledger.now;
  for (const effect of transaction.effects)
    if (effect.is(markCopied)) copied = add(copied, effect.value.from, effect.value.to);
  if (copied === ledger.now.copied) return ledger;
  const now = { ...ledger.now, copied };
  return { now, steps: [...ledger.steps.slice(0, undoDepth(transaction.state)), now] };
}

const writtenMark = Decoration.mark({ class: "written" });
const copiedMark = Decoration.mark({ class: "copied" });

function decorations({ written, copied }: Origin): DecorationSet {
  const ranges: ReturnType<typeof writtenMark.range>[] = [];
  each(written, (from, to) => void ranges.push(writtenMark.range(from, to)));
  each(copied, (from, to) => void ranges.push(copiedMark.range(from, to)));
  return Decoration.set(ranges, true);
}

function sound(origin: unknown): origin is Origin {
  const spans = (value: unknown): boolean =>
    Array.isArray(value) && value.length % 2 === 0 && value.every((at, i) => at >= (value[i - 1] ?? 0));
  const { written, copied } = (origin ?? {}) as Partial<Origin>;
  return spans(written) && spans(copied);
}
