import { StateEffect, StateField, type Extension, type Transaction } from "@codemirror/state";
import { Decoration, EditorView, WidgetType } from "@codemirror/view";

/** Words that may come next: shown behind the cursor, and no part of the text until they are taken. */
export type Ghost = { at: number; text: string };

/** Shows other words, or none. */
export const showGhost = StateEffect.define<Ghost | null>();

/** The words that are shown. */
export const ghost = StateField.define<Ghost | null>({
  create: () => null,
  update(shown, transaction) {
    for (const effect of transaction.effects) if (effect.is(showGhost)) return effect.value;
    if (!shown || (!transaction.docChanged && !transaction.selection)) return shown;
    return follow(shown, transaction);
  },
  provide: (field) =>
    EditorView.decorations.from(field, (shown) =>
      shown && shown.text !== ""
        ? Decoration.set(Decoration.widget({ widget: new Words(shown.text), side: 1 }).range(shown.at))
        : Decoration.none,
    ),
});

export const ghosts: Extension = ghost;

/** Who types the very words keeps the rest of them; anything else drops them. */
function follow({ at, text }: Ghost, transaction: Transaction): Ghost | null {
  const { main } = transaction.newSelection;
  const typed = transaction.newDoc.sliceString(at, main.head);
  const same =
    main.empty &&
    main.head >= at &&
    transaction.newDoc.length - transaction.startState.doc.length === typed.length &&
    transaction.newDoc.sliceString(0, at) === transaction.startState.doc.sliceString(0, at) &&
    text.startsWith(typed) &&
    typed.length < text.length;
  return same ? { at: main.head, text: text.slice(typed.length) } : null;
}

/** The first word of the words shown, with the space before it. */
export function firstWord(text: string): string {
  return /^\s*\S+/u.exec(text)?.[0] ?? text;
}

class Words extends WidgetType {
  constructor(readonly text: string) {
    super();
  }

  override eq(other: Words): boolean {
    return other.text === this.text;
  }

  override toDOM(): HTMLElement {
    const made = document.createElement("span");
    made.className = "ghost";
    // Screen readers are told once, outside the text.
    made.ariaHidden = "true";
    made.textContent = this.text;
    return made;
  }

  override ignoreEvent(): boolean {
    return false;
  }
}
