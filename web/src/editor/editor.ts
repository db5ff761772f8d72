import { history, historyField, historyKeymap, isolateHistory, standardKeymap } from "@codemirror/commands";
import { Compartment, EditorState, Prec, Transaction, type Extension } from "@codemirror/state";
import { EditorView, keymap, placeholder, type KeyBinding, type ViewUpdate } from "@codemirror/view";
import { firstWord, ghost, ghosts, showGhost } from "./ghost.js";
import { lineDirection } from "./lines.js";
import { byModel, markCopied, origins, provenance } from "./provenance.js";
import { shareOutside } from "./spans.js";
import { theme } from "./theme.js";

/** What an editor says and whom it tells. */
export type EditorOptions = {
  /** The name for screen readers, and the words on the empty sheet. */
  label: string;
  placeholder: string;
  /** Hears of every change of text or selection; `person` says whether the person made it, by typing or undoing. */
  onChange(change: { text: boolean; person: boolean }): void;
};

/** A stretch of the text that moves along with it; `touched` once something in it changed. */
export type Tracked = { from: number; to: number; touched: boolean };

/** A replacement in the text. */
export type Edit = { from: number; to: number; insert: string };

/** Pieces that come after the first join its step of the history, however slowly they come. */
const joining = "input.type.compose";
const stored = { history: historyField, provenance };

/** A sheet for prose, on CodeMirror: it keeps undo, and who wrote what. */
export class Editor {
  readonly #view: EditorView;
  readonly #labels = new Compartment();
  readonly #bindings = new Compartment();
  readonly #reading = new Compartment();
  readonly #tracked = new Set<Tracked>();
  readonly #options: EditorOptions;
  #keys: readonly KeyBinding[] = [];
  #joins = false;

  /** Puts the editor into `host`, in a shadow root: its styles then need no exception from a strict policy. */
  constructor(host: HTMLElement, options: EditorOptions) {
    this.#options = options;
    const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    this.#view = new EditorView({ root, parent: root, state: this.#state("") });
  }

  /** The whole text, without words that are only suggested. */
  get text(): string {
    return this.#view.state.doc.toString();
  }

  get length(): number {
    return this.#view.state.doc.length;
  }

  get selection(): { from: number; to: number } {
    const { from, to } = this.#view.state.selection.main;
    return { from, to };
  }

  get focused(): boolean {
    return this.#view.hasFocus;
  }

  /** Whether an input method is in the middle of a word. */
  get composing(): boolean {
    return this.#view.composing;
  }

  /** The share of the text that is the person's own, 0 to 1. */
  get share(): number {
    return shareOutside(this.#view.state.field(provenance).now.written, this.text);
  }

  /** The copied stretches, word for word. */
  get copies(): string[] {
    const { copied } = this.#view.state.field(provenance).now;
    const runs: string[] = [];
    for (let i = 0; i + 1 < copied.length; i += 2) runs.push(this.slice(copied[i] ?? 0, copied[i + 1] ?? 0));
    return runs;
  }

  /** Says other words on the empty sheet and to screen readers. */
  set labels(labels: Pick<EditorOptions, "label" | "placeholder">) {
    Object.assign(this.#options, labels);
    this.#view.dispatch({ effects: this.#labels.reconfigure(this.#labelling()) });
  }

  slice(from: number, to: number): string {
    return this.#view.state.doc.sliceString(from, to);
  }

  /** Puts another draft on the sheet: a text, or what `save` gave, with its undo. */
  load(text: string, saved?: unknown): void {
    for (const tracked of this.#tracked) tracked.touched = true;
    this.#tracked.clear();
    this.#view.setState(this.#restored(text, saved) ?? this.#state(text));
    this.#options.onChange({ text: true, person: false });
  }

  /** The text with its undo and marks, to be stored as JSON and given to `load`. */
  save(): unknown {
    return this.#view.state.toJSON(stored);
  }

  /** Holds the person's keys off while words are being added, so that the two do not mix. */
  hold(held: boolean): void {
    this.#view.dispatch({ effects: this.#reading.reconfigure(EditorState.readOnly.of(held)) });
    this.#view.contentDOM.ariaBusy = String(held);
    if (!held) this.#seal();
  }

  /** Adds words of the model; those that follow the first of a run are undone together with it. */
  write(at: number, words: string): void {
    if (words === "") return;
    const follow = this.#endInSight();
    const { head, empty } = this.#view.state.selection.main;
    const along = empty && head === at ? { selection: { anchor: at + words.length } } : {};
    this.#view.dispatch({
      changes: { from: at, insert: words },
      ...along,
      annotations: [byModel.of(true), ...this.#step()],
    });
    if (follow) this.#reveal(at + words.length);
  }

  /** Makes the model's changes in one step, the words around them left to whoever wrote them. */
  revise(edits: readonly Edit[]): void {
    this.#view.dispatch({
      changes: [...edits],
      annotations: [byModel.of(true), isolateHistory.of("full"), Transaction.userEvent.of("input.model")],
    });
  }

