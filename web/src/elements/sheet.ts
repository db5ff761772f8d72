/** The text field as a sheet: grows with its text, takes words at its end, and keeps the person's undo. */
export class Sheet {
  readonly #field: HTMLTextAreaElement;
  #ours = false;
  #held = false;

  constructor(field: HTMLTextAreaElement) {
    this.#field = field;
    field.addEventListener("beforeinput", (event) => {
      if (this.#held && !this.#ours) event.preventDefault();
    });
    field.addEventListener("input", () => this.#grow());
    this.#grow();
  }

  get text(): string {
    return this.#field.value;
  }

  /** Puts a text in place of the old one, without undo: for a draft that comes back. */
  restore(text: string): void {
    this.#field.value = text;
    this.#changed();
  }

  /** Holds the person's keys off while words are being added, so that the two do not mix. */
  hold(held: boolean): void {
    this.#held = held;
    this.#field.ariaBusy = String(held);
    // Writing into the field must not bring up a phone's keyboard.
    this.#field.inputMode = held ? "none" : "";
    if (held && document.activeElement !== this.#field) this.#field.focus({ preventScroll: true });
  }

  /** Adds words at the end and leaves the person's selection where it is, unless it was at the end. */
  append(words: string): void {
    if (words === "") return;
    const { selectionStart, selectionEnd, value } = this.#field;
    const atEnd = selectionStart === value.length;
    const follow = this.#endInSight();
    this.#replace(value.length, value.length, words);
    if (!atEnd) this.#field.setSelectionRange(selectionStart, selectionEnd);
    if (follow) this.#scrollToEnd();
  }

  /** Removes everything from `start` on, with undo. */
  cut(start: number): void {
    this.#replace(start, this.#field.value.length, "");
  }

  focus(): void {
    this.#field.focus({ preventScroll: true });
  }

  /** Only an edit made as a command can be undone; without focus the field takes none, so it is then set plainly. */
  #replace(start: number, end: number, words: string): void {
    this.#ours = true;
    try {
      if (document.activeElement === this.#field) {
        this.#field.setSelectionRange(start, end);
        const done =
          words === "" ? document.execCommand("delete") : document.execCommand("insertText", false, words);
        if (done) return;
      }
      this.#field.setRangeText(words, start, end, "end");
      this.#changed();
    } finally {
      this.#ours = false;
    }
  }

  #changed(): void {
    this.#field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  #grow(): void {
    if (CSS.supports("field-sizing", "content")) return;
    this.#field.style.setProperty("height", "auto");
    this.#field.style.setProperty("height", `${this.#field.scrollHeight}px`);
  }

  #endInSight(): boolean {
    return this.#field.getBoundingClientRect().bottom <= innerHeight + 8;
  }

  #scrollToEnd(): void {
    const below = this.#field.getBoundingClientRect().bottom - innerHeight;
    if (below > 0) scrollBy({ top: below, behavior: "instant" });
  }
}
