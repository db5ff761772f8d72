/** A textarea of the page, as the writer reads it and puts words into it. */
export class Field {
  readonly element: HTMLTextAreaElement;

  constructor(element: HTMLTextAreaElement) {
    this.element = element;
  }

  /** The text before the caret; undefined where words cannot be put in now. */
  get before(): string | undefined {
    const { value, selectionStart, selectionEnd, readOnly, disabled } = this.element;
    return selectionStart === selectionEnd && !readOnly && !disabled
      ? value.slice(0, selectionStart)
      : undefined;
  }

  /** Puts words in at the caret, as an edit that the person can undo and that the page's own script hears. */
  insert(words: string): void {
    this.element.focus({ preventScroll: true });
    const at = this.element.selectionStart;
    // Only an edit made as a command can be undone; a field that refuses it is written to plainly.
    if (document.execCommand("insertText", false, words)) return;
    this.element.setRangeText(words, at, this.element.selectionEnd, "end");
    this.element.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

/** Cuts the first word, with the space before it, off a text. */
export function firstWord(text: string): [word: string, rest: string] {
  const word = /^\s*\S+/.exec(text)?.[0] ?? text;
  return [word, text.slice(word.length)];
}