  /** Removes a stretch, with undo; `joined` makes what is written next the same step. */
  cut(from: number, to: number, { joined = false } = {}): void {
    this.#view.dispatch({
      changes: { from, to },
      annotations: [byModel.of(true), ...this.#step()],
    });
    if (!joined) this.#seal();
  }

  /** Underlines a stretch as copied from the person's texts. */
  markCopied(from: number, to: number): void {
    this.#view.dispatch({ effects: markCopied.of({ from, to }) });
  }

  /** Follows a stretch through all changes until another draft is loaded. */
  track(from: number, to: number): Tracked {
    const tracked = { from, to, touched: false };
    this.#tracked.add(tracked);
    return tracked;
  }

  untrack(tracked: Tracked | undefined): void {
    if (tracked) this.#tracked.delete(tracked);
  }

  /** The words suggested at the cursor, or nothing. */
  get suggested(): string {
    return this.#view.state.field(ghost)?.text ?? "";
  }

  /** Suggests words at the cursor, or none. */
  suggest(text: string): void {
    const at = this.#view.state.selection.main.head;
    if (text === "" && this.suggested === "") return;
    this.#view.dispatch({ effects: showGhost.of(text === "" ? null : { at, text }) });
  }

  /** Takes the suggested words, or the first of them, into the text; says whether there were any. */
  take(what: "all" | "word"): boolean {
    const shown = this.#view.state.field(ghost);
    if (!shown || shown.text === "") return false;
    const words = what === "all" ? shown.text : firstWord(shown.text);
    const rest = shown.text.slice(words.length);
    const at = shown.at + words.length;
    this.#view.dispatch({
      changes: { from: shown.at, insert: words },
      selection: { anchor: at },
      effects: showGhost.of(rest === "" ? null : { at, text: rest }),
      annotations: [byModel.of(true), isolateHistory.of("full"), Transaction.userEvent.of("input.model")],
      scrollIntoView: true,
    });
    return true;
  }

  /** Binds keys that go before the editor's own. */
  bind(keys: readonly KeyBinding[]): void {
    this.#keys = keys;
    this.#view.dispatch({ effects: this.#bindings.reconfigure(keymap.of([...keys])) });
  }

  select(from: number, to = from): void {
    this.#view.dispatch({ selection: { anchor: from, head: to } });
  }

  focus(): void {
    this.#view.contentDOM.focus({ preventScroll: true });
  }

  close(): void {
    this.#view.destroy();
  }

  #state(text: string): EditorState {
    return EditorState.create({
      doc: text,
      extensions: this.#extensions(),
      selection: { anchor: text.length },
    });
  }

  /** A stored state, or nothing where it cannot be read or belongs to another text. */
  #restored(text: string, saved: unknown): EditorState | undefined {
    if (typeof saved !== "object" || saved === null) return undefined;
    try {
      const state = EditorState.fromJSON(saved, { extensions: this.#extensions() }, stored);
      return state.doc.toString() === text ? state : undefined;
    } catch (thrown) {
      // The text itself is not in danger; only its undo is.
      console.warn("the history of this draft cannot be read", thrown);
      return undefined;
    }
  }

  #extensions(): Extension {
    return [
      Prec.highest(this.#bindings.of(keymap.of([...this.#keys]))),
      history(),
      keymap.of([...historyKeymap, ...standardKeymap]),
      EditorView.lineWrapping,
      lineDirection,
      origins,
      ghosts,
      theme,
      this.#labels.of(this.#labelling()),
      this.#reading.of(EditorState.readOnly.of(false)),
      EditorView.updateListener.of((update) => this.#heard(update)),
    ];
  }

  #labelling(): Extension {
    return [
      placeholder(this.#options.placeholder),
      EditorView.contentAttributes.of({
        "aria-label": this.#options.label,
        spellcheck: "true",
        autocapitalize: "sentences",
        autocorrect: "on",
      }),
    ];
  }

  #heard(update: ViewUpdate): void {
    const { docChanged, selectionSet, transactions, changes } = update;
    if (docChanged)
      for (const tracked of this.#tracked) {
        tracked.touched ||= !spared(update, tracked);
        tracked.to = changes.mapPos(tracked.to, -1);
        tracked.from = Math.min(changes.mapPos(tracked.from, 1), tracked.to);
      }
    const shown = update.startState.field(ghost) !== update.state.field(ghost);
    if (!docChanged && !selectionSet && !shown) return;
    const person = !transactions.some((transaction) => transaction.annotation(byModel));
    this.#options.onChange({ text: docChanged, person });
  }

  /** Where in the history the next change of the model belongs. */
  #step() {
    const joins = this.#joins;
    this.#joins = true;
    return joins
      ? [Transaction.userEvent.of(joining)]
      : [Transaction.userEvent.of("input.model"), isolateHistory.of("before")];
  }

  /** Ends a step of the model's, so that what is typed next is a step of its own. */
  #seal(): void {
    if (!this.#joins) return;
    this.#joins = false;
    this.#view.dispatch({ annotations: isolateHistory.of("full") });
  }

  #endInSight(): boolean {
    return this.#view.dom.getBoundingClientRect().bottom <= innerHeight + 8;
  }

  #reveal(at: number): void {
    this.#view.dispatch({ effects: EditorView.scrollIntoView(at, { y: "nearest", yMargin: 96 }) });
  }
}

/** Whether a change leaves a stretch as it was. */
function spared({ changes, startState, state }: ViewUpdate, { from, to }: Tracked): boolean {
  const [start, end] = [changes.mapPos(from, 1), changes.mapPos(to, -1)];
  return start <= end && state.doc.sliceString(start, end) === startState.doc.sliceString(from, to);
}
